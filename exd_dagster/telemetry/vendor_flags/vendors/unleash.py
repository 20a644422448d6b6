"""Unleash: features as clients get them, the export of an instance, and one feature of the admin API.

Sources: schemas `clientFeaturesSchema`, `exportResultSchema` and `featureSchema` of unleash-server 7.4.0
(dist/lib/openapi/spec; weights of variants are thousandths), and github.com/Unleash/client-specification as
`UnleashClient` 6.9.1 with `yggdrasil-engine` evaluates it: weights are relative to their sum, rollout and
variants are hashed with different seeds; read on 2026-11-27.

An impression is written whether the flag is on or off. Flags with variants go by the name of the variant; one
called `disabled` says that the flag is off for a unit. Flags without variants go by `true` and `false`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import Arm, Document, Reader, Stage, Underivable, VendorFlag
from exd_dagster.telemetry.vendor_flags.weights import (
    derive,
    has,
    instant,
    items_of,
    not_in_export,
    owners_of,
    pick,
    shared,
    switch,
    tags_of,
)

DISABLED = "disabled"
"""Name of the variant that a unit gets for which the flag is off."""

_EVERYBODY = ("default", "flexibleRollout", "gradualRolloutUserId", "gradualRolloutSessionId")
"""Strategies that choose units by their hash alone."""


def _fits(document: Document) -> bool:
    if has(document, "features", "featureStrategies"):
        return True
    return any(
        has(item, "name") and ("strategies" in item or _admin(item))
        for item in items_of(document, "features")
    )


def _admin(item: Mapping[str, Any]) -> bool:
    blocks = item.get("environments")
    return isinstance(blocks, list) and any(has(block, "name", "enabled") for block in blocks)


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    if has(document, "featureStrategies"):
        return list(_export(document, environment))
    return [_feature(item, environment) for item in items_of(document, "features") if has(item, "name")]


def _export(document: Mapping[str, Any], environment: str | None) -> Iterator[VendorFlag]:
    """Join the tables of an export: features, strategies, environments and tags."""
    blocks = document.get("featureEnvironments") or []
    named = {str(block["environment"]) for block in blocks}
    if environment is not None and named and environment not in named:
        raise not_in_export(environment, named)
    tags = document.get("featureTags") or []
    for item in document["features"]:
        name = item["name"]
        own: Mapping[str, Any] = next((block for block in blocks if block.get("featureName") == name), {})
        yield _flag(
            {
                **item,
                "enabled": own.get("enabled", False),
                "variants": own.get("variants") or item.get("variants") or [],
                "strategies": [s for s in document["featureStrategies"] if s.get("featureName") == name],
                "dependencies": [
                    one
                    for of in document.get("dependencies") or ()
                    if of.get("feature") == name
                    for one in of.get("dependencies") or ()
                ],
                "tags": [one.get("tagValue") for one in tags if one.get("featureName") == name],
            }
        )


def _feature(item: Mapping[str, Any], environment: str | None) -> VendorFlag:
    if not _admin(item):
        return _flag(item)
    block = pick({block["name"]: block for block in item["environments"]}, environment)
    return _flag({**item, **{k: v for k, v in block.items() if k not in ("name", "type")}})


def _flag(item: Mapping[str, Any]) -> VendorFlag:
    return VendorFlag(
        key=item["name"],
        stages=(derive(lambda: _stage(item)),),
        status="archived" if item.get("archived") else "running" if item.get("enabled") else "stopped",
        owners=owners_of(item.get("createdBy")),
        tags=tags_of([one.get("value") if has(one, "value") else one for one in item.get("tags") or ()]),
        changed=instant(item.get("lastModifiedAt")),
    )


def _stage(item: Mapping[str, Any]) -> Stage:
    if item.get("dependencies"):
        raise Underivable(
            "it depends on another flag: units without that one are off; declare include= of them"
        )
    strategies = [one for one in item.get("strategies") or () if not one.get("disabled")]
    on, rollout_space = _enabled(strategies)
    variants = _variants(item, strategies)
    if not variants:
        return Stage(switch(on), space=rollout_space)
    if any(one.get("overrides") for one in variants):
        raise Underivable("its variants have overrides; declare include= of units that have none")
    weights = [(Arm(str(one["name"]), i), float(one["weight"])) for i, one in enumerate(variants)]
    stickiness = str(variants[0].get("stickiness") or "default")
    group = str((strategies[0].get("parameters") or {}).get("groupId") or "") if strategies else ""
    hashed = group if strategies and strategies[0].get("variants") and group else str(item["name"])
    space = (*rollout_space, "variants", hashed, stickiness)
    if on <= 0:
        raise Underivable("its rollout is 0: it is on for nobody")
    return Stage(shared(weights), on, space, ignore=(DISABLED,))


def _enabled(strategies: Sequence[Mapping[str, Any]]) -> tuple[float, tuple[str, ...]]:
    """Return the share of units for which a flag is on, and what chooses them."""
    if not strategies:
        return 1.0, ()
    bare = [one for one in strategies if not one.get("constraints") and not one.get("segments")]
    odd = [str(one["name"]) for one in bare if one["name"] not in _EVERYBODY]
    shares = [_rollout(one) for one in bare if one["name"] in _EVERYBODY]
    if 1.0 in shares:
        return 1.0, ()
    if len(strategies) > 1 or not shares:
        why = (
            f"strategy '{odd[0]}' chooses units by name"
            if odd
            else "its strategies have constraints or segments"
        )
        raise Underivable(f"{why}, of unknown share; declare the split with include= of one audience")
    settings = strategies[0].get("parameters") or {}
    return shares[0], tuple(str(settings.get(name, "")) for name in ("groupId", "stickiness"))


def _rollout(strategy: Mapping[str, Any]) -> float:
    settings = strategy.get("parameters") or {}
    percent = settings.get("rollout", settings.get("percentage", 100))
    return 1.0 if strategy["name"] == "default" else float(percent) / 100


def _variants(
    item: Mapping[str, Any], strategies: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return the variants in force: those of the strategies replace those of the flag."""
    own = [one.get("variants") or [] for one in strategies]
    if any(variants != own[0] for variants in own):
        raise Underivable(
            "its strategies have different variants; declare the split with include= of one audience"
        )
    return (own[0] if own else []) or item.get("variants") or []


READER = Reader("unleash", "features with name, strategies and variants", _fits, _read)
