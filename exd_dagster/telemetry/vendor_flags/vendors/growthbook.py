"""GrowthBook: features as the SDKs read them, and the features and experiments of its API.

Sources: the SDK's feature rules and `getBucketRanges` (docs.growthbook.io/lib/build-your-own, and
`growthbook` 4.0.0 for Python), `Feature` and `Experiment` of the REST API (docs.growthbook.io/openapi.yaml,
version 5.1.0); read on 2026-11-27.

The key is the experiment's tracking key, as in exposures (`experiment_id`); the arms are variation keys.
GrowthBook records only units inside the experiment: conditions narrow who that is and leave the split alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import (
    Arm,
    Document,
    Reader,
    Stage,
    Status,
    Underivable,
    VendorFlag,
)
from exd_dagster.telemetry.vendor_flags.weights import (
    derive,
    has,
    instant,
    items_of,
    owners_of,
    pick,
    shared,
    tags_of,
)


def _fits(document: Document) -> bool:
    features = document.get("features") if isinstance(document, Mapping) else None
    if isinstance(features, Mapping):
        return any(has(feature, "defaultValue") for feature in features.values())
    return any(map(_is_feature, items_of(document, "features"))) or any(
        map(_is_experiment, items_of(document, "experiments"))
    )


def _is_feature(item: Any) -> bool:
    return has(item, "id", "valueType", "environments")


def _is_experiment(item: Any) -> bool:
    return has(item, "variations", "phases") and ("trackingKey" in item or "hashAttribute" in item)


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    features = document.get("features") if isinstance(document, Mapping) else None
    if isinstance(features, Mapping):
        rules = [
            (str(rule.get("key") or key), rule)
            for key, feature in features.items()
            for rule in feature.get("rules") or ()
            if rule.get("variations")
        ]
        return _merged([VendorFlag(key, (derive(partial(_rule, rule, key)),)) for key, rule in rules])
    found = [_experiment(item) for item in items_of(document, "experiments") if _is_experiment(item)]
    for item in items_of(document, "features"):
        found += list(_feature(item, environment)) if _is_feature(item) else []
    return _merged(found)


def _merged(flags: Sequence[VendorFlag]) -> list[VendorFlag]:
    """Return one flag per tracking key: rules of several features may belong to one experiment."""
    merged: dict[str, VendorFlag] = {}
    for flag in flags:
        known = merged.setdefault(flag.key, flag)
        if known.stages != flag.stages:
            refusal = "several rules serve this experiment with different splits; declare the split of one"
            merged[flag.key] = replace(flag, stages=(Stage(refusal=refusal),), status=known.status, end=None)
    return list(merged.values())


def _rule(rule: Mapping[str, Any], key: str) -> Stage:
    """Derive the split of one SDK rule; `ranges`, where written, replace weights and coverage."""
    values, meta = rule["variations"], rule.get("meta") or []
    names = [meta[i].get("key") if i < len(meta) else None for i in range(len(values))]
    arms = [Arm(str(names[i] or i), i, value) for i, value in enumerate(values)]
    if rule.get("ranges"):
        widths = [end - start for start, end in rule["ranges"]]
        coverage = sum(widths)
    else:
        widths = rule.get("weights") or [1 / len(values)] * len(values)
        coverage = rule["coverage"] if rule.get("coverage") is not None else 1.0
    if len(widths) != len(arms):
        raise Underivable(f"it has {len(arms)} variations and {len(widths)} weights")
    passed_on = [i for i, one in enumerate(meta) if one.get("passthrough")]
    weighed = [(arm, widths[i]) for i, arm in enumerate(arms) if i not in passed_on]
    space = _space(rule.get("seed") or key, rule)
    return Stage(shared(weighed), _bounded(coverage * _namespace(rule.get("namespace"))), space)


def _space(seed: Any, hashing: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what assigns the units: the seed, and how an SDK's rule or an experiment hashes with it."""
    return (
        str(seed),
        str(hashing.get("hashVersion") or 1),
        str(hashing.get("hashAttribute") or "id"),
        str(hashing.get("bucketVersion") or 0),
    )


def _namespace(namespace: Any) -> float:
    """Return the share of a namespace that the rule covers: [id, from, to], or {range: [from, to]}."""
    if isinstance(namespace, Mapping):
        if namespace.get("enabled") is False:
            return 1.0
        namespace = ["", *(namespace.get("range") or (0, 1))]
    return float(namespace[2]) - float(namespace[1]) if namespace else 1.0


def _bounded(coverage: float) -> float:
    if coverage <= 0:
        raise Underivable("its coverage is 0: it has no units")
    return min(1.0, coverage)


def _feature(item: Mapping[str, Any], environment: str | None) -> Iterator[VendorFlag]:
    """Yield the experiments in the rules of a feature."""
    block = pick(item["environments"], environment)
    running = block.get("enabled", True) and not item.get("archived")
    status: Status = "running" if running else "archived" if item.get("archived") else "stopped"
    for rule in block.get("rules") or ():
        if rule.get("type") != "experiment" or rule.get("enabled") is False:
            continue
        key = str(rule.get("trackingKey") or item["id"])
        yield VendorFlag(
            key,
            (derive(partial(_rule, _as_sdk_rule(rule), key)),),
            status,
            owners_of(item.get("owner")),
            tags_of(item.get("tags")),
            instant(item.get("dateUpdated")),
        )


def _as_sdk_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment rule of the API as the SDKs get it."""
    values = rule.get("value") or rule.get("values") or []
    return {
        **rule,
        "variations": [value["value"] for value in values],
        "weights": [float(value["weight"]) for value in values],
    }


_STATUS: Mapping[str, Status] = {"draft": "draft", "running": "running", "stopped": "stopped"}


def _experiment(item: Mapping[str, Any]) -> VendorFlag:
    """Read an experiment with its phases: each has its own split, coverage and seed."""
    phases = sorted(item["phases"], key=lambda phase: str(phase.get("dateStarted")))
    status = "archived" if item.get("archived") else _STATUS.get(str(item.get("status")), "stopped")
    return VendorFlag(
        key=str(item.get("trackingKey") or item["id"]),
        stages=tuple(_phase(item, phase) for phase in phases) or (Stage(refusal="it has no phase yet"),),
        status=status,
        owners=owners_of(item.get("owner")),
        tags=tags_of(item.get("tags")),
        changed=instant(item.get("dateUpdated")),
        end=instant(phases[-1].get("dateEnded")) if phases and status != "running" else None,
    )


def _phase(item: Mapping[str, Any], phase: Mapping[str, Any]) -> Stage:
    since = instant(phase.get("dateStarted"))

    def make() -> Stage:
        arms = {
            str(variation.get("variationId", i)): Arm(
                str(variation.get("key") or i), i, id=str(variation.get("variationId", ""))
            )
            for i, variation in enumerate(item["variations"])
        }
        weights = [(arms[str(one["variationId"])], float(one["weight"])) for one in phase["trafficSplit"]]
        space = _space(phase.get("seed") or item.get("trackingKey") or item["id"], item)
        covered = phase.get("coverage")
        coverage = (1.0 if covered is None else float(covered)) * _namespace(phase.get("namespace"))
        return Stage(shared(weights), _bounded(coverage), space, since)

    return derive(make, since)


READER = Reader(
    "growthbook",
    "features with defaultValue and rules, or experiments with phases",
    _fits,
    _read,
)
