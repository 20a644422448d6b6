"""What a check stops in a run, on a real instance on disk, under both executors of Dagster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.definitions.checks import trust_key
from exd_dagster.definitions.internals import CheckRecord, latest_checks
from tests.definitions.blocking.project import ALL_HOURS, BINS, model, write_log


@dataclass(frozen=True)
class Ran:
    """What one run left behind.

    Attributes:
        success: whether Dagster calls the run a success.
        built: last part of the key of each asset materialized.
        failed_steps: names of the steps that failed.
        evaluations: (last part of the asset key, check) of each evaluation, in order.
        message: what Dagster says of the failed run, as a run-failure pager reads it.
        tags: those of the run with the prefix exd/.
        checks: the `trust` check of each asset after the run, by the last part of the asset's key.
    """

    success: bool
    built: set[str]
    failed_steps: set[str]
    evaluations: list[tuple[str, str]]
    message: str
    tags: dict[str, str]
    checks: dict[str, CheckRecord]


ROOT = Path(__file__).parents[3]
Run = Callable[[str], Ran]
TRUST = [trust_key(key) for key in (*BINS.values(), model.key)]


@pytest.fixture(
    scope="module", params=["in_process", pytest.param("multiprocess", marks=pytest.mark.e2e)], autouse=True
)
def executor(request: pytest.FixtureRequest) -> str:
    """Each test runs under both."""
    return str(request.param)


@pytest.fixture(scope="module")
def run(executor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a job of the project once, in the order the tests ask for them."""
    folder = tmp_path_factory.mktemp(executor)
    write_log(folder)
    ran: dict[str, Ran] = {}
    with dg.instance_for_test() as instance:

        def once(name: str) -> Ran:
            if name not in ran:
                ran[name] = execute(instance, folder, name, executor)
            return ran[name]

        yield once


def execute(instance: dg.DagsterInstance, folder: Path, name: str, executor: str) -> Ran:
    job = dg.build_reconstructable_job(
        "tests.definitions.blocking.project",
        "job",
        (str(folder), name, executor),
        reconstructor_working_directory=str(ROOT),
    )
    hours = {} if name in ("reports", "checks_and_reports", "contracts") else ALL_HOURS
    with dg.execute_job(job, instance, tags=hours) as result:
        events = result.all_events
    tags = instance.get_runs(limit=1)[0].tags
    made = [
        event.event_specific_data for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    (last,) = [
        event for event in events if event.event_type_value in ("PIPELINE_SUCCESS", "PIPELINE_FAILURE")
    ]
    return Ran(
        success=result.success,
        built={
            event.asset_key.path[-1] for event in events if event.is_step_materialization and event.asset_key
        },
        failed_steps={str(event.step_key) for event in events if event.is_step_failure},
        evaluations=[(check.asset_key.path[-1], check.check_name) for check in made],
        message=str(last.message),
        tags={name: tag for name, tag in tags.items() if name.startswith("exd/")},
        checks={record.key.asset_key.path[-1]: record for record in latest_checks(instance, TRUST)[0]},
    )


def test_a_run_that_only_audits_is_tagged_as_such_whoever_starts_it(run: Run) -> None:
    assert run("audit").tags == {"exd/audit": "true", "exd/failing": "bad"}


def test_a_run_of_other_assets_has_no_tag_of_ours(run: Run) -> None:
    assert run("reports").tags == {}


class TestAuditAndReportsInOneRun:
    """Everything is selected."""

    @pytest.fixture
    def ran(self, run: Run) -> Ran:
        return run("everything")

    def test_the_report_of_a_failing_flag_is_not_built(self, ran: Ran) -> None:
        assert "bad_report" not in ran.built

    def test_the_bins_of_a_failing_flag_are_built(self, ran: Ran) -> None:
        assert "bad_bins" in ran.built

    def test_the_run_fails(self, ran: Ran) -> None:
        assert not ran.success

    def test_the_failed_run_names_the_failing_flags_and_no_other(self, ran: Ran) -> None:
        assert ran.failed_steps == {"experiments_bad_bins_checks", "model_checks"}
        assert [step for step in ran.failed_steps if step not in ran.message] == [], ran.message

    def test_a_tag_lists_the_failing_flags_and_none_calls_it_an_audit(self, ran: Ran) -> None:
        """A pager must hear of reports and of assets that crash in the same run."""
        assert ran.tags == {"exd/failing": "bad"}

    def test_one_flag_fails_and_the_report_of_another_runs(self, ran: Ran) -> None:
        assert "good_report" in ran.built

    def test_a_failed_check_of_severity_warn_stops_nothing(self, ran: Ran) -> None:
        assert "warned_report" in ran.built

    def test_a_failed_check_that_is_not_blocking_stops_nothing(self, ran: Ran) -> None:
        assert "observed_report" in ran.built

    def test_a_check_that_crashes_stops_its_report(self, ran: Ran) -> None:
        assert "model" in ran.built
        assert "crashed_report" not in ran.built

    def test_a_check_that_crashes_leaves_no_answer(self, ran: Ran) -> None:
        assert ran.checks["model"].passed is None
        assert ("model", "trust") not in ran.evaluations

    def test_a_retry_policy_does_not_repeat_a_failed_check(self, ran: Ran) -> None:
        assert ran.evaluations.count(("bad_bins", "srm")) == 1


class TestALaterRun:
    """After the audit, by hand or by someone else's schedule."""

    @pytest.fixture(autouse=True)
    def audited(self, run: Run) -> None:
        run("everything")

    def test_of_the_report_alone_is_stopped_by_nothing(self, run: Run) -> None:
        """Why guard, gate and gated job exist."""
        ran = run("reports")
        assert ran.success
        assert "bad_report" in ran.built

    def test_with_the_checks_deselected_is_stopped_by_nothing(self, run: Run) -> None:
        assert "bad_report" in run("without_checks").built

    def test_with_the_checks_and_without_the_bins_is_stopped(self, run: Run) -> None:
        ran = run("checks_and_reports")
        assert ran.failed_steps == {"experiments_bad_bins_checks", "model_checks"}
        assert ran.built == {"good_report", "warned_report", "observed_report"}


class TestChecksUnlikeOurs:
    """Contracts: Dagster's answers that shaped one op per flag, outside the asset, that always answers."""

    @pytest.fixture
    def ran(self, run: Run) -> Ran:
        return run("contracts")

    def test_a_check_op_that_yields_nothing_lets_the_report_run(self, ran: Ran) -> None:
        assert "silent_report" in ran.built

    def test_a_failed_check_inside_its_asset_fails_the_asset(self, ran: Ran) -> None:
        assert "inside" in ran.failed_steps
        assert "inside_report" not in ran.built

    def test_an_error_of_a_check_that_is_not_blocking_stops_nothing(self, ran: Ran) -> None:
        assert "told_report" in ran.built

    def test_one_op_over_two_assets_blocks_both_for_one(self, ran: Ran) -> None:
        assert {"first", "second"} <= ran.built
        assert not {"first_report", "second_report"} & ran.built
