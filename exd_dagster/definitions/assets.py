"""One asset of hourly variant bins per flag, all built by one scan of their records."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import dagster as dg

from exd_dagster.bins.report import BuildReport, FlagBuild
from exd_dagster.config import FlagAudit, FlagId, Timing, floor_hour
from exd_dagster.config.instants import utc_now
from exd_dagster.config.stages import other_stages
from exd_dagster.definitions.catalog import (
    BINS_SCHEMA,
    flag_names,
    flag_tags,
    record_time,
    seen_of_records,
    table_metadata,
)
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.definitions.metadata import bins_metadata
from exd_dagster.definitions.run_tags import audit_op_tags, tag_audit
from exd_dagster.definitions.store import bin_store
from exd_dagster.errors import ConfigError
from exd_dagster.stats.words import instant
from exd_dagster.telemetry.sources.duckdb import Records

Grain: TypeAlias = Literal["hour", "day"]
AssetAttributes: TypeAlias = Mapping[str, Any] | Callable[[FlagAudit], Mapping[str, Any]]

STORE_POOL = "duckdb_writer"
"""Concurrency pool of every op that writes the bin store: one writer per DuckDB file."""

BINS_BUILT = "bins_built"
"""Name of the check that fails when a flag's bins could not be built."""

DAY_GRAIN_ABOVE = 50
"""Fleets of more flags than this get one partition per day (24 hourly rows each)."""


def bins_asset_keys(
    flags: Sequence[FlagAudit], key_prefix: Sequence[str] = ("experiments",)
) -> dict[FlagId, dg.AssetKey]:
    """Return the asset key of each flag: `experiments[/<namespace>/<environment>]/<flag>_bins`.

    Asset keys allow letters, digits and underscores. Where two flags would share a key once cleaned, the
    later one in the list gets four hex digits of a hash of its name, so that adding a flag renames no other.

    Raises:
        ConfigError: when the same flag is listed twice, or two have the same displayed name.
    """
    keys: dict[FlagId, dg.AssetKey] = {}
    shown: dict[str, FlagId] = {}
    for flag in flags:
        if flag.id in keys:
            raise ConfigError("flags", [f"flag '{flag.id}' is listed twice; merge the two with phases"])
        if (other := shown.setdefault(str(flag.id), flag.id)) != flag.id:
            fault = f"{other!r} and {flag.id!r} are both shown as '{flag.id}'"
            raise ConfigError("flags", [f"{fault}; give both namespace and environment"])
        scope = [_clean(part) for part in (flag.namespace, flag.environment) if part]
        key = dg.AssetKey([*key_prefix, *scope, f"{_clean(flag.key)}_bins"])
        digits = sha256(str(flag.id).encode()).hexdigest()
        for more in range(4, len(digits)):
            if key not in keys.values():
                break
            key = dg.AssetKey([*key_prefix, *scope, f"{_clean(flag.key)}_{digits[:more]}_bins"])
        keys[flag.id] = key
    return keys


LONGEST_PART = 80
"""Maximum characters of one part of an asset key; file names made of keys and op names are limited to 255."""


def _clean(name: str) -> str:
    """Replace what an asset key does not allow; a name that loses characters gets hex digits of its hash."""
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    readable = re.sub(r"[-. /:]", "_", name) == cleaned
    digits = sha256(name.encode()).hexdigest()
    if len(cleaned) > LONGEST_PART:
        return f"{cleaned[:LONGEST_PART]}_{digits[:8]}"
    return cleaned if readable else f"{cleaned}_{digits[:4]}"


