"""When audits run: each night, each hour, or when the loader has materialized the records.

Each is one ranged run over all partitions since the last audit, so it includes hours missed while Dagster was
down.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg

from exd_dagster.config import floor_hour

NIGHTLY = "30 3 * * *"
"""By default at 03:30, when yesterday has been closed for long."""

HOURLY = "10 * * * *"

CATCH_UP = timedelta(days=31)
"""Hours older than this are left to a backfill by hand."""

SAMPLED = 3
"""Number of bins assets read for their newest partition; all are built together, so a few suffice."""


def build_nightly_audit_schedule(
    job: Any,
    partitions: dg.TimeWindowPartitionsDefinition,
    *,
    bins: Sequence[dg.AssetKey] = (),
    name: str = "exd_nightly_audit",
    cron: str = NIGHTLY,
    cron_timezone: str = "UTC",
    hourly: bool = False,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
) -> dg.ScheduleDefinition:
    """Build the schedule that audits every partition since the last audit in one run.

    Args:
        job: the audit job.
        partitions: the partitions of its bins.
        bins: the bins assets, whose newest partition shows what was audited; none: always the last
            partition alone.
        name: schedule name.
        cron: when it runs.
        cron_timezone: time zone of `cron`.
        hourly: audit up to the last closed hour instead of the last whole UTC day.
        default_status: running by default.
    """

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=cron_timezone,
        default_status=default_status,
        description="Audits every flag: one run over all that closed since the last audit.",
    )
    def nightly_audit(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Audit what closed since the last audit."""
        end = last_closed(context.scheduled_execution_time, hourly=hourly)
        step = timedelta(hours=1) if hourly else timedelta(days=1)
        return audit_request(context.instance, bins, partitions, end, step)

    return nightly_audit


def build_records_sensor(
    job: Any,
    partitions: dg.TimeWindowPartitionsDefinition,
    records_asset: dg.AssetKey,
    *,
    bins: Sequence[dg.AssetKey],
    name: str = "exd_records_audit",
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Build the sensor that audits whenever the loader has materialized the records.

    Args:
        job: the audit job.
        partitions: the partitions of its bins.
        records_asset: the asset that holds the records.
        bins: the bins assets, whose newest partition shows what was audited.
        name: sensor name.
        default_status: whether the sensor starts automatically; running by default.
    """

    @dg.asset_sensor(
        asset_key=records_asset,
        job=job,
        name=name,
        default_status=default_status,
        description="Audits every flag each time the records are materialized.",
    )
    def records_audit(
        context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
    ) -> dg.RunRequest | dg.SkipReason:
        """Audit what closed since the last audit."""
        arrived = datetime.fromtimestamp(asset_event.timestamp, timezone.utc)
        end = last_closed(arrived, hourly=isinstance(partitions, dg.HourlyPartitionsDefinition))
        return audit_request(
            context.instance, bins, partitions, end, timedelta(hours=1), str(arrived.timestamp())
        )

    return records_audit


def last_closed(at: datetime, *, hourly: bool) -> datetime:
    """Return the end (UTC) of the last hour closed for an hour, or of the last whole day."""
    at = at.astimezone(timezone.utc)
    return floor_hour(at) - timedelta(hours=1) if hourly else floor_hour(at).replace(hour=0)


def audit_request(
    instance: dg.DagsterInstance,
    bins: Sequence[dg.AssetKey],
    partitions: dg.TimeWindowPartitionsDefinition,
    end: datetime,
    step: timedelta,
    run_key: str | None = None,
) -> dg.RunRequest | dg.SkipReason:
    """Request one run from the last audit to `end`: at least one partition, at most 31 days."""
    audited = [audited_through(instance, key, partitions) for key in bins[:SAMPLED]]
    since = max((through for through in audited if through is not None), default=end - step)
    keys = keys_between(partitions, max(min(since, end - step), end - CATCH_UP), end)
    if not keys:
        return dg.SkipReason("No flag is audited then: before the first start or after the last end.")
    return dg.RunRequest(run_key=run_key or end.isoformat(), tags=range_tags(keys[0], keys[-1]))


def audited_through(
    instance: dg.DagsterInstance, bins: dg.AssetKey, partitions: dg.TimeWindowPartitionsDefinition
) -> datetime | None:
    """Return the end (UTC) of the partition a bins asset was last built for, None before the first time."""
    newest = instance.fetch_materializations(bins, limit=1).records
    key = newest[0].partition_key if newest else None
    if key is None or not partitions.has_partition_key(key):
        return None
    return partitions.time_window_for_partition_key(key).end.astimezone(timezone.utc)


def keys_between(partitions: dg.TimeWindowPartitionsDefinition, start: datetime, end: datetime) -> list[str]:
    """Return the keys of the partitions within `[start, end)`, in order."""
    first = partitions.get_first_partition_window()
    if first is None:
        return []
    keys = partitions.get_partition_keys_in_time_window(dg.TimeWindow(max(start, first.start), end))
    return [key for key in keys if partitions.has_partition_key(key)]


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the run tags of one run over the partitions from `first` to `last`."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
