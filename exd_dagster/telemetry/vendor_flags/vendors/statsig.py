"""Statsig: gates and experiments of the Console API, and the config specs that server SDKs download.

Sources: docs.statsig.com/console-api (experiments with `groups` of a `size` in percent and an `allocation`,
gates with `rules` and `passPercentage`, version 20240601), and the evaluation of `statsig` 0.72.1
(`evaluator.py`: a rule's conditions, then its pass percentage; `user_bucket` is a hash of 1,000); read on
2026-11-27.

Experiments go by the name of the group, gates by `true` and `false`. A unit outside the allocation has no
group and is not recorded as part of the experiment.
"""

from collections.abc import Mapping, Sequence
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
    shared,
    switch,
    tags_of,
    written,
)

_BUCKETS = 1_000
_STATUS: Mapping[str, Status] = {"setup": "draft", "active": "running", "archived": "archived"}


def _fits(document: Document) -> bool:
    if has(document, "feature_gates", "dynamic_configs"):
        return True
    return any(_is_experiment(item) or _is_gate(item) for item in items_of(document, "data"))


def _is_experiment(item: Any) -> bool:
    return has(item, "groups", "allocation") and ("id" in item or "name" in item)


def _is_gate(item: Any) -> bool:
    return has(item, "id", "isEnabled", "rules")


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    if has(document, "feature_gates", "dynamic_configs"):
        gates, configs = (_specs(document, name) for name in ("feature_gates", "dynamic_configs"))
        return [
            *(_spec_gate(spec) for spec in gates if spec.get("entity") not in ("segment", "holdout")),
            *(_spec_experiment(spec) for spec in configs if spec.get("entity") == "experiment"),
        ]
    items = items_of(document, "data")
    experiments = [_experiment(item) for item in items if _is_experiment(item)]
    return experiments + [_gate(item, environment) for item in items if _is_gate(item)]


def _specs(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return specs with their conditions in place: newer SDKs keep conditions apart, and specs by name."""
    specs, conditions = document[name], document.get("condition_map") or {}
    if isinstance(specs, Mapping):
        specs = [{"name": key, **spec} for key, spec in specs.items()]
    return [
        {**spec, "rules": [{**rule, "conditions": _conditions(rule, conditions)} for rule in spec["rules"]]}
        for spec in specs
    ]


def _conditions(rule: Mapping[str, Any], known: Mapping[str, Any]) -> list[Any]:
    return [known.get(one, {}) if isinstance(one, str) else one for one in rule.get("conditions") or ()]


def _experiment(item: Mapping[str, Any]) -> VendorFlag:
    began, ended = instant(item.get("startTime")), instant(item.get("endTime"))
    owner = item.get("owner") or {}
    return VendorFlag(
        key=str(item.get("id") or item["name"]),
        stages=(derive(lambda: _groups(item)),),
        status=_STATUS.get(str(item.get("status")), "stopped"),
        owners=owners_of(owner.get("ownerEmail"), item.get("creatorEmail")),
        tags=tags_of(item.get("tags")),
        changed=began or instant(item.get("lastModifiedTime")),
        end=ended,
    )


def _groups(item: Mapping[str, Any]) -> Stage:
    arms = [
        (
            Arm(str(group["name"]), i, group.get("parameterValues"), str(group.get("id", ""))),
            float(group["size"]),
        )
        for i, group in enumerate(item["groups"])
        if not group.get("disabled")
    ]
    allocation = float(item["allocation"])
    if allocation <= 0:
        raise Underivable("its allocation is 0: it has no units")
    space = (str(item.get("salt") or item.get("id")), str(item.get("idType") or "userID"))
    return Stage(shared(arms, 100), allocation / 100, space)


def _gate(item: Mapping[str, Any], environment: str | None) -> VendorFlag:
    rules = [
        rule for rule in item["rules"] if environment in (None, *(rule.get("environments") or [environment]))
    ]
    status = _STATUS.get(str(item.get("status")), "running")
    archived = status == "archived" or bool(item.get("isArchived"))
    owner = item.get("owner") or {}
    return VendorFlag(
        key=str(item["id"]),
        stages=(derive(lambda: _passing(item, rules)),),
        status="archived" if archived else "running" if item["isEnabled"] else "stopped",
        owners=owners_of(owner.get("ownerEmail"), item.get("creatorEmail")),
        tags=tags_of(item.get("tags")),
        changed=instant(item.get("lastModifiedTime")),
    )


def _spec_gate(spec: Mapping[str, Any]) -> VendorFlag:
    return VendorFlag(
        key=str(spec["name"]),
        stages=(derive(lambda: _passing(spec, spec["rules"])),),
        status="running" if spec.get("enabled") else "stopped",
    )


def _passing(gate: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> Stage:
    """Derive the share that passes: one rule for all units has one; others cover part of an audience."""
    if not rules:
        return Stage(switch(0.0))
    first = rules[0]
    kinds = {str(condition.get("type")).lower() for condition in first.get("conditions") or ()}
    share = float(first["passPercentage"]) / 100
    if kinds <= {"public"}:
        salts = (str(gate.get("salt") or gate.get("id")), str(first.get("salt") or first.get("id")))
        return Stage(
            switch(share), space=(*salts, str(first.get("idType") or gate.get("idType") or "userID"))
        )
    raise Underivable(
        f"its rule '{first.get('name')}' chooses units by {', '.join(sorted(kinds))}, of unknown "
        f"share; declare split={written(switch(share))} with include= of that rule"
    )


def _spec_experiment(spec: Mapping[str, Any]) -> VendorFlag:
    active = spec.get("isActive", spec.get("enabled"))
    return VendorFlag(
        key=str(spec["name"]),
        stages=(derive(lambda: _spec_groups(spec)),),
        status="running" if active and spec.get("enabled") else "stopped",
    )


def _spec_groups(spec: Mapping[str, Any]) -> Stage:
    """Read thresholds of one hash: each group takes the buckets below its own that none before it took."""
    weights: list[tuple[Arm, float]] = []
    coverage, taken, salts = 1.0, 0.0, set()
    for rule in spec["rules"]:
        condition = (rule.get("conditions") or [{}])[0]
        kind, operator = str(condition.get("type")).lower(), condition.get("operator")
        if rule.get("isExperimentGroup") or (kind == "user_bucket" and operator == "lt"):
            if kind != "user_bucket" or operator != "lt" or float(rule["passPercentage"]) != 100:
                raise Underivable(
                    f"group '{rule.get('groupName')}' is not a range of buckets; declare the split"
                )
            salts.add(str((condition.get("additionalValues") or {}).get("salt")))
            until = float(condition["targetValue"])
            name = str(rule.get("groupName") or rule.get("name") or rule["id"])
            weights.append((Arm(name, len(weights), rule.get("returnValue"), str(rule["id"])), until - taken))
            taken = until
        elif kind == "user_bucket":
            listed = len(condition.get("targetValue") or ()) / _BUCKETS  # who matches stays outside
            coverage *= 1 - listed if operator == "any" else listed
    if coverage <= 0:
        raise Underivable("its allocation is 0: it has no units")
    if len(salts) > 1:
        raise Underivable(f"its groups use {len(salts)} salts; declare the split")
    return Stage(shared(weights), coverage, (*salts, str(spec.get("idType") or "userID")))


READER = Reader(
    "statsig", "data with groups and allocation, or feature_gates and dynamic_configs", _fits, _read
)
