"""LaunchDarkly: flags of its REST API, of an SDK's data file, and its audit log.

Sources: launchdarkly.com/docs/api/feature-flags (sample flag representation; weights are thousandths of a
percent) and /docs/api/audit-log (`currentVersion`), and the evaluation of `launchdarkly-server-sdk` 9.20.0
(`evaluator.py`: targets, rules, fallthrough; a rollout hashes flag key and salt, or its seed); read on
2026-11-27.

Every evaluation is recorded, with the index and the value of the variation. Arms go by their index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from exd_dagster.telemetry.records import as_text
from exd_dagster.telemetry.vendor_flags.model import Arm, Document, Reader, Stage, Underivable, VendorFlag
from exd_dagster.telemetry.vendor_flags.weights import (
    derive,
    has,
    instant,
    items_of,
    owners_of,
    pick,
    shared,
    tags_of,
    written,
)

_WHOLE = 100_000


def _fits(document: Document) -> bool:
    if has(document, "flags") and isinstance(document["flags"], Mapping):
        return any(map(_is_sdk_flag, document["flags"].values()))
    return any(_is_flag(item) or _is_change(item) for item in items_of(document, "items"))


def _is_sdk_flag(flag: Any) -> bool:
    return has(flag, "on", "variations") and ("fallthrough" in flag or "offVariation" in flag)


def _is_flag(item: Any) -> bool:
    return has(item, "key", "variations", "environments") and isinstance(item["environments"], Mapping)


def _is_change(item: Any) -> bool:
    return has(item, "date", "currentVersion") and _is_flag(item["currentVersion"])


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    if has(document, "flags") and isinstance(document["flags"], Mapping):
        return [_sdk_flag(key, flag) for key, flag in document["flags"].items()]
    items = items_of(document, "items")
    changes = sorted((item for item in items if _is_change(item)), key=lambda item: item["date"])
    if not changes:
        return [_flag(item, environment) for item in items if _is_flag(item)]
    logs: dict[str, list[Mapping[str, Any]]] = {}
    for change in changes:
        logs.setdefault(change["currentVersion"]["key"], []).append(change)
    return [_history(log, environment) for log in logs.values()]


def _history(log: Sequence[Mapping[str, Any]], environment: str | None) -> VendorFlag:
    """Read the versions of one flag: each applies from its entry's date on."""
    last = _flag(log[-1]["currentVersion"], environment)
    stages = []
    for change in log:
        version = _flag(change["currentVersion"], environment)
        if version.status == "running":
            stages.append(replace(version.stages[0], since=instant(change["date"])))
    ended = instant(log[-1]["date"]) if last.status != "running" else None
    return replace(last, stages=tuple(stages) or last.stages, end=ended)


def _flag(item: Mapping[str, Any], environment: str | None) -> VendorFlag:
    block = pick(item["environments"], environment)
    arms = [
        Arm(str(one.get("name") or as_text(one["value"])), i, one["value"], str(one.get("_id", "")))
        for i, one in enumerate(item["variations"])
    ]
    team = item.get("_maintainerTeam") or {}
    archived = item.get("archived") or block.get("archived")
    return VendorFlag(
        key=item["key"],
        stages=(derive(lambda: _served(item["key"], block, arms)),),
        status="archived" if archived else "running" if block.get("on") else "stopped",
        owners=owners_of(item.get("_maintainer"), f"team:{team['key']}" if team.get("key") else None),
        tags=tags_of(item.get("tags")),
        changed=instant(block.get("lastModified")),
        notes=_notes(block),
    )


def _sdk_flag(key: str, flag: Mapping[str, Any]) -> VendorFlag:
    arms = [Arm(as_text(value), i, value) for i, value in enumerate(flag["variations"])]
    return VendorFlag(
        key=str(flag.get("key") or key),
        stages=(derive(lambda: _served(str(flag.get("key") or key), flag, arms)),),
        status="archived" if flag.get("deleted") else "running" if flag.get("on") else "stopped",
        notes=_notes(flag),
    )


def _notes(block: Mapping[str, Any]) -> tuple[str, ...]:
    named = sum(
        len(one.get("values") or ())
        for one in [*(block.get("targets") or ()), *(block.get("contextTargets") or ())]
    )
    if not named:
        return ()
    return (
        f"{named} contexts are targeted by name and count in what they are served; "
        'leave them out with exclude={"evaluation_reason": ["TARGET_MATCH"]} where the log has reasons',
    )


def _served(key: str, block: Mapping[str, Any], arms: Sequence[Arm]) -> Stage:
    """Derive what is served where the flag is on: by its rules and, where none matches, its fallthrough."""
    if "fallthrough" not in block:
        raise Underivable("the export has no rules; query the API for the environment (?env=...&summary=0)")
    fallthrough = _clause(key, block, block["fallthrough"], arms)
    if block.get("prerequisites"):
        raise Underivable(
            f"it has prerequisites: units that fail one are served its off variation; declare "
            f'split={written(fallthrough.shares)} and include={{"evaluation_reason": ["FALLTHROUGH"]}}'
        )
    for rule in block.get("rules") or ():
        clause = _clause(key, block, rule, arms)
        if (clause.shares, clause.space) != (fallthrough.shares, fallthrough.space):
            raise Underivable(
                f"its rules serve {written(clause.shares)} and, where none matches, "
                f"{written(fallthrough.shares)}; declare one of them, with "
                'include={"evaluation_reason": ["FALLTHROUGH"]} for the latter, or include= of the audience'
            )
    return fallthrough


def _clause(key: str, block: Mapping[str, Any], clause: Mapping[str, Any], arms: Sequence[Arm]) -> Stage:
    """Read one variation, or a rollout: `untracked` arms of an experiment are served, and recorded, too."""
    if clause.get("variation") is not None:
        return Stage(((arms[clause["variation"]], 1.0),))
    rollout = clause.get("rollout") or {}
    weights = [(arms[one["variation"]], float(one["weight"])) for one in rollout.get("variations") or ()]
    seed = rollout.get("seed")
    hashed = (f"{key}.{block.get('salt', '')}",) if seed is None else (f"seed {seed}",)
    by = (str(rollout.get("bucketBy") or "key"), str(rollout.get("contextKind") or "user"))
    return Stage(shared(weights, _WHOLE), space=(*hashed, *by))


READER = Reader(
    "launchdarkly",
    "flags with variations and environments, or with on and fallthrough",
    _fits,
    _read,
    form="index",
)
