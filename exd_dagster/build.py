"""The one door: flags, records, a store and destinations in, Dagster definitions out."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.route import Route
from exd_dagster.assets import (
    BINS_BUILT,
    STORE_KEY,
    Grain,
    bins_asset_keys,
    bins_partitions,
    build_variant_bins_assets,
    records_asset_key,
)
from exd_dagster.checks import build_flag_audit_checks, check_keys, trust_key
from exd_dagster.config import FlagAudit, FlagId, Thresholds, Timing
from exd_dagster.decisions import build_flag_decisions
from exd_dagster.flag_trust import build_flag_trust
from exd_dagster.resources import BinStoreResource, CallbackAlerts, WebhookAlerts
from exd_dagster.schedules import build_nightly_audit_schedule
from exd_dagster.sensors import AlertDestination, build_check_alert_sensor
from exd_dagster.telemetry.sources import Records, as_records

AUDIT_TAG = "exd/audit"
"""Run tag of audits, so that a team's own run-failure pager can tell them apart."""


def build_flag_audit_defs(
    flags: Sequence[FlagAudit],
    records: Records | str | Any,
    store: DuckDBResource,
    *,
    alerts: Sequence[AlertDestination] = (),
    routes: Sequence[Route | Mapping[str, Any]] | None = None,
    digest: bool | Sequence[str] = True,
    on_shutoff: WebhookAlerts | CallbackAlerts | None = None,
    thresholds: Thresholds | None = None,
    timing: Timing | None = None,
    grain: Grain | None = None,
    name: str = "exd",
    key_prefix: Sequence[str] = ("experiments",),
    group_name: str = "experiments",
    records_asset: dg.AssetKey | None = None,
    asset_attributes: Mapping[str, Any] | None = None,
    cron: str | None = "30 3 * * *",
    cron_timezone: str = "UTC",
    schedule_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
    sensor_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
    base_url: str | None = None,
) -> dg.Definitions:
    """Build assets, blocking checks, nightly schedule and alert sensor for a fleet of flags.

    Args:
        flags: the flags to audit.
        records: where the evaluation records are: a `ParquetRecords`, `FileRecords`, `TableRecords` or
            `IbisRecords`, a path or glob, or a pandas DataFrame.
        store: the DuckDB file that keeps the bins.
        alerts: destinations of alerts; none: nothing is sent, the checks still block.
        routes: which alert goes where, first match wins; None: every alert to every destination.
        digest: True sends the summary after each audit to the default destinations, names send it there.
        on_shutoff: called once when the split of a blocking flag is wrong.
        thresholds: the levels of the checks.
        timing: when an hour is closed and how far back each run reads again.
        grain: "hour" or "day" partitions; None takes hours up to 50 flags, days above.
        name: prefix of job, schedule and sensor, to tell two fleets of one project apart.
        key_prefix: first parts of every asset key.
        group_name: asset group.
        records_asset: the asset that loads the records, where it is in the same project.
        asset_attributes: further `AssetSpec` arguments for every bins asset.
        cron: when the nightly audit runs; None: no schedule.
        cron_timezone: time zone of `cron`.
        schedule_status: whether the schedule starts by itself; it does.
        sensor_status: whether the alert sensor starts by itself; it does.
        base_url: address of the Dagster UI, for links in alerts.

    Returns:
        Definitions to use as they are or to merge into a project's own.

    Raises:
        ConfigError: for a flag listed twice or a destination that cannot work, all faults at once.

    Examples:
        >>> defs = build_flag_audit_defs(
        ...     flags=[FlagAudit(key="new-checkout", split={"on": 0.5, "off": 0.5}, start="2026-03-01")],
        ...     records="logs/*.parquet",
        ...     store=DuckDBResource(database="exd.duckdb"),
        ... )
    """
    source = as_records(records)
    bins = build_variant_bins_assets(
        flags,
        source,
        timing=timing,
        grain=grain,
        key_prefix=key_prefix,
        group_name=group_name,
        records_asset=records_asset,
        name=f"{name}_variant_bins",
        asset_attributes=asset_attributes,
    )
    keys = bins_asset_keys(flags, key_prefix)
    partitions = bins_partitions(flags, grain)
    monitored = monitored_checks(flags, keys)
    job = _audit_job(f"{name}_audit", list(keys.values()))
    decisions, decision_job = build_flag_decisions(monitored, group_name=group_name)
    trust, trust_job, trust_sensor = build_flag_trust(
        flags,
        [trust_key(key) for key in keys.values()],
        name=name,
        group_name=group_name,
        base_url=base_url or "",
        sensor_status=sensor_status,
    )
    return dg.Definitions(
        assets=[*_records_asset(source, group_name, records_asset), bins, decisions, trust],
        asset_checks=[
            build_flag_audit_checks(flag, asset=keys[flag.id], partitions=partitions, thresholds=thresholds)
            for flag in flags
        ],
        jobs=[job, decision_job, trust_job],
        schedules=[
            build_nightly_audit_schedule(
                job,
                partitions,
                name=f"{name}_nightly_audit",
                cron=cron,
                cron_timezone=cron_timezone,
                default_status=schedule_status,
            )
        ]
        if cron
        else [],
        sensors=[
            build_check_alert_sensor(
                monitored,
                alerts,
                routes=routes,
                digest=digest,
                on_shutoff=on_shutoff,
                name=f"{name}_check_alerts",
                base_url=base_url,
                default_status=sensor_status,
            ),
            trust_sensor,
        ],
        resources={STORE_KEY: BinStoreResource(duckdb=store)},
    )


def monitored_checks(
    flags: Sequence[FlagAudit], keys: Mapping[FlagId, dg.AssetKey]
) -> dict[dg.AssetCheckKey, FlagAudit]:
    """Return every check of every flag: those that judge it, and the one that says its bins were built."""
    return {
        check: flag
        for flag in flags
        for check in (*check_keys(keys[flag.id]).values(), dg.AssetCheckKey(keys[flag.id], BINS_BUILT))
    }


def _audit_job(name: str, bins: Sequence[dg.AssetKey]) -> Any:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*bins),
        executor_def=dg.in_process_executor,
        description="Builds the bins of every flag and runs their checks.",
        tags={AUDIT_TAG: "true"},
    )


def _records_asset(source: Records, group_name: str, records_asset: dg.AssetKey | None) -> list[dg.AssetSpec]:
    """Return the external asset that stands for the records, unless the project has one."""
    if records_asset is not None:
        return []
    description = f"Evaluation records, read in place: {source.place}."
    return [dg.AssetSpec(records_asset_key(source), description=description, group_name=group_name)]