def bins_partitions(
    flags: Sequence[FlagAudit], grain: Grain | None = None
) -> dg.TimeWindowPartitionsDefinition:
    """Return the UTC partitions shared by all flags of one source.

    They start with the earliest flag and end with the last one if every flag has an end.

    Raises:
        ConfigError: when there is no flag.
    """
    if not flags:
        raise ConfigError(
            "flags", ["none is given; list at least one FlagAudit(key=..., split=..., start=...)"]
        )
    grain = grain or ("day" if len(flags) > DAY_GRAIN_ABOVE else "hour")
    start = floor_hour(min(flag.start for flag in flags))
    ends = [flag.end for flag in flags if flag.end is not None]
    last = max(ends) if len(ends) == len(flags) else None
    step = timedelta(days=1) if grain == "day" else timedelta(hours=1)
    start = start.replace(hour=0) if grain == "day" else start
    end = start + step * -((start - last) // step) if last is not None else None
    if grain == "day":
        return dg.DailyPartitionsDefinition(start_date=start, end_date=end, timezone="UTC")
    return dg.HourlyPartitionsDefinition(start_date=start, end_date=end, timezone="UTC")


def build_variant_bins_assets(
    flags: Sequence[FlagAudit],
    records: Records,
    *,
    timing: Timing | None = None,
    grain: Grain | None = None,
    key_prefix: Sequence[str] = ("experiments",),
    group_name: str = "experiments",
    records_asset: dg.AssetKey | None = None,
    name: str = "variant_bins",
    fleet: str = DEFAULT_FLEET,
    asset_attributes: AssetAttributes | None = None,
    pool: str = STORE_POOL,
    op_tags: Mapping[str, Any] | None = None,
) -> dg.AssetsDefinition:
    """Build the bins assets of all flags of one source: one op, one scan, any subset.

    Args:
        flags: the flags to count; their keys must be distinct.
        records: where the evaluation records are.
        timing: lateness and lookback; the defaults are 1 h and 48 h.
        grain: "hour" or "day" partitions; None: hours up to 50 flags, days above.
        key_prefix: first parts of every asset key.
        group_name: asset group.
        records_asset: key of the asset the bins depend on; the records' own key by default.
        name: op name.
        fleet: whose store is used.
        asset_attributes: further `AssetSpec` arguments (tags, automation_condition, ...) for every flag, or
            a function that gives them for one.
        pool: concurrency pool of the op; use one pool for all ops that write the same DuckDB file.
        op_tags: tags of the op, for an executor or a launcher.

    Returns:
        A subsettable, partitioned multi-asset. It needs a `BinStoreResource` under the key `exd_store`, of
        another fleet `<fleet>_store`.
    """
    keys = bins_asset_keys(flags, key_prefix)
    by_key = {keys[flag.id]: flag for flag in flags}
    timing, store_key = timing or Timing(), FleetNames(fleet).store
    upstream = records_asset or records_asset_key(records, fleet)
    table = table_metadata("flag_bins", BINS_SCHEMA)
    specs = [
        _bins_spec(flag, keys[flag.id], upstream, group_name, attributes_of(flag, asset_attributes), table)
        for flag in flags
    ]

    @dg.multi_asset(
        name=name,
        specs=specs,
        partitions_def=bins_partitions(flags, grain),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
        check_specs=[_bins_built_spec(key) for key in by_key],
        required_resource_keys={store_key},
        pool=pool,
        op_tags=audit_op_tags(op_tags),
    )
    def variant_bins(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        tag_audit(context)
        selected = {key: flag for key, flag in by_key.items() if key in context.selected_asset_keys}
        if not selected:
            yield from _bins_built_before(context.instance, sorted(context.selected_asset_check_keys))
            return
        window, store = context.partition_time_window, bin_store(context, store_key)
        bins = store.bins
        stages = [stage for flag in selected.values() for stage in other_stages(flag).values()]
        report = bins.update(
            records, [*selected.values(), *stages], window.start, window.end, timing=timing, now=utc_now()
        )
        _log_report(context, report)
        if records_asset is None:  # the asset of a loader is its owner's
            context.log_event(dg.AssetObservation(upstream, metadata=seen_of_records(report)))
        rows = bins.row_counts()
        built = bins.read_many([flag for flag in selected.values() if report.flags[flag.id].error is None])
        for key, flag in selected.items():
            build = report.flags[flag.id]
            seen = {} if build.error else bins_metadata(flag, next(built))
            if not build.error:
                seen["dagster/row_count"] = rows.get(flag.id, 0)
            yield from _flag_results(key, report, build, seen)

    return variant_bins


def attributes_of(flag: FlagAudit, given: AssetAttributes | None) -> Mapping[str, Any]:
    """Return the further `AssetSpec` arguments of one flag."""
    return given(flag) if callable(given) else given or {}


def records_asset_key(records: Records, fleet: str = DEFAULT_FLEET) -> dg.AssetKey:
    """Return the key of the external asset that represents the records of a fleet."""
    return dg.AssetKey([FleetNames(fleet).own(_clean(records.name or "flag_evaluations"))])


def declared_splits(flag: FlagAudit) -> str:
    """Return every split of a flag as text: "a 0.9, b 0.1; from 2026-03-10 09:00 UTC a 0.5, b 0.5"."""
    splits = [", ".join(f"{name} {share:.4g}" for name, share in p.split.items()) for p in flag.schedule]
    later = zip(flag.schedule[1:], splits[1:], strict=True)
    return (
        "; ".join([*splits[:1], *(f"from {instant(p.start)} {split}" for p, split in later)])
        or "not declared"
    )


def _bins_spec(
    flag: FlagAudit,
    key: dg.AssetKey,
    upstream: dg.AssetKey,
    group_name: str,
    attributes: Mapping[str, Any],
    table: Mapping[str, Any],
) -> dg.AssetSpec:
    split = declared_splits(flag)
    return dg.AssetSpec(
        key,
        **{
            "deps": [upstream],
            "description": f"Hourly variant bins of flag {flag.id}. Declared split: {split}.",
            "group_name": group_name,
            "owners": list(flag.owners) or None,
            "skippable": True,
            "kinds": {"duckdb"},
            "metadata": {
                **flag_names(flag.id),
                "mode": flag.mode,
                "start": flag.start.isoformat(),
                **table,
                **attributes.get("metadata", {}),
            },
            **{name: value for name, value in attributes.items() if name not in ("metadata", "tags")},
            "tags": {**flag_tags(flag), **flag.tags, **(attributes.get("tags") or {})},
        },
    )


def _bins_built_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        BINS_BUILT,
        asset=key,
        description="The bins of this flag could be built. When not, the flag is not checked.",
    )


def _bins_built_before(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Checks run without their bins: nothing is built, so the result of the last build is kept."""
    records, _ = latest_checks(instance, keys)
    known = {record.key: record for record in records if record.passed is not None}
    for key in keys:
        before = known.get(key)
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=before is not None and before.passed is True,
            description=before.description
            if before
            else "Not checked: no bins yet; run the audit job first.",
        )


def _flag_results(
    key: dg.AssetKey, report: BuildReport, build: FlagBuild, seen: Mapping[str, Any]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """A flag that cannot be built is skipped with its reason; the others continue."""
    if build.error is None:
        yield dg.MaterializeResult(asset_key=key, metadata={**seen, **_build_metadata(report, build)})
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=BINS_BUILT,
        passed=build.error is None,
        description=f"Not checked: {build.error}" if build.error else None,
    )


def _build_metadata(report: BuildReport, build: FlagBuild) -> dict[str, Any]:
    """What an operator sees of one build; copied by Dagster onto every partition of the run."""
    return {
        "new_units": build.new_units,
        "evaluations": build.evaluations,
        "hours_changed": len(build.hours_changed),
        "rebuilt": build.rebuilt,
        "data_through": record_time(report.watermark),
        "audited_through": record_time(report.closed_through),
        "read_from": record_time(report.read_from),
        "undelivered_hours": len(report.undelivered),
        "records_ahead": report.records_ahead,
        **({"recounted_records": report.recounted} if report.recounted else {}),
        "quarantined": sum(report.quarantined.values()),
        "quarantined_of_flag": sum(build.quarantined.values()),
    }


def _log_report(context: dg.AssetExecutionContext, report: BuildReport) -> None:
    log, source = context.log, report.source
    log.info(
        "%s: data through %s, closed through %s",
        source,
        record_time(report.watermark),
        record_time(report.closed_through),
    )
    if report.undelivered:
        log.warning(
            "%s: %s closed hours were not delivered and are not checked, from %s: the whole log is far "
            "below the expected traffic there; %s later records exist. Check the loader.",
            source,
            len(report.undelivered),
            record_time(report.undelivered[0]),
            f"{report.records_ahead:,}",
        )
    for reason, count in report.quarantined.items():
        log.warning("%s: %s rows quarantined: %s", source, f"{count:,}", reason)
    for unreadable in report.unreadable:
        log.warning("%s: %s", source, unreadable)
    if report.recounted:
        log.info(
            "%s: the engine counted %s records again from the flags' start, as in every run; with "
            "state_schema= it would read those of new and changed hours",
            source,
            f"{report.recounted:,}",
        )
    if report.absent:
        log.info("%s has no %s: the facts that need them are off", source, ", ".join(report.absent))
