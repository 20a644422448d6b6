"""flagd and OpenFeature: flag definitions with targeting in JSON logic, as JSON or YAML.

Sources: flagd.dev/reference/flag-definitions and /reference/custom-operations/fractional-operation, and
`openfeature-flagd-core` 2.0.0 (`custom_ops.py`: weights are relative, 1 where none is written; without a
key of its own the flag's key and the targeting key are hashed); read on 2026-11-27.

Every evaluation is recorded, by the name of the variant.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import Arm, Document, Reader, Stage, Underivable, VendorFlag
from exd_dagster.telemetry.vendor_flags.weights import derive, has, owners_of, shared, written


def _fits(document: Document) -> bool:
    flags = document.get("flags") if isinstance(document, Mapping) else None
    return isinstance(flags, Mapping) and any(
        has(flag, "state", "variants") and isinstance(flag["variants"], Mapping) for flag in flags.values()
    )


def _read(document: Document, _environment: str | None) -> list[VendorFlag]:
    """Read every flag; definitions know no environments, so that none is chosen."""
    evaluators = document.get("$evaluators") or {}
    return [_flag(key, flag, evaluators) for key, flag in document["flags"].items()]


def _flag(key: str, flag: Mapping[str, Any], evaluators: Mapping[str, Any]) -> VendorFlag:
    owner = (flag.get("metadata") or {}).get("owner")
    return VendorFlag(
        key=key,
        stages=(derive(lambda: _stage(key, flag, evaluators)),),
        status="running" if flag["state"] == "ENABLED" else "stopped",
        owners=owners_of(owner),
    )


def _stage(key: str, flag: Mapping[str, Any], evaluators: Mapping[str, Any]) -> Stage:
    arms = {name: Arm(str(name), i, value) for i, (name, value) in enumerate(flag["variants"].items())}
    targeting = _resolved(flag.get("targeting") or {}, evaluators)
    if not targeting:
        default = flag.get("defaultVariant")
        if default is None:
            raise Underivable("it has no default variant: the caller's own default is served")
        return Stage(((arms[default], 1.0),))
    if set(targeting) == {"fractional"}:
        return _fractional(key, targeting["fractional"], arms)
    inner = _inside(targeting)
    if inner is None:
        raise Underivable(
            "its targeting chooses variants by conditions, of unknown shares; declare the split"
        )
    said = written(_fractional(key, inner, arms).shares)
    raise Underivable(
        f"its targeting splits {said} only if a condition is met; declare split={said} with include= of "
        "that audience"
    )


def _resolved(targeting: Any, evaluators: Mapping[str, Any]) -> Any:
    """Put shared evaluators in the place of references to them."""
    if has(targeting, "$ref"):
        return evaluators.get(targeting["$ref"], targeting)
    return targeting


def _inside(targeting: Any) -> Sequence[Any] | None:
    """Return the first fractional operation inside conditions."""
    if isinstance(targeting, Mapping):
        if isinstance(targeting.get("fractional"), list):
            return list(targeting["fractional"])
        targeting = list(targeting.values())
    parts = targeting if isinstance(targeting, list) else []
    return next((found for part in parts if (found := _inside(part)) is not None), None)


def _fractional(key: str, arguments: Sequence[Any], arms: Mapping[str, Arm]) -> Stage:
    """Read [bucketing key], [variant, weight], ...: without a key the flag's and the targeting key."""
    own = bool(arguments) and not isinstance(arguments[0], list)
    by = json.dumps(arguments[0], sort_keys=True) if own else f"{key} targetingKey"
    by = f"{key} {by}" if "$flagd.flagKey" in by else by
    weights = []
    for part in arguments[1:] if own else arguments:
        if not isinstance(part[0], str) or (len(part) > 1 and not isinstance(part[1], (int, float))):
            raise Underivable("its fractional operation computes variants or weights; declare the split")
        if part[0] not in arms:
            raise Underivable(f"its fractional operation names '{part[0]}', which is no variant")
        weights.append((arms[part[0]], max(0.0, float(part[1]) if len(part) > 1 else 1.0)))
    return Stage(shared(weights), space=(by,))


READER = Reader("flagd", "flags with state, variants and defaultVariant", _fits, _read)
