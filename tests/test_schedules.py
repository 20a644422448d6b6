"""The nightly audit asks for the hours of the last whole UTC day, in one run."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from exd_dagster.assets import bins_partitions
from exd_dagster.config import FlagAudit
from exd_dagster.schedules import build_nightly_audit_schedule

START = datetime(2026, 3, 1, tzinfo=timezone.utc)


def ask(at: datetime, *, grain: str = "hour", days: int = 1, end: datetime | None = None) -> object:
    flag = FlagAudit(key="a", split={"x": 0.5, "y": 0.5}, start=START, end=end)
    partitions = bins_partitions([flag], grain)
    job = dg.define_asset_job("audit")
    schedule = build_nightly_audit_schedule(job, partitions, days=days)
    return schedule(dg.build_schedule_context(scheduled_execution_time=at))


def asked_range(request: object) -> tuple[str, str]:
    assert isinstance(request, dg.RunRequest)
    tags = request.tags
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_one_run_covers_yesterday() -> None:
    assert asked_range(ask(datetime(2026, 3, 5, 3, 30, tzinfo=timezone.utc))) == (
        "2026-03-04-00:00",
        "2026-03-04-23:00",
    )


def test_day_grain_asks_for_the_day() -> None:
    request = ask(datetime(2026, 3, 5, 3, 30, tzinfo=timezone.utc), grain="day", days=2)
    assert asked_range(request) == ("2026-03-03", "2026-03-04")


def test_a_schedule_in_another_zone_still_asks_for_whole_utc_days() -> None:
    at = datetime(2026, 3, 5, 3, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert asked_range(ask(at)) == ("2026-03-03-00:00", "2026-03-03-23:00")


def test_the_first_night_asks_only_from_the_start_on() -> None:
    request = ask(datetime(2026, 3, 2, 3, 30, tzinfo=timezone.utc), days=3)
    assert asked_range(request) == ("2026-03-01-00:00", "2026-03-01-23:00")


@pytest.mark.parametrize(
    "at",
    [START + timedelta(hours=3), START + timedelta(days=9)],
    ids=["before the first day", "after the end"],
)
def test_nights_without_any_flag_are_skipped_with_the_reason(at: datetime) -> None:
    skipped = ask(at, end=START + timedelta(days=2))
    assert isinstance(skipped, dg.SkipReason)
    assert "No flag is audited" in str(skipped.skip_message)


def test_two_evaluations_of_one_night_ask_for_one_run() -> None:
    at = datetime(2026, 3, 5, 3, 30, tzinfo=timezone.utc)
    first, second = ask(at), ask(at + timedelta(minutes=1))
    assert first.run_key == second.run_key
