"""What a failing flag really stops: in its own run, in a later one, under automation, by hand."""

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from exd_dagster.definitions.checks import check_keys
from exd_dagster.definitions.gate import blocked_by, gate_condition, gated_job, why_not_trusted
from exd_dagster.definitions.internals import CheckRecord, latest_checks
from exd_dagster.stats.checks import checks_of
from tests.fleet import Fleet, built, verdicts
from tests.logs import broken, healthy

HOURS = 6


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """One healthy flag and one whose treatment is all but gone."""
    return Fleet(tmp_path, {"good": healthy(HOURS), "bad": broken(HOURS)})


def test_a_failing_flag_blocks_its_own_report_and_no_other(
    fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    result = fleet.run(instance)
    assert not result.success
    assert built(result) == {"good_bins", "bad_bins", "good_report"}


def test_the_verdicts_are_those_of_the_bins(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    result = fleet.run(instance)
    assert verdicts(result, fleet.keys["good"]) == {
        "srm": "pass",
        "sequential_srm": "pass",
        "traffic_drop": "insufficient",
        "segment_srm": "skipped",
        "segment_traffic": "insufficient",
        "trust": "pass",
        "variant_integrity": "pass",
        "version_skew": "skipped",
    }
    assert verdicts(result, fleet.keys["bad"])["srm"] == "fail"
    assert verdicts(result, fleet.keys["bad"])["trust"] == "fail"


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_a_failure_does_not_block_outside_mode_block(
    tmp_path: Path, instance: dg.DagsterInstance, mode: str
) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(HOURS)}, mode=mode)
    result = fleet.run(instance)
    assert result.success
    assert built(result) == {"bad_bins", "bad_report"}
    assert verdicts(result, fleet.keys["bad"])["srm"] == "fail"


