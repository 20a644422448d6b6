"""`protect`: gate and guard on reports that one does not own, for every way they can run."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeAlias

import dagster as dg

from exd_dagster.alerts.messages.links import base_url_faults
from exd_dagster.config import FlagId
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.catalog import flag_of
from exd_dagster.definitions.checks import TRUST, trust_key
from exd_dagster.definitions.gate import blocked_checks, check_links, refusal, trusted_condition
from exd_dagster.definitions.protection.guarded_asset import (
    guarded_asset,
    is_in_graph_asset,
    output_assets,
    with_assets,
)
from exd_dagster.errors import ConfigError, did_you_mean

ReportKey: TypeAlias = dg.AssetKey | str | tuple[str, ...]
Until: TypeAlias = Literal["trusted", "usable"]

PROTECTED_BY = "exd/protected_by"
"""Metadata of a protected asset: the flags that block it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What blocks one report.

    Attributes:
        flags: what blocks it.
        bins: the asset whose `trust` check each of these flags has.
    """

    flags: tuple[FlagId, ...]
    bins: tuple[dg.AssetKey, ...]


def protect(
    defs: dg.Definitions,
    reports: Mapping[ReportKey, Sequence[str]],
    *,
    until: Until = "trusted",
    max_age: timedelta | None = None,
    base_url: str = "",
) -> dg.Definitions:
    """Block reports whose code is not yours while a flag they build on is not trusted.

    Each report gets a guard, which refuses in every run however it was started (job, schedule, automation,
    launchpad, backfill); its automation condition, where it has one, also waits until the flags are trusted;
    and its ops wait for the audit where both are in one run. Nothing else of it changes: what it builds, when
    it is asked for, its partitions.

    A step that builds several assets and can be subset (dbt, sling) leaves out those that are blocked and
    those of its assets that build on them, each with an observation that gives the reason; it fails when
    nothing is left. A step that builds all or nothing fails.

    Args:
        defs: what the project defines, audit and reports together.
        reports: by the key of a report, as text ("reports/conversion"), tuple or `AssetKey`: keys of flags,
            or globs over them.
        until: "trusted": a flag that is not trusted blocks the report. "usable": partitions by time that end
            before the fault (`usable_until`) may still be built by hand and by backfills.
        max_age: refuse also when the newest audited hour is older than this; None: the fleet's own limit.
        base_url: address of the Dagster UI, for links to the checks.

    Returns:
        The definitions with these reports replaced.

    Raises:
        ConfigError: for an unknown report or flag, with the nearest name, and for a report that Dagster does
            not build; all faults at once.

    Examples:
        >>> defs = exd.protect(dg.Definitions.merge(audit, dbt), {"marts/conversion": ["checkout"]})
    """
    found = _protections(defs, reports)
    if faults := base_url_faults(base_url):
        raise ConfigError("protect", faults)
    if until not in ("trusted", "usable"):
        raise ConfigError("protect", [f"until: '{until}' is not known; write trusted or usable"])
    partitions = {spec.key: spec.partitions_def for spec in _specs(defs)}

    def protected(asset: Any) -> Any:
        mine = {
            key: found[key] for key in found if isinstance(asset, dg.AssetsDefinition) and key in asset.keys
        }
        if not mine:
            return asset
        guard = _Guard(mine, until=until, max_age=max_age, base_url=base_url)
        specs = [_protected_spec(s, mine[s.key], partitions) if s.key in mine else s for s in asset.specs]
        return guarded_asset(asset, specs, {key for p in mine.values() for key in p.bins}, guard)

    return with_assets(defs, [protected(asset) for asset in defs.assets or ()])


def _specs(defs: dg.Definitions) -> Iterator[dg.AssetSpec]:
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            yield from asset.specs
        elif isinstance(asset, dg.AssetSpec):
            yield asset


def built_assets(defs: dg.Definitions) -> Iterator[dg.AssetsDefinition]:
    """Yield the assets that Dagster itself builds."""
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            yield asset


def audited(defs: dg.Definitions) -> dict[FlagId, dg.AssetKey]:
    """Return every flag that the definitions audit, with the asset of its `trust` check."""
    return {
        flag_of(spec.metadata): spec.asset_key
        for checks in defs.asset_checks or ()
        for spec in checks.check_specs
        if spec.name == TRUST and "flag" in (spec.metadata or {})
    }


def _protections(
    defs: dg.Definitions, reports: Mapping[ReportKey, Sequence[str]]
) -> dict[dg.AssetKey, Protection]:
    """Return what blocks each report."""
    flags, faults = audited(defs), []
    built = {key for asset in built_assets(defs) for key in asset.keys}
    external = {spec.key for spec in _specs(defs)} - built
    found: dict[dg.AssetKey, Protection] = {}
    if not flags:
        faults.append("defs: audits no flag; merge it with build_flag_audit_defs(...) first")
    for given, names in reports.items():
        key = _key(given)
        shown, known = key.to_user_string(), [each.to_user_string() for each in built - set(flags.values())]
        if key in external:
            faults.append(f"{shown}: is not built by Dagster, so nothing can stop it; protect what reads it")
        elif key not in built:
            faults.append(f"{shown}: is no asset of these definitions.{did_you_mean(shown, known)}")
        elif isinstance(names, str) or not names:
            faults.append(f"{shown}: give the flags it builds on as a list, not {names!r}")
        else:
            mine, unknown = _named(names, flags)
            faults += [
                f"{shown}: '{name}' is no audited flag.{did_you_mean(name, map(str, flags))}"
                for name in unknown
                if flags
            ]
            found[key] = Protection(flags=tuple(mine), bins=tuple(flags[flag] for flag in mine))
    if faults:
        raise ConfigError("protect", faults)
    return found


def _named(names: Iterable[str], flags: Collection[FlagId]) -> tuple[list[FlagId], list[str]]:
    """Return the flags that are named, and the names that name none."""
    matched = {name: [flag for flag in flags if flag.is_named(name)] for name in names}
    mine = dict.fromkeys(flag for found in matched.values() for flag in found)
    return list(mine), [name for name, found in matched.items() if not found]


def _key(given: ReportKey) -> dg.AssetKey:
    return (
        dg.AssetKey.from_user_string(given) if isinstance(given, str) else dg.AssetKey.from_coercible(given)
    )


def _protected_spec(
    spec: dg.AssetSpec,
    protection: Protection,
    partitions: Mapping[dg.AssetKey, dg.PartitionsDefinition[Any] | None],
) -> dg.AssetSpec:
    """Return a report's spec that waits for the audit of its flags, and names them."""
    known = {dep.asset_key for dep in spec.deps}
    new = [key for key in protection.bins if key not in known]
    condition: Any = spec.automation_condition
    if condition is not None:
        # a new dependency must neither delay nor trigger the report
        own = (
            condition.ignore(dg.AssetSelection.assets(*new))
            if new and hasattr(condition, "ignore")
            else condition
        )
        condition = own & trusted_condition(*protection.bins)
    return spec.replace_attributes(
        deps=[*spec.deps, *(_dep(key, spec.partitions_def, partitions.get(key)) for key in new)],
        automation_condition=condition,
        metadata={**spec.metadata, PROTECTED_BY: [str(flag) for flag in protection.flags]},
    )


