"""The nightly audit: one ranged run over the hours that closed."""

from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg


def build_nightly_audit_schedule(
    job: Any,
    partitions: dg.TimeWindowPartitionsDefinition,
    *,
    name: str = "exd_nightly_audit",
    cron: str = "30 3 * * *",
    cron_timezone: str = "UTC",
    days: int = 1,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
) -> dg.ScheduleDefinition:
    """Build the schedule that audits the last whole UTC days in one run.

    Args:
        job: the audit job.
        partitions: the partitions of its bins.
        name: schedule name.
        cron: when it runs; by default at 03:30, when yesterday has been closed for long.
        cron_timezone: time zone of `cron`.
        days: whole UTC days audited each night.
        default_status: running unless told otherwise: an audit nobody started protects nobody.
    """

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=cron_timezone,
        default_status=default_status,
    )
    def nightly_audit(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Audit the hours of the last whole days."""
        end = midnight(context.scheduled_execution_time)
        keys = keys_between(partitions, end - timedelta(days=days), end)
        if not keys:
            return dg.SkipReason(
                "No flag is audited on these days: before the first start or after the last end."
            )
        return dg.RunRequest(run_key=end.isoformat(), tags=range_tags(keys[0], keys[-1]))

    return nightly_audit


def midnight(instant: datetime) -> datetime:
    """Return the start of the UTC day that holds `instant`."""
    return instant.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def keys_between(partitions: dg.TimeWindowPartitionsDefinition, start: datetime, end: datetime) -> list[str]:
    """Return the keys of the partitions that lie within `[start, end)`, in order."""
    first = partitions.get_first_partition_window()
    if first is None:
        return []
    keys = partitions.get_partition_keys_in_time_window(dg.TimeWindow(max(start, first.start), end))
    return [key for key in keys if partitions.has_partition_key(key)]


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the run tags of one run over the partitions from `first` to `last`."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
