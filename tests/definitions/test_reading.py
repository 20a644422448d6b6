"""A reader of checks that remembers says what one that has just begun says, whatever was executed between."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

from exd_dagster.alerts.model import CheckState
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.reading import ANEW, CheckReader

BINS = dg.AssetKey(["experiments", "checkout_bins"])
FLAG = FlagAudit(key="checkout", split={"a": 0.5, "b": 0.5}, start="2026-03-01")
MONITORED = {dg.AssetCheckKey(BINS, name): FLAG for name in ("srm", "traffic_drop", "trust")}
NOW = datetime(2026, 3, 5, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def reader() -> CheckReader:
    return CheckReader()


@dg.asset(key=BINS)
def bins() -> None: ...


def told(instance: dg.DagsterInstance, name: str, *, passed: bool) -> None:
    metadata = {"verdict": "pass" if passed else "fail", "sentence": f"{name} says {passed}."}
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=BINS, check_name=name, passed=passed, metadata=metadata)
    )


def read(reader: CheckReader, instance: dg.DagsterInstance, now: datetime = NOW) -> dict[str, str]:
    """The verdict of each check, which a reader that has just begun confirms."""
    found, running = reader.read(instance, MONITORED, now)
    again, still = CheckReader().read(instance, MONITORED, now)
    assert (by_check(found), running) == (by_check(again), still)
    return {check: state.verdict for check, state in by_check(found).items()}


def by_check(states: list[CheckState]) -> dict[str, CheckState]:
    return {state.check: state for state in states}


def test_each_new_answer_is_seen_at_the_next_look(instance, reader) -> None:
    assert read(reader, instance) == {}
    told(instance, "srm", passed=True)
    assert read(reader, instance, NOW + MINUTE) == {"srm": "pass"}
    told(instance, "traffic_drop", passed=False)
    assert read(reader, instance, NOW + 2 * MINUTE) == {"srm": "pass", "traffic_drop": "fail"}
    told(instance, "srm", passed=False)
    assert read(reader, instance, NOW + 3 * MINUTE) == {"srm": "fail", "traffic_drop": "fail"}


def numbered(instance: dg.DagsterInstance, was: int, number: int) -> None:
    """Give an execution another number."""
    table = AssetCheckExecutionsTable
    with instance.event_log_storage.index_connection() as connection:
        connection.execute(table.update().where(table.c.id == was).values(id=number))


def test_what_was_written_late_under_an_earlier_number_is_seen_too(instance, reader) -> None:
    """On PostgreSQL a transaction that began first may end last."""
    told(instance, "srm", passed=True)
    read(reader, instance)
    told(instance, "traffic_drop", passed=True)
    numbered(instance, 2, 3)
    read(reader, instance, NOW + MINUTE)
    told(instance, "srm", passed=False)
    numbered(instance, 4, 2)
    assert read(reader, instance, NOW + 2 * MINUTE) == {"srm": "fail", "traffic_drop": "pass"}


def retried(reader: CheckReader) -> dg.AssetChecksDefinition:
    """A check whose step says fail, is read, and says pass when it is tried again."""

    @dg.multi_asset_check(name="checks", specs=[dg.AssetCheckSpec("srm", asset=BINS)], can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        again = context.op_execution_context.retry_number > 0
        yield dg.AssetCheckResult(asset_key=BINS, check_name="srm", passed=again)
        if not again:
            read(reader, context.instance)
            raise dg.RetryRequested(max_retries=1)

    return checks


def test_an_answer_that_a_retry_replaces_in_place_is_read_again(instance, reader) -> None:
    told(instance, "srm", passed=False)
    read(reader, instance)
    defs = dg.Definitions(assets=[bins], asset_checks=[retried(reader)])
    done = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert done.success
    assert read(reader, instance, NOW + MINUTE) == {"srm": "pass"}
    assert read(reader, instance, NOW + 2 * MINUTE) == {"srm": "pass"}


def test_a_check_that_runs_keeps_its_last_answer_and_a_crash_is_seen(instance, reader) -> None:
    told(instance, "srm", passed=True)
    read(reader, instance)
    seen = []

    @dg.asset_check(asset=BINS, name="srm")
    def srm(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seen.append(read(reader, context.instance))
        seen.append(reader.read(context.instance, MONITORED, NOW)[1])
        raise RuntimeError("crashed")

    defs = dg.Definitions(assets=[bins], asset_checks=[srm])
    job = defs.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, raise_on_error=False)
    assert seen == [{"srm": "pass"}, True]
    assert read(reader, instance, NOW + MINUTE) == {"srm": "not_checked"}


def test_what_did_not_change_is_not_read_again_until_all_is_read_anew(instance, reader) -> None:
    told(instance, "srm", passed=True)
    told(instance, "traffic_drop", passed=False)
    read(reader, instance)
    table = AssetCheckExecutionsTable
    with instance.event_log_storage.index_connection() as connection:
        connection.execute(table.delete().where(table.c.check_name == "srm"))
    told(instance, "traffic_drop", passed=True)
    found, _ = reader.read(instance, MONITORED, NOW + MINUTE)
    assert set(by_check(found)) == {"srm", "traffic_drop"}
    assert read(reader, instance, NOW + ANEW) == {"traffic_drop": "pass"}


def test_another_instance_is_read_for_itself(instance, reader) -> None:
    told(instance, "srm", passed=True)
    read(reader, instance)
    with dg.DagsterInstance.ephemeral() as other:
        assert read(reader, other) == {}
    with dg.DagsterInstance.from_ref(instance.get_ref()) as same:
        assert read(reader, same) == {"srm": "pass"}


def test_an_answer_that_becomes_too_old_is_seen_although_nothing_was_executed(instance, reader) -> None:
    until = {"fresh_until": "2026-03-05T00:05:00Z", "audited_through": "2026-03-04T00:00:00Z"}
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=BINS, check_name="trust", passed=True, metadata=until)
    )
    assert read(reader, instance) == {"trust": "pass"}
    assert read(reader, instance, NOW + 6 * MINUTE) == {"trust": "not_checked"}
