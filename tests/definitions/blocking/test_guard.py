"""`blocked_by` by hand: when a guarded report refuses to run, and what it says."""

from datetime import timedelta

import dagster as dg
import pytest

from exd_dagster.definitions.gate import blocked_by
from tests.definitions.blocking.alerting import BINS, AlertingSetup

WARN = dg.AssetCheckSeverity.WARN


@pytest.fixture
def setup(instance: dg.DagsterInstance) -> AlertingSetup:
    return AlertingSetup(instance, guard=blocked_by(BINS))


def refusal(result: dg.ExecuteInProcessResult) -> str:
    """Return why the report did not run; "" when it ran."""
    failed = [event for event in result.all_events if event.is_step_failure]
    if not failed:
        return ""
    data = failed[0].step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_a_trusted_flag_lets_it_run(setup: AlertingSetup) -> None:
    setup.audit()
    assert setup.read().success


def test_a_flag_that_was_never_audited_does_not(setup: AlertingSetup) -> None:
    assert refusal(setup.read()) == (
        "Blocked by the flag audit. experiments/checkout_bins: its audit never ran; run the audit job, or "
        "correct the key of the bins."
    )


def test_a_blocking_flag_does_not_and_its_sentence_is_reported_as_it_is(setup: AlertingSetup) -> None:
    setup.passed, setup.metadata = False, {"sentence": "Not trusted. SRM: arm_b got 3 of 90."}
    setup.audit()
    assert refusal(setup.read()).endswith("checkout_bins: Not trusted. SRM: arm_b got 3 of 90.")


def test_an_audit_that_crashed_does_not_and_its_run_is_named(setup: AlertingSetup) -> None:
    setup.audit()
    setup.passed = None
    setup.check()
    crashed = setup.instance.get_runs(limit=1)[0].run_id
    assert f"its audit did not finish (run {crashed})" in refusal(setup.read())


def test_bins_built_again_without_an_audit_do_not(setup: AlertingSetup) -> None:
    setup.audit()
    setup.build()
    assert "its bins are newer than its audit" in refusal(setup.read())


def test_an_audit_older_than_max_age_does_not(instance: dg.DagsterInstance) -> None:
    setup = AlertingSetup(instance, guard=blocked_by(BINS, max_age=timedelta(microseconds=1)))
    setup.audit()
    assert "Stale: audited through" in refusal(setup.read())


def test_a_waiver_in_force_lets_it_run(setup: AlertingSetup) -> None:
    setup.metadata = {"waived_until": "2999-01-01T00:00:00Z"}
    setup.audit()
    assert setup.read().success


def test_a_waiver_that_has_ended_since_the_audit_does_not(setup: AlertingSetup) -> None:
    setup.metadata = {"waived_until": "2026-03-02T00:00:00Z"}
    setup.audit()
    assert "it was waived until 2026-03-02 00:00 UTC; run the checks again." in refusal(setup.read())


def test_the_checks_run_again_without_the_bins_lift_a_refusal(setup: AlertingSetup) -> None:
    setup.passed = False
    setup.audit()
    setup.passed = True
    setup.check()
    assert setup.read().success


def test_it_links_to_the_check(instance: dg.DagsterInstance) -> None:
    setup = AlertingSetup(instance, guard=blocked_by(BINS, base_url="https://dagster.example/"))
    (failed,) = [event for event in setup.read().all_events if event.is_step_failure]
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["experiments/checkout_bins"].value == (
        "https://dagster.example/assets/experiments/checkout_bins?view=checks&checkDetail=trust"
    )


def test_a_refusal_is_not_tried_again(setup: AlertingSetup) -> None:
    job = dg.define_asset_job("tried", [setup.report.key], op_retry_policy=dg.RetryPolicy(max_retries=2))
    defs = dg.Definitions.merge(setup.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("tried").execute_in_process(instance=setup.instance, raise_on_error=False)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_every_flag_that_blocks_is_named(instance: dg.DagsterInstance) -> None:
    setup = AlertingSetup(instance, guard=blocked_by(BINS, ["experiments", "search_bins"]))
    said = refusal(setup.read())
    assert "checkout_bins: its audit never ran" in said
    assert "search_bins: its audit never ran" in said