def test_mode_warn_fails_the_checks_with_severity_warn(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(HOURS)}, mode="warn")
    (srm,) = [c for c in fleet.run(instance).get_asset_check_evaluations() if c.check_name == "srm"]
    assert (srm.passed, srm.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_gated_job_stops_the_report_of_a_failing_flag_only(
    fleet: Fleet, instance: dg.DagsterInstance
) -> None:
    fleet.run(instance, fleet.bins)
    job = gated_job("gated", fleet.only_reports, bins=list(fleet.keys.values()))
    defs = dg.Definitions.merge(fleet.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("gated").execute_in_process(instance=instance, raise_on_error=False)
    assert built(result) == {"good_report"}


def test_a_gated_job_of_trusted_flags_succeeds_and_repeats_what_was_said_of_their_bins(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(HOURS)})
    fleet.run(instance, fleet.bins)
    job = gated_job("gated", fleet.only_reports, bins=list(fleet.keys.values()))
    defs = dg.Definitions.merge(fleet.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("gated").execute_in_process(instance=instance, raise_on_error=False)
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert built(result) == {"good_report"}


def test_checks_alone_before_any_audit_say_that_there_are_no_bins(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(HOURS)})
    result = fleet.run(instance, dg.AssetSelection.checks_for_assets(fleet.keys["good"]), hours=False)
    (said,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "bins_built"]
    assert (said.passed, said.description) == (False, "Not checked: no bins yet; run the audit job first.")


@pytest.fixture
def guarded(tmp_path: Path) -> Fleet:
    """The same two flags, their reports guarded."""
    return Fleet(tmp_path, {"good": healthy(HOURS), "bad": broken(HOURS)}, guard=blocked_by)


def test_a_guard_refuses_by_hand_and_says_which_check_failed(
    guarded: Fleet, instance: dg.DagsterInstance
) -> None:
    guarded.run(instance, guarded.bins)
    result = guarded.run(instance, guarded.only_reports, hours=False)
    assert built(result) == {"good_report"}
    (failure,) = [e for e in result.all_events if e.is_step_failure and "bad_report" in str(e.step_key)]
    message = str(failure.step_failure_data.error_display_string)
    assert "Blocked by the flag audit" in message
    assert "control got" in message or "treatment got" in message


def test_a_guard_lets_a_report_run_in_the_run_that_audits_it(
    guarded: Fleet, instance: dg.DagsterInstance
) -> None:
    assert built(guarded.run(instance)) >= {"good_report"}


def test_what_a_check_says_is_read_back_as_strict_json(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    fleet.run(instance, fleet.bins)
    records, _ = latest_checks(instance, list(check_keys(fleet.keys["bad"]).values()))
    assert {record.key.name for record in records} == {*(check.name for check in checks_of()), "trust"}
    for record in records:
        json.dumps(record.metadata, allow_nan=False)
        assert record.metadata["flag"] == "bad"


def test_a_guarded_report_may_take_the_context(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    seen = []

    @dg.asset
    @blocked_by()
    def report(context: dg.AssetExecutionContext) -> None:
        seen.append(context.run.run_id)

    assert dg.materialize([report], instance=instance).success
    assert seen


class TestGate:
    """`gate_condition` under declarative automation."""

    def requested(
        self, fleet: Fleet, instance: dg.DagsterInstance, cursor: object = None, *, fresh: bool = False
    ) -> tuple[set[str], object]:
        gate = gate_condition(*fleet.keys.values(), fresh=fresh)
        defs = fleet.defs.map_asset_specs(
            func=lambda spec: (
                spec.replace_attributes(automation_condition=gate)
                if spec.key.path[-1].endswith("_report")
                else spec
            )
        )
        outcome = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
        asked = {key.path[-1] for key in fleet_keys(fleet) if outcome.get_num_requested(key)}
        return asked, outcome.cursor

    def test_only_the_trusted_report_is_requested(self, fleet: Fleet, instance: dg.DagsterInstance) -> None:
        _, cursor = self.requested(fleet, instance)
        fleet.run(instance, fleet.bins)
        assert self.requested(fleet, instance, cursor)[0] == {"good_report"}

    def test_a_warning_keeps_no_gate_closed(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        fleet = Fleet(tmp_path, {"bad": broken(HOURS)}, mode="warn")
        _, cursor = self.requested(fleet, instance)
        fleet.run(instance, fleet.bins)
        assert self.requested(fleet, instance, cursor)[0] == {"bad_report"}

    @pytest.mark.parametrize("fresh", [False, True])
    @pytest.mark.parametrize(("state", "asked"), [("PASS", {"good_report"}), ("FAIL", set())])
    def test_a_stopped_schedule_closes_the_gate(
        self, tmp_path: Path, instance: dg.DagsterInstance, state: str, asked: set[str], fresh: bool
    ) -> None:
        fleet = Fleet(tmp_path, {"good": healthy(HOURS)}, options={"max_age": timedelta(hours=30)})
        _, cursor = self.requested(fleet, instance, fresh=fresh)
        fleet.run(instance, fleet.bins)
        say_freshness(instance, fleet.keys["good"], state)
        assert self.requested(fleet, instance, cursor, fresh=fresh)[0] == asked

    @pytest.mark.parametrize(("fresh", "asked"), [(False, {"good_report"}), (True, set())])
    def test_before_the_daemon_has_looked_only_a_fresh_gate_waits(
        self, tmp_path: Path, instance: dg.DagsterInstance, fresh: bool, asked: set[str]
    ) -> None:
        fleet = Fleet(tmp_path, {"good": healthy(HOURS)}, options={"max_age": timedelta(hours=30)})
        _, cursor = self.requested(fleet, instance, fresh=fresh)
        fleet.run(instance, fleet.bins)
        assert self.requested(fleet, instance, cursor, fresh=fresh)[0] == asked


def say_freshness(instance: dg.DagsterInstance, asset: dg.AssetKey, state: str) -> None:
    """Do what Dagster's freshness daemon does when an asset's freshness changes."""
    change = FreshnessStateChange(
        key=asset,
        previous_state=FreshnessState.UNKNOWN,
        new_state=FreshnessState(state),
        state_change_timestamp=time.time(),
    )
    instance._report_runless_asset_event(asset_event=change)


def fleet_keys(fleet: Fleet) -> list[dg.AssetKey]:
    return [report.key for report in fleet.reports]


@pytest.mark.parametrize(("before", "refused"), [(timedelta(microseconds=1), False), (timedelta(0), True)])
def test_a_waiver_ends_at_the_instant_it_names(
    instance: dg.DagsterInstance, before: timedelta, refused: bool
) -> None:
    until = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
    key = dg.AssetCheckKey(dg.AssetKey("bad_bins"), "trust")
    facts = {"waived_until": "2026-03-02T12:00:00Z"}
    record = CheckRecord(key=key, passed=True, metadata=facts, at=until - timedelta(hours=1), run_id="0b1c")
    reason = why_not_trusted(instance, key, record, until - before, None)
    assert reason.startswith("it was waived until 2026-03-02 12:00 UTC") is refused
    assert bool(reason) is refused


@pytest.mark.parametrize(("before", "refused"), [(timedelta(microseconds=1), False), (timedelta(0), True)])
def test_an_answer_is_too_old_from_the_instant_it_names(
    instance: dg.DagsterInstance, before: timedelta, refused: bool
) -> None:
    until = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
    key = dg.AssetCheckKey(dg.AssetKey("bad_bins"), "trust")
    facts = {"fresh_until": "2026-03-02T12:00:00Z", "audited_through": "2026-03-01T12:00:00Z"}
    record = CheckRecord(key=key, passed=True, metadata=facts, at=until - timedelta(hours=1), run_id="0b1c")
    reason = why_not_trusted(instance, key, record, until - before, None)
    assert reason.startswith("Stale: audited through 2026-03-01 12:00 UTC") is refused
    assert bool(reason) is refused
