"""PostHog: feature flags and experiments of its API, local evaluation, and a flag's activity log.

Sources: posthog.com/docs/api/feature-flags, types of posthog-node 5.9.1 (`filters.groups`,
`filters.multivariate.variants`), and the evaluation of `posthog` 7.91.1 (`feature_flags.py`: rollout and
variant hash the same key with different salts); read on 2026-11-27. The activity log's `changes` of field
`filters` and `active` are taken from the same documentation.

`$feature_flag_called` is recorded whatever the answer: a unit outside the rollout counts as `false`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
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
    shared,
    switch,
    tags_of,
)

_LISTS = ("results", "flags")


def _fits(document: Document) -> bool:
    return any(
        _is_flag(item) or _is_experiment(item) or _is_change(item) for item in items_of(document, *_LISTS)
    )


def _is_flag(item: Any) -> bool:
    return has(item, "key", "filters") and isinstance(item["filters"], Mapping)


def _is_experiment(item: Any) -> bool:
    return has(item, "feature_flag") and _is_flag(item["feature_flag"])


def _is_change(item: Any) -> bool:
    return has(item, "activity", "created_at", "detail") and item.get("scope", "FeatureFlag") == "FeatureFlag"


def _read(document: Document, _environment: str | None) -> list[VendorFlag]:
    """Read every flag; PostHog keeps a project per environment, so that none is chosen."""
    items = items_of(document, *_LISTS)
    flags = [_flag(item) for item in items if _is_flag(item)]
    flags += [_experiment(item) for item in items if _is_experiment(item)]
    changes = sorted((item for item in items if _is_change(item)), key=lambda item: str(item["created_at"]))
    logs: dict[str, list[Mapping[str, Any]]] = {}
    for change in changes:
        logs.setdefault(str(change["detail"].get("name")), []).append(change)
    return [*flags, *(_history(key, log) for key, log in logs.items())]


def _flag(item: Mapping[str, Any]) -> VendorFlag:
    status: Status = "archived" if item.get("deleted") else "running" if item.get("active") else "stopped"
    return VendorFlag(
        key=item["key"],
        stages=(derive(partial(_stage, item["key"], item["filters"])),),
        status=status,
        owners=owners_of(item.get("created_by")),
        tags=tags_of(item.get("tags")),
        changed=instant(item.get("updated_at")),
    )


def _experiment(item: Mapping[str, Any]) -> VendorFlag:
    flag = _flag(item["feature_flag"])
    began, ended = instant(item.get("start_date")), instant(item.get("end_date"))
    state: Status = "archived" if item.get("archived") else "stopped" if ended else flag.status
    return replace(
        flag,
        status=state if began else "draft",
        owners=flag.owners or owners_of(item.get("created_by")),
        changed=began,
        end=ended,
    )


def _history(key: str, log: Sequence[Mapping[str, Any]]) -> VendorFlag:
    """Read the values that changes of `filters` and `active` left behind."""
    stages: list[Stage] = []
    active, filters = True, None
    ended: datetime | None = None
    for change in log:
        when = instant(change["created_at"])
        fields = {one.get("field"): one.get("after") for one in change["detail"].get("changes") or ()}
        active = bool(fields.get("active", active))
        filters = fields.get("filters", filters)
        ended = None if active else ended or when
        if active and filters is not None and ("filters" in fields or "active" in fields):
            stages.append(derive(partial(_stage, key, filters, when), when))
    if not stages:
        stages = [Stage(refusal="its activity log has no change of filters; export the flag itself")]
    return VendorFlag(key, tuple(stages), "running" if ended is None else "stopped", end=ended)


def _stage(key: str, filters: Mapping[str, Any], since: datetime | None = None) -> Stage:
    on = _rollout(filters)
    by = f"group {filters['aggregation_group_type_index']}" if _grouped(filters) else "distinct_id"
    variants = (filters.get("multivariate") or {}).get("variants") or []
    if not variants:
        return Stage(switch(on), 1.0, (key, by), since)
    weights = [
        (Arm(str(one["key"]), i), float(one["rollout_percentage"]) / 100 * on)
        for i, one in enumerate(variants)
    ]
    declared = sum(weight for _, weight in weights)
    if declared > on + 1e-3:
        raise Underivable(f"its variants sum to {declared / on:.0%}, not 100%")
    # a unit in no variant's range gets true
    rest = [(Arm("true", value=True), on - declared), (Arm("false", value=False), 1 - on)]
    return Stage(
        shared([*weights, *((arm, max(0.0, round(w, 9))) for arm, w in rest)]), 1.0, (key, by), since
    )


def _grouped(filters: Mapping[str, Any]) -> bool:
    return filters.get("aggregation_group_type_index") is not None


def _rollout(filters: Mapping[str, Any]) -> float:
    """Return the share of units for which a flag is on: sets without properties share one hash."""
    groups = filters.get("groups") or []
    if not groups:
        raise Underivable("it has no release condition: every unit gets false")
    special = ("super_groups", "holdout_groups", "holdout", "feature_enrollment")
    if any(filters.get(name) for name in special):
        raise Underivable(
            "it has a holdout or early access; declare the split and ignore_variants= of the holdout"
        )
    if any(group.get("properties") for group in groups) or any(group.get("variant") for group in groups):
        whole = [group for group in groups if not group.get("properties")]
        if len(groups) == 1 or not whole:
            raise Underivable(
                "its release conditions filter by properties: the share of units that match is unknown; "
                'declare the split of those that match, with ignore_variants=["false"]'
            )
        raise Underivable(
            "its release conditions differ in properties or variants; declare the split with include= of one "
            "audience"
        )
    return max(_percent(group) for group in (groups[:1] if filters.get("early_exit") else groups)) / 100


def _percent(group: Mapping[str, Any]) -> float:
    percent = group.get("rollout_percentage")
    return 100.0 if percent is None else float(percent)


READER = Reader("posthog", "results with key and filters.groups", _fits, _read)
