"""Assets of any make with a guard in front of their code: an op, a graph of ops, generators, coroutines.

It rebuilds Dagster's definitions, partly by what is not public; each such call has a contract test.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from functools import wraps
from typing import Any, TypeAlias

import dagster as dg

Guard: TypeAlias = Callable[[dg.OpExecutionContext, bool], frozenset[dg.AssetKey]]
"""Called before a step, with whether its code can leave assets out: raises to refuse the step,
returns the assets that it must leave out."""


def guarded_asset(
    asset: dg.AssetsDefinition,
    specs: Sequence[dg.AssetSpec],
    upstream: Collection[dg.AssetKey],
    guard: Guard,
) -> dg.AssetsDefinition:
    """Return an asset definition, however it was made, whose every op calls `guard` before its own code.

    Args:
        asset: with one op or a graph of them.
        specs: its specs, which may name `upstream` as further deps.
        upstream: assets that its ops shall wait for. Dagster's `map_asset_specs` adds none to a graph.
        guard: what is called.
    """
    from dagster._core.definitions.assets.definition.assets_definition import (
        stringify_asset_key_to_input_name as input_name,
    )

    known = set(asset.node_keys_by_input_name.values())
    inputs = {input_name(key): key for key in upstream if key not in known}
    attributes = {
        **asset.get_attributes_dict(),
        "node_def": _guarded_node(asset.node_def, guard, list(inputs)),
        "specs": list(specs),
        "keys_by_input_name": {**asset.node_keys_by_input_name, **inputs},
    }
    return dg.AssetsDefinition.dagster_internal_init(**attributes)


def with_assets(defs: dg.Definitions, assets: Sequence[Any]) -> dg.Definitions:
    """Return the definitions with these assets instead of theirs."""
    from dagster._record import replace

    return replace(defs, assets=list(assets))


def _guarded_node(node: Any, guard: Guard, inputs: Sequence[str], name: str = "") -> Any:
    """Return a node whose ops are guarded and wait for further inputs without a value."""
    if isinstance(node, dg.OpDefinition):
        return _guarded_op(node, guard, inputs, name or node.name)
    # other graphs may use the same ops as they are, and Dagster wants one definition of a name
    names = {inner.name: f"{name or node.name}__{inner.name}" for inner in node.node_defs}
    mapped = [
        dg.InputMapping(graph_input_name=given, mapped_node_name=inner, mapped_node_input_name=given)
        for given in inputs
        for inner in node.node_dict
    ]
    return dg.GraphDefinition(
        name=name or node.name,
        description=node.description,
        node_defs=[_guarded_node(inner, guard, inputs, names[inner.name]) for inner in node.node_defs],
        dependencies={
            call._replace(name=names[call.name], alias=call.alias or call.name): deps
            for call, deps in node.dependencies.items()
        },
        input_mappings=[*node.input_mappings, *mapped],
        output_mappings=node.output_mappings,
        config=node.config_mapping,
        tags=node.tags,
        input_assets=node.input_assets,
    )


def _guarded_op(op: Any, guard: Guard, inputs: Sequence[str], name: str) -> dg.OpDefinition:
    """Return an op that is guarded; without a decorator its code takes the context first."""
    ins = {each.name: dg.In.from_definition(each) for each in op.input_defs}
    guarded: dg.OpDefinition = op.with_replaced_properties(
        name=name, ins={**ins, **{given: dg.In(dg.Nothing) for given in inputs}}
    )
    body: Any = op.compute_fn
    if hasattr(body, "decorated_fn"):
        call = _guarded_call(body.decorated_fn, guard, takes_context=body.has_context_arg())
        guarded._compute_fn = type(body)(call)
    else:
        guarded._compute_fn = _guarded_call(body, guard, takes_context=True)
    return guarded


def _guarded_call(body: Callable[..., Any], guard: Guard, *, takes_context: bool) -> Callable[..., Any]:
    """Return `body`, of whatever kind Dagster accepts, with the guard called in the same step before it."""

    def allowed(args: tuple[Any, ...]) -> tuple[Any, ...]:
        left_out = guard(dg.OpExecutionContext.get(), takes_context)
        return (without_assets(args[0], left_out), *args[1:]) if left_out else args

    return _called_after(allowed, body)


def _called_after(
    allowed: Callable[[tuple[Any, ...]], tuple[Any, ...]], body: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function of the same kind and signature, whose arguments go through `allowed` when it runs."""
    if inspect.isasyncgenfunction(body):

        @wraps(body)
        async def each_later(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async for event in body(*allowed(args), **kwargs):
                yield event

        return each_later
    if inspect.iscoroutinefunction(body):

        @wraps(body)
        async def later(*args: Any, **kwargs: Any) -> Any:
            return await body(*allowed(args), **kwargs)

        return later
    if inspect.isgeneratorfunction(body):

        @wraps(body)
        def each(*args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from body(*allowed(args), **kwargs)

        return each

    @wraps(body)
    def once(*args: Any, **kwargs: Any) -> Any:
        return body(*allowed(args), **kwargs)

    return once


class _Narrowed(dg.OpExecutionContext):
    """The context of a step, as if some of its assets had not been selected."""

    def __init__(self, whole: dg.OpExecutionContext, left_out: Collection[dg.AssetKey]) -> None:
        super().__init__(whole._step_execution_context)
        self._left_out = frozenset(left_out)

    @property
    def assets_def(self) -> dg.AssetsDefinition:
        """The asset definition, subset to what is built."""
        whole = super().assets_def
        checks = {key for key in whole.check_keys if key.asset_key not in self._left_out}
        return whole.subset_for(whole.keys - self._left_out, checks)

    @property
    def selected_output_names(self) -> frozenset[str]:
        """Names of the outputs of the assets and checks that are built."""
        whole = super().assets_def
        outputs = {whole.get_output_name_for_asset_key(key) for key in self._left_out}
        outputs |= {
            whole.get_output_name_for_asset_check_key(key)
            for key in whole.check_keys
            if key.asset_key in self._left_out
        }
        return frozenset(super().selected_output_names) - outputs


def without_assets(context: Any, left_out: Collection[dg.AssetKey]) -> Any:
    """Return the context of a step that can be subset, of the same type, without some of its assets.

    Args:
        context: an `AssetExecutionContext` or `OpExecutionContext`.
        left_out: the assets its code shall not build.
    """
    narrowed = _Narrowed(context.op_execution_context, left_out)
    return narrowed if isinstance(context, dg.OpExecutionContext) else type(context)(narrowed)


def is_in_graph_asset(context: dg.OpExecutionContext) -> bool:
    """Return whether a step is one of several ops that build an asset."""
    return bool(context._step_execution_context.is_in_graph_asset)


def output_assets(context: dg.OpExecutionContext) -> frozenset[dg.AssetKey]:
    """Return the assets that a step itself materializes."""
    layer = context.job_def.asset_layer
    keys = (layer.get_asset_key_for_node_output(context.op_handle, name) for name in context.op.output_dict)
    return frozenset(key for key in keys if key is not None)
