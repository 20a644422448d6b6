"""A report's check among the others: people decide on it, alerts follow, the flag's row names the report."""

import logging
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.audit.trust_page import trust_page
from exd_dagster.audit.trust_table import read_trust
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import alert_plans
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.decisions.asset import make_decision, record_decision
from exd_dagster.errors import ConfigError
from tests.definitions.reports.test_reconcile import ALL_HOURS, ROWS, log
from tests.logs import START

NAME = "reconcile_checkout"


class Project:
    """A flag, its bins, a report that lost units of one arm, and what is built on it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, mode: str = "block") -> None:
        self.folder, self.instance, self.sent = folder, instance, list[Notification]()
        self.flag = FlagAudit(
            key="checkout",
            split={"control": 0.5, "treatment": 0.5},
            start=START,
            mode=mode,
            owners=("team:pay",),
        )
        lost = {"asset": "revenue", "flag": "checkout", "units_by_arm": ROWS, "blocking": True}
        audit = build_flag_audit_defs(
            [self.flag],
            log(folder),
            DuckDBResource(database=str(folder / "bins.duckdb")),
            alerts=[CallbackAlerts(self.sent.append)],
            digest=False,
            reconcile=[lost],
        )

        @dg.asset(deps=[["experiments", "checkout_bins"]])
        def revenue() -> None:
            """The report."""

        @dg.asset(deps=[revenue])
        def decision() -> None:
            """What is built on it."""

        job = dg.define_asset_job(
            "all",
            dg.AssetSelection.assets(["experiments", "checkout_bins"]).downstream(),
            executor_def=dg.in_process_executor,
        )
        self.defs = dg.Definitions.merge(audit, dg.Definitions(assets=[revenue, decision], jobs=[job]))

    def run(self, job: str = "all") -> dg.ExecuteInProcessResult:
        tags = ALL_HOURS if job == "all" else {}
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False
        )

    def night(self) -> tuple[set[str], dg.AssetCheckEvaluation]:
        """Build everything; return the reports that were built, and the answer of the check."""
        result = self.run()
        made = {e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key}
        found = next(c for c in result.get_asset_check_evaluations() if c.check_name == NAME)
        return made & {"revenue", "decision"}, found

    def told(self) -> list[tuple[str, str]]:
        """Let the alert sensor tick; return status and lead of what it sent."""
        before = len(self.sent)
        plan = next(plan for plan in alert_plans() if plan.name == "exd_check_alerts")
        plan.tick(self.instance, logging.getLogger("test"))
        return [(each.message.status, each.message.lead) for each in self.sent[before:]]

    def decide(self, kind: str, check: str = NAME) -> None:
        config = {"kind": kind, "flags": "checkout", "checks": check, "reason": "r", "by": "ana"}
        decision = make_decision(
            {**config, "until": "2099-01-01"}, [self.flag], {}, datetime.now(timezone.utc), reports=[NAME]
        )
        record_decision(self.instance, decision)


@pytest.fixture
def project(tmp_path: Path, instance: dg.DagsterInstance) -> Project:
    return Project(tmp_path, instance)


def test_a_waiver_lets_what_is_built_on_the_report_run_and_resolves_the_alert(project: Project) -> None:
    made, check = project.night()
    assert (made, check.passed) == ({"revenue"}, False)
    assert [status for status, _ in project.told()] == ["firing"]
    steps = [point for section in project.sent[0].message.sections for point in section.points]
    assert any(f"decide waive --flag checkout --check {NAME} --reason" in step for step in steps)
    project.decide("waive")
    ((status, lead),) = project.told()
    assert (status, lead.startswith("Waived by ana until 2099-01-01")) == ("resolved", True)
    made, check = project.night()
    assert (made, check.passed) == ({"revenue", "decision"}, False)
    assert check.metadata["waived_by"].value == "ana"
    assert str(check.description).startswith("Waived by ana until 2099-01-01")
    assert project.told() == []


def test_a_waiver_of_other_checks_does_not_waive_the_report(project: Project) -> None:
    project.decide("waive", "srm")
    assert project.night()[0] == {"revenue"}


def test_a_silence_sends_nothing_and_blocks_as_before(project: Project) -> None:
    project.decide("silence")
    assert project.night()[0] == {"revenue"}
    assert project.told() == []


def test_the_end_of_the_audit_ends_the_check_of_its_reports(project: Project) -> None:
    project.decide("end", "*")
    made, check = project.night()
    assert made == {"revenue", "decision"}
    assert check.metadata["verdict"].value == "skipped"


def test_in_mode_warn_it_is_sent_and_blocks_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    project = Project(tmp_path, instance, mode="warn")
    made, check = project.night()
    assert (made, check.passed) == ({"revenue", "decision"}, False)
    assert check.metadata["would_block"].value is True
    assert [status for status, _ in project.told()] == ["firing"]


def test_the_row_of_the_flag_names_the_report_and_stays_trusted(project: Project) -> None:
    project.night()
    project.run("exd_flag_trust")
    with duckdb.connect(str(project.folder / "bins.duckdb"), read_only=True) as connection:
        (entry,) = read_trust(connection)
    assert (entry.row.trusted, entry.row.off_reports) == (True, ("revenue",))
    assert "<dt>Reports with other units</dt><dd>revenue</dd>" in trust_page([entry.row], written_at=START)


def test_a_check_of_a_report_that_there_is_not_is_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match="'reconcile_chekout' matches no check that blocks"):
        project.decide("waive", "reconcile_chekout")
