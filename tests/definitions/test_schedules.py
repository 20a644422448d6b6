"""An audit asks for every partition since the last one, up to the last closed hour or day, in one run."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.assets import bins_partitions
from exd_dagster.definitions.schedules import build_nightly_audit_schedule, build_records_sensor

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
NIGHT = datetime(2026, 3, 5, 3, 30, tzinfo=timezone.utc)
BINS = dg.AssetKey("a_bins")
JOB = dg.define_asset_job("audit")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance on disk: schedules refuse one in memory."""
    with dg.instance_for_test() as instance:
        yield instance


def partitions_of(grain: str = "hour", end: datetime | None = None) -> dg.TimeWindowPartitionsDefinition:
    return bins_partitions([FlagAudit(key="a", split={"x": 0.5, "y": 0.5}, start=START, end=end)], grain)


def ask(
    at: datetime,
    instance: dg.DagsterInstance,
    *,
    grain: str = "hour",
    hourly: bool = False,
    end: datetime | None = None,
) -> object:
    schedule = build_nightly_audit_schedule(JOB, partitions_of(grain, end), bins=[BINS], hourly=hourly)
    return schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))


def asked_range(request: object) -> tuple[str, str]:
    assert isinstance(request, dg.RunRequest)
    tags = request.tags
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def audited(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(BINS, partition=partition))


def test_one_run_covers_yesterday(instance: dg.DagsterInstance) -> None:
    assert asked_range(ask(NIGHT, instance)) == ("2026-03-04-00:00", "2026-03-04-23:00")


def test_day_grain_asks_for_the_day(instance: dg.DagsterInstance) -> None:
    assert asked_range(ask(NIGHT, instance, grain="day")) == ("2026-03-04", "2026-03-04")


def test_nights_missed_are_caught_up_in_the_same_run(instance: dg.DagsterInstance) -> None:
    audited(instance, "2026-03-01-23:00")
    assert asked_range(ask(NIGHT, instance)) == ("2026-03-02-00:00", "2026-03-04-23:00")


def test_catching_up_goes_back_a_month_at_most(instance: dg.DagsterInstance) -> None:
    audited(instance, "2026-03-01-23:00")
    late = datetime(2026, 6, 1, 3, 30, tzinfo=timezone.utc)
    assert asked_range(ask(late, instance))[0] == "2026-05-01-00:00"


def test_a_night_audited_already_is_audited_again_when_asked(instance: dg.DagsterInstance) -> None:
    audited(instance, "2026-03-04-23:00")
    assert asked_range(ask(NIGHT, instance)) == ("2026-03-04-00:00", "2026-03-04-23:00")


def test_hourly_asks_up_to_the_last_hour_closed_for_an_hour(instance: dg.DagsterInstance) -> None:
    audited(instance, "2026-03-04-22:00")
    asked = ask(datetime(2026, 3, 5, 3, 10, tzinfo=timezone.utc), instance, hourly=True)
    assert asked_range(asked) == ("2026-03-04-23:00", "2026-03-05-01:00")


def test_a_schedule_in_another_zone_still_asks_for_whole_utc_days(instance: dg.DagsterInstance) -> None:
    at = datetime(2026, 3, 5, 3, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert asked_range(ask(at, instance)) == ("2026-03-03-00:00", "2026-03-03-23:00")


@pytest.mark.parametrize(
    "at",
    [START + timedelta(hours=3), START + timedelta(days=9)],
    ids=["before the first day", "after the end"],
)
def test_nights_without_any_flag_are_skipped_with_the_reason(
    at: datetime, instance: dg.DagsterInstance
) -> None:
    skipped = ask(at, instance, end=START + timedelta(days=2))
    assert isinstance(skipped, dg.SkipReason)
    assert "No flag is audited" in str(skipped.skip_message)


def test_two_evaluations_of_one_night_ask_for_one_run(instance: dg.DagsterInstance) -> None:
    first, second = ask(NIGHT, instance), ask(NIGHT + timedelta(minutes=1), instance)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key


def test_records_that_land_are_audited_at_once(instance: dg.DagsterInstance) -> None:
    records = dg.AssetKey("flag_evaluations")
    sensor = build_records_sensor(JOB, partitions_of(), records, bins=[BINS])
    landing = datetime.now(timezone.utc)
    instance.report_runless_asset_event(dg.AssetMaterialization(records))

    defs = dg.Definitions(assets=[dg.AssetSpec(records)], sensors=[sensor])
    data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=defs))
    (request,) = data.run_requests or []
    last = landing.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    assert request.tags["dagster/asset_partition_range_end"] == f"{last:%Y-%m-%d-%H:%M}"
