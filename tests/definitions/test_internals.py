"""Contracts: what this package relies on in Dagster that is not public, each on a real instance."""

from collections.abc import Iterator

import dagster as dg
import pytest

from exd_dagster.definitions.internals import (
    cursor_storage,
    downstream_assets,
    latest_checks,
    partitions_of,
    run_tags,
    tag_run,
)

BINS = dg.AssetKey(["experiments", "checkout_bins"])
SRM = dg.AssetCheckKey(BINS, "srm")
HOURS = dg.HourlyPartitionsDefinition("2026-03-01-00:00", end_date="2026-03-01-05:00")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """With SQLite storage, which is sharded by run."""
    with dg.instance_for_test() as instance:
        yield instance


@dg.asset(key=BINS)
def bins() -> None: ...


def check_that(answers: list[object]) -> dg.AssetChecksDefinition:
    """A check that answers in turn; an exception is raised, a function is called first."""

    @dg.asset_check(asset=BINS, name="srm")
    def srm(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        answer = answers.pop(0)
        if callable(answer):
            answer = answer(context.instance)
        if isinstance(answer, Exception):
            raise answer
        return dg.AssetCheckResult(
            passed=bool(answer),
            severity=dg.AssetCheckSeverity.WARN,
            description="one line\n\n![picture]()",
            metadata={"n": 7, "p_value": 0.25, "expected": {"on": 0.5}, "reason": "text", "none": None},
        )

    return srm


def test_a_step_tags_its_own_run_and_a_second_tag_keeps_the_first(instance):
    @dg.asset
    def tagging(context: dg.AssetExecutionContext) -> None:
        tag_run(context.instance, context.run.run_id, {"exd/audit": "true"})
        tag_run(context.instance, context.run.run_id, {"exd/failing": "a"})
        tag_run(context.instance, context.run.run_id, {"exd/failing": "a, b"})

    run_id = dg.materialize([tagging], instance=instance, tags={"mine": "1"}).run_id
    assert run_tags(instance, run_id) == {"mine": "1", "exd/audit": "true", "exd/failing": "a, b"}
    assert [run.run_id for run in instance.get_runs(dg.RunsFilter(tags={"exd/failing": "a, b"}))] == [run_id]
    assert run_tags(instance, "no such run") == {}


def test_a_check_that_never_ran_has_no_record(instance):
    assert latest_checks(instance, [SRM]) == ([], frozenset())


def test_the_latest_evaluation_is_read_with_plain_metadata(instance):
    srm = check_that([True, False])
    for _ in range(2):
        dg.materialize([bins, srm], instance=instance)
    ((record,), running) = latest_checks(instance, [SRM])
    assert (record.passed, record.severity, running) == (False, "WARN", frozenset())
    assert record.metadata == {
        "n": 7,
        "p_value": 0.25,
        "expected": {"on": 0.5},
        "reason": "text",
        "none": None,
    }
    assert record.description.startswith("one line")
    assert record.at.utcoffset().total_seconds() == 0


def test_a_check_that_raised_has_no_answer(instance):
    srm = check_that([True, RuntimeError("planted")])
    dg.materialize([bins, srm], instance=instance)
    dg.materialize([bins, srm], instance=instance, raise_on_error=False)
    ((record,), running) = latest_checks(instance, [SRM])
    assert (record.passed, running) == (None, frozenset())


def test_a_check_whose_asset_failed_has_no_answer(instance):
    @dg.asset(key=BINS)
    def failing() -> None:
        raise RuntimeError("planted")

    dg.materialize([failing, check_that([True])], instance=instance, raise_on_error=False)
    ((record,), _) = latest_checks(instance, [SRM])
    assert record.passed is None


def test_while_a_check_runs_its_last_answer_stands(instance):
    seen = []

    def look(now: dg.DagsterInstance) -> bool:
        seen.append(latest_checks(now, [SRM]))
        return True

    srm = check_that([False, look])
    for _ in range(2):
        dg.materialize([bins, srm], instance=instance)
    (((record,), running),) = seen
    assert (record.passed, running) == (False, frozenset({SRM}))


def test_a_ranged_run_leaves_one_answer_whatever_its_planned_rows(instance):
    @dg.asset(key=BINS, partitions_def=HOURS, backfill_policy=dg.BackfillPolicy.single_run())
    def hourly() -> None: ...

    tags = {
        "dagster/asset_partition_range_start": "2026-03-01-00:00",
        "dagster/asset_partition_range_end": "2026-03-01-04:00",
    }
    dg.materialize([hourly, check_that([True])], instance=instance, tags=tags)
    ((record,), running) = latest_checks(instance, [SRM])
    assert (record.passed, running) == (True, frozenset())


def test_only_the_keys_asked_for_are_returned(instance):
    dg.materialize([bins, check_that([True])], instance=instance)
    records, _ = latest_checks(
        instance, [dg.AssetCheckKey(BINS, "other"), dg.AssetCheckKey(dg.AssetKey("x"), "srm")]
    )
    assert records == []


def test_the_key_value_storage_writes_at_once(instance):
    cursor_storage(instance).set_cursor_values({"exd_dagster/test": "1"})
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
        assert cursor_storage(other).get_cursor_values({"exd_dagster/test", "absent"}) == {
            "exd_dagster/test": "1"
        }


def test_what_reads_an_asset_directly_is_found():
    @dg.asset(deps=[BINS])
    def report() -> None: ...

    @dg.asset(deps=[report])
    def later() -> None: ...

    repository = dg.Definitions(assets=[bins, report, later]).get_repository_def()
    assert downstream_assets(repository, {BINS, dg.AssetKey("absent")}) == {BINS: ["report"]}


def test_a_check_knows_the_partitions_of_its_asset(instance):
    hours, seen = dg.HourlyPartitionsDefinition(start_date="2026-03-01-00:00"), []

    @dg.asset(partitions_def=hours)
    def report() -> None: ...

    @dg.asset_check(asset="report")
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seen.extend(partitions_of(context, dg.AssetKey(name)) for name in ("report", "absent"))
        return dg.AssetCheckResult(passed=True)

    job = dg.define_asset_job("one", [report], partitions_def=hours)
    defs = dg.Definitions(assets=[report], asset_checks=[check], jobs=[job])
    defs.resolve_job_def("one").execute_in_process(instance=instance, partition_key="2026-03-01-01:00")
    assert seen == [hours, None]
