"""A flag that its log spells otherwise, on a real instance: what waits for it, is reported, and opens it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.definitions.alerting.destinations import WebhookAlerts
from exd_dagster.definitions.alerting.sensor import run_alert_sensor
from exd_dagster.definitions.checks import trust_key
from exd_dagster.definitions.decisions.asset import record_decision
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.gate import blocked_by, gate_condition, gated_job
from exd_dagster.definitions.internals import latest_checks
from exd_dagster.demo.inbox import Inbox
from tests.fleet import Fleet, built
from tests.logs import healthy, rows, write

SENTENCE = (
    "Not checked: flag 'CheckOut' has no record in this log; "
    "the log holds 'checkout' (240 records): correct key="
)


@dataclass
class Misnamed(Fleet):
    """A fleet of CheckOut and search, whose log holds checkout and search."""

    logged: str = "checkout"

    def write(self) -> None:
        """Write the log under its own names."""
        Fleet.write(self)
        heartbeat = rows("heartbeat", healthy(self.hours + 3))
        write(self.folder / "log", rows(self.logged, healthy(6)), rows("search", healthy(6)), heartbeat)

    def correct(self) -> None:
        """Let the log hold the name that is configured."""
        self.logged = "CheckOut"
        self.write()

    def gate(self) -> dg.Definitions:
        """Put the gate in front of both reports."""
        conditions = {
            report.key: gate_condition(key)
            for report, key in zip(self.reports, self.keys.values(), strict=True)
        }
        return self.defs.map_resolved_asset_specs(
            func=lambda spec: spec.replace_attributes(automation_condition=conditions[spec.key]),
            selection=dg.AssetSelection.assets(*conditions),
        )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def fleet(folder: Path, **options: object) -> Misnamed:
    return Misnamed(folder, {"CheckOut": healthy(6), "search": healthy(6)}, **options)


def test_its_report_waits_in_the_run_that_audits_it_and_no_other_does(tmp_path, instance):
    result = fleet(tmp_path).run(instance)
    assert built(result) == {"CheckOut_bins", "search_bins", "search_report"}
    assert not result.success


def test_its_trust_does_not_pass_and_says_which_name_to_correct(tmp_path, instance):
    misnamed = fleet(tmp_path)
    misnamed.run(instance, misnamed.bins)
    (record,) = latest_checks(instance, [trust_key(misnamed.keys["CheckOut"])])[0]
    assert (record.passed, record.metadata["verdict"]) == (False, "not_checked")
    assert str(record.metadata["sentence"]).startswith(SENTENCE)
    row = trust("CheckOut", tmp_path / "bins.duckdb")
    assert (row.trusted, row.standing) == (None, "not-checked")


def test_its_report_is_refused_by_hand_with_the_sentence(tmp_path, instance):
    misnamed = fleet(tmp_path, guard=blocked_by)
    misnamed.run(instance, misnamed.bins)
    result = misnamed.run(instance, misnamed.only_reports, hours=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert SENTENCE in str(failed.step_failure_data.user_failure_data.description)
    assert built(result) == {"search_report"}


def test_its_report_is_not_built_by_a_gated_job(tmp_path, instance):
    misnamed = fleet(tmp_path)
    misnamed.run(instance, misnamed.bins)
    job = gated_job("reports", misnamed.only_reports, bins=[*misnamed.keys.values()])
    defs = dg.Definitions.merge(misnamed.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("reports").execute_in_process(instance=instance, raise_on_error=False)
    assert built(result) == {"search_report"}


def test_its_gate_opens_when_the_log_shows_it(tmp_path, instance):
    misnamed = fleet(tmp_path)
    gated = misnamed.gate()
    asked, cursor = [], None
    for step in (lambda: None, lambda: misnamed.run(instance, misnamed.bins), misnamed.correct):
        step()
        if step == misnamed.correct:
            misnamed.run(instance, misnamed.bins)
        found = dg.evaluate_automation_conditions(gated, instance=instance, cursor=cursor)
        cursor = found.cursor
        asked.append([found.get_num_requested(report.key) for report in misnamed.reports])
    assert [counts[0] for counts in asked] == [0, 0, 1]
    assert asked[1][1] == 1


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_in_the_other_modes_its_report_is_built_everywhere(tmp_path, instance, mode):
    misnamed = fleet(tmp_path, mode=mode, guard=blocked_by)
    assert misnamed.run(instance, misnamed.bins).success
    assert "CheckOut_report" in built(misnamed.run(instance, misnamed.only_reports, hours=False))
    assert trust("CheckOut", tmp_path / "bins.duckdb").trusted is None


def test_a_person_opens_it_by_ending_the_audit(tmp_path, instance):
    misnamed = fleet(tmp_path)
    now = datetime.now(timezone.utc)
    record_decision(
        instance,
        Decision(
            kind="end",
            flags="CheckOut",
            reason="begins later",
            by="ana",
            until=now + timedelta(days=1),
            made_at=now - timedelta(seconds=1),
        ),
    )
    assert "CheckOut_report" in built(misnamed.run(instance))


def test_people_are_reported_that_it_is_not_checked_and_never_that_it_fails(tmp_path, instance):
    with Inbox(tmp_path / "inbox") as inbox:
        hook = WebhookAlerts(url=inbox.webhook_url, allow_hosts=["127.0.0.1"])
        misnamed = fleet(tmp_path, options={"alerts": [hook], "digest": False})
        misnamed.run(instance, misnamed.bins)
        (sensor,) = [s for s in misnamed.defs.sensors if s.name == "exd_check_alerts"]
        run_alert_sensor(sensor, instance, misnamed.defs)
        reported = [json.loads(path.read_text()) for path in (inbox.folder / "webhook").glob("*.json")]
    assert {(each["details"]["flag"], each["status"]) for each in reported} == {("CheckOut", "not_checked")}
    assert SENTENCE in str(reported)
