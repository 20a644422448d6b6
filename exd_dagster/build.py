"""The one door: flags, records, a store and destinations in, Dagster definitions out."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.assets import STORE_KEY, Grain, bins_asset_keys, build_variant_bins_assets, records_asset_key
from exd_dagster.checks import build_flag_audit_checks, check_keys
from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.resources import BinStoreResource
from exd_dagster.schedules import build_nightly_audit_schedule
from exd_dagster.sensors import AlertDestination, build_check_alert_sensor
from exd_dagster.telemetry.sources import Records, as_records


def build_flag_audit_defs(
    flags: Sequence[FlagAudit],
    records: Records | str | Any,
    store: DuckDBResource,
    *,
    alerts: Sequence[AlertDestination] = (),
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
    partitions = bins.partitions_def
    checks = [
        build_flag_audit_checks(flag, asset=keys[flag.id], partitions=partitions, thresholds=thresholds)
        for flag in flags
    ]
    job = dg.define_asset_job(
        f"{name}_audit",
        selection=dg.AssetSelection.assets(*keys.values()),
        executor_def=dg.in_process_executor,
        description="Builds the bins of every flag and runs their checks.",
        tags={"exd/audit": "true"},
    )
    schedules = []
    if cron is not None:
        schedules.append(
            build_nightly_audit_schedule(
                job,
                partitions,
                name=f"{name}_nightly_audit",
                cron=cron,
                cron_timezone=cron_timezone,
                default_status=schedule_status,
            )
        )
    monitored = {check: flag for flag in flags for check in check_keys(keys[flag.id]).values()}
    sensor = build_check_alert_sensor(
        monitored, alerts, name=f"{name}_check_alerts", base_url=base_url, default_status=sensor_status
    )
    records_spec = [] if records_asset else [_records_spec(source, group_name)]
    return dg.Definitions(
        assets=[*records_spec, bins],
        asset_checks=checks,
        jobs=[job],
        schedules=schedules,
        sensors=[sensor],
        resources={STORE_KEY: BinStoreResource(duckdb=store)},
    )


def _records_spec(source: Records, group_name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        records_asset_key(source),
        description=f"Evaluation records, read in place: {source.place}.",
        group_name=group_name,
    )
