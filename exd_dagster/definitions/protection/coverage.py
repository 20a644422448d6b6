"""Which reports downstream of audited flags are stopped by them, and which are not."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import dagster as dg

from exd_dagster.config import FlagId
from exd_dagster.definitions.gate import BLOCKED_BY, UPDATED_AND_TRUSTED
from exd_dagster.definitions.protection.protect import (
    PROTECTED_BY,
    audited,
    built_assets,
    downstream,
    readers_of,
)

Cover: TypeAlias = Literal["guard", "gate", "behind", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How one asset downstream of audited flags, or of their records, is protected.

    Attributes:
        asset: the asset.
        flags: the flags it builds on, directly or not; none for one that reads only their records.
        cover: "guard": no run builds it while a flag is not trusted; "gate": only automation waits;
            "behind": everything it reads of a flag is guarded; "none".
        executable: whether Dagster builds it.
    """

    asset: dg.AssetKey
    flags: tuple[FlagId, ...]
    cover: Cover
    executable: bool

    @property
    def open(self) -> bool:
        """Whether a run can build it from a flag that is not trusted."""
        return self.cover in ("gate", "none") and self.executable


def coverage(defs: dg.Definitions) -> list[Coverage]:
    """Return every asset downstream of an audited asset or of the records of one, sorted by key.

    Args:
        defs: what a project defines.
    """
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    flags = audited(defs)
    marked, built = _guarded(defs), {key for asset in built_assets(defs) for key in asset.keys}
    bins: dict[dg.AssetKey, list[FlagId]] = {}
    for flag, key in flags.items():
        bins.setdefault(key, []).append(flag)
    counted = [specs[key] for key in bins if key in specs and "flag" in specs[key].metadata]
    records = {dep.asset_key for spec in counted for dep in spec.deps}
    readers = readers_of(specs.values())
    behind = downstream([*bins, *records], readers)
    exposed = downstream([*bins, *records], readers, stop=marked)
    below = {source: downstream([source], readers) for source in bins}
    return [
        Coverage(
            asset=key,
            flags=tuple(sorted({f for source in bins if key in below[source] for f in bins[source]})),
            cover=_cover(specs[key], guarded=key in marked, exposed=key in exposed),
            executable=key in built,
        )
        for key in sorted(behind - set(bins) - records)
    ]


def _guarded(defs: dg.Definitions) -> set[dg.AssetKey]:
    """Return what `protect` or `blocked_by` guards."""
    found: set[dg.AssetKey] = set()
    for asset in built_assets(defs):
        found |= {spec.key for spec in asset.specs if PROTECTED_BY in spec.metadata}
        body = getattr(asset.node_def, "compute_fn", None)
        if hasattr(getattr(body, "decorated_fn", None), BLOCKED_BY):
            found |= set(asset.keys)
    return found


def _cover(spec: dg.AssetSpec, *, guarded: bool, exposed: bool) -> Cover:
    if guarded:
        return "guard"
    if not exposed:
        return "behind"
    return "gate" if _has_gate(spec.automation_condition) else "none"


def _has_gate(condition: Any) -> bool:
    if condition is None:
        return False
    return condition.get_label() == UPDATED_AND_TRUSTED or any(map(_has_gate, condition.children))