def _dep(
    key: dg.AssetKey, own: dg.PartitionsDefinition[Any] | None, bins: dg.PartitionsDefinition[Any] | None
) -> dg.AssetDep:
    """Return a dependency on bins; a report may have partitions from before the flag."""
    by_time = all(isinstance(each, dg.TimeWindowPartitionsDefinition) for each in (own, bins))
    mapping = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True) if by_time else None
    return dg.AssetDep(key, partition_mapping=mapping)


@dataclass(frozen=True, slots=True)
class _Guard:
    """Decides, in the step of a run, which of its assets may be built.

    Attributes:
        protections: what blocks each protected asset of the step.
        until: as in `protect`.
        max_age: as in `protect`.
        base_url: as in `protect`.
    """

    protections: Mapping[dg.AssetKey, Protection]
    until: Until
    max_age: timedelta | None
    base_url: str

    def __call__(self, context: dg.OpExecutionContext, takes_context: bool) -> frozenset[dg.AssetKey]:
        """Return the assets that the step must leave out.

        Raises:
            dagster.Failure: when the step may build nothing, or cannot leave assets out.
        """
        selected = context.selected_asset_keys
        through = _built_through(context) if self.until == "usable" else None
        blocked = {
            key: why
            for key in sorted(selected & set(self.protections))
            if (why := self._why(context, key, through))
        }
        if not blocked:
            return frozenset()
        readers = readers_of(spec for spec in context.assets_def.specs if spec.key in selected)
        left_out = frozenset(downstream(blocked, readers))
        everything = left_out == selected
        if is_in_graph_asset(context):
            if everything or output_assets(context) & left_out:
                raise self._refusal(blocked, through)
            return frozenset()
        if everything or not (takes_context and context.assets_def.can_subset):
            raise self._refusal(blocked, through)
        self._tell(context, left_out, blocked)
        return left_out

    def _why(
        self, context: dg.OpExecutionContext, key: dg.AssetKey, through: datetime | None
    ) -> dict[dg.AssetCheckKey, str]:
        keys = [trust_key(bins) for bins in self.protections[key].bins]
        return blocked_checks(context.instance, keys, utc_now(), max_age=self.max_age, through=through)

    def _refusal(
        self, blocked: Mapping[dg.AssetKey, Mapping[dg.AssetCheckKey, str]], through: datetime | None
    ) -> dg.Failure:
        reasons = {key: reason for why in blocked.values() for key, reason in why.items()}
        more = "Partitions that end before the fault may be built." if through is not None else ""
        return refusal(reasons, self.base_url, more)

    def _tell(
        self,
        context: dg.OpExecutionContext,
        left_out: Collection[dg.AssetKey],
        blocked: Mapping[dg.AssetKey, Mapping[dg.AssetCheckKey, str]],
    ) -> None:
        """Say on each asset's page, and in the log, why it was not built."""
        for key in sorted(left_out):
            why = blocked.get(key, {})
            builds_on = ", ".join(sorted(each.to_user_string() for each in blocked))
            said = (
                refusal(why).description
                if why
                else f"It builds on what is blocked in the same step: {builds_on}."
            )
            context.log.error("%s is left out. %s", key.to_user_string(), said)
            links = check_links(why, self.base_url)
            context.log_event(dg.AssetObservation(key, description=said, metadata={"blocked": True, **links}))


def readers_of(specs: Iterable[dg.AssetSpec]) -> dict[dg.AssetKey, list[dg.AssetKey]]:
    """Return, by asset, those of `specs` that read it directly."""
    readers: dict[dg.AssetKey, list[dg.AssetKey]] = {}
    for spec in specs:
        for dep in spec.deps:
            readers.setdefault(dep.asset_key, []).append(spec.key)
    return readers


def downstream(
    start: Iterable[dg.AssetKey],
    readers: Mapping[dg.AssetKey, Sequence[dg.AssetKey]],
    stop: Iterable[dg.AssetKey] = (),
) -> set[dg.AssetKey]:
    """Return `start` and everything downstream of it, nothing that is only behind `stop`."""
    found, ends, todo = set(start), set(stop), list(start)
    while todo:
        new = [key for key in readers.get(todo.pop(), ()) if key not in found]
        found.update(new)
        todo += [key for key in new if key not in ends]
    return found


def _built_through(context: dg.OpExecutionContext) -> datetime | None:
    """Return the end (UTC) of the partitions that a run builds; None where they are not by time."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return None
    if not isinstance(
        context.assets_def.partitions_def, (dg.TimeWindowPartitionsDefinition, dg.MultiPartitionsDefinition)
    ):
        return None
    return context.partition_time_window.end.astimezone(timezone.utc)
