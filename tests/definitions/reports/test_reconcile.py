"""A report downstream of a flag, reconciled with the units that were exposed, in real Dagster runs."""

import logging
import sqlite3
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import ibis
import pytest
from dagster_duckdb import DuckDBResource

import exd_dagster as exd
from examples.reconciled_report import REVENUE, build
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.sensor import alert_plans
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ConfigError
from tests.fleet import built
from tests.logs import HOUR, START, healthy, rows, write

HOURS = 4
ALL_HOURS = range_tags("2026-03-01-00:00", "2026-03-01-03:00")
CHECK = dg.AssetCheckKey(dg.AssetKey("revenue"), "reconcile_checkout")


def log(folder: Path) -> str:
    beat = rows("beat", healthy(1), start=START + (HOURS + 1) * HOUR + HOUR / 2)
    return write(folder / "log", rows("checkout", healthy(HOURS, 500)), beat)


def everything(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Run the audit and all that is downstream of it."""
    bins = dg.AssetSelection.assets(["experiments", "checkout_bins"])
    job = dg.define_asset_job("all", bins.downstream(), executor_def=dg.in_process_executor)
    whole = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("all")
    return whole.execute_in_process(instance=instance, tags=ALL_HOURS, raise_on_error=False)


def reconciled(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    return next(c for c in result.get_asset_check_evaluations() if c.check_name.startswith("reconcile"))


DROPS = REVENUE.replace("WHERE", "WHERE (variant_key = 'control' OR hash(unit_id_hash) % 25 > 0) AND")


def test_a_report_that_holds_every_exposed_unit_is_built_upon(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = everything(build(log(tmp_path), str(tmp_path / "bins.duckdb")), instance)
    assert reconciled(result).passed
    assert str(reconciled(result).description) == "The report holds all of the 4,000 units that were exposed."
    assert "decision" in built(result)


def test_a_join_that_drops_units_of_one_arm_blocks_what_reads_the_report(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = everything(build(log(tmp_path), str(tmp_path / "bins.duckdb"), DROPS), instance)
    found = reconciled(result)
    assert not found.passed
    assert str(found.description).startswith("treatment lost ")
    assert "Likely cause: A join that drops units" in str(found.description)
    assert {"revenue"} == built(result) - {"checkout_bins"}
    table = {row.data["arm"]: row.data["kept"] for row in found.metadata["split"].records}
    assert table["control"] == "100 %"


class Project:
    """A flag, its bins, and a report whose units per arm are asked for in some way."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **flag: Any) -> None:
        self.folder, self.instance = folder, instance
        self.store = DuckDBResource(database=str(folder / "bins.duckdb"))
        self.flag = FlagAudit(
            **{"key": "checkout", "split": {"control": 0.5, "treatment": 0.5}, "start": START, **flag}
        )

    def run(self, *checks: Any, resources: Any = None, **reports: Any) -> dg.ExecuteInProcessResult:
        audit = build_flag_audit_defs([self.flag], log(self.folder), self.store, **reports)

        @dg.asset(deps=[["experiments", "checkout_bins"]])
        def revenue() -> None:
            """The report."""

        own = dg.Definitions(assets=[revenue], asset_checks=checks, resources=resources or {})
        return everything(dg.Definitions.merge(audit, own), self.instance)

    def said(self, units_by_arm: Any, resources: Any = None, **options: Any) -> str:
        """Return the sentence of the check."""
        check = exd.build_reconcile_check(
            asset="revenue", flag=self.flag, units_by_arm=units_by_arm, **options
        )
        return str(reconciled(self.run(check, resources=resources)).metadata["details"].value["sentence"])


@pytest.fixture
def project(tmp_path: Path, instance: dg.DagsterInstance) -> Project:
    return Project(tmp_path, instance)


ROWS = "SELECT * FROM (VALUES ('control', 2000), ('treatment', 1900)) WHERE {until} > '2026'"
LOST = "treatment lost 100 of 2,000 units (5 %), control none;"


class Database:
    """A resource that opens a DB-API connection."""

    @contextmanager
    def get_connection(self) -> Any:
        connection = sqlite3.connect(":memory:")
        yield connection
        connection.close()


@pytest.mark.parametrize(
    "database",
    [
        lambda: DuckDBResource(database=":memory:"),
        Database,
        ibis.duckdb.connect,
        duckdb.connect,
    ],
    ids=["DuckDBResource", "DB-API", "Ibis", "connection"],
)
def test_a_query_is_run_on_what_runs_queries(project: Project, database: Any) -> None:
    query = ROWS.replace("(VALUES", "(SELECT 'control' AS arm, 2000 AS n UNION ALL SELECT 'treatment', 1900")
    query = query.replace("('control', 2000), ('treatment', 1900))", ") AS units")
    made = database()
    resources = {
        "warehouse": made
        if isinstance(made, dg.ConfigurableResource)
        else dg.ResourceDefinition.hardcoded_resource(made)
    }
    assert project.said(query, resources, connection="warehouse").startswith(LOST)


def test_without_a_connection_the_query_reads_the_file_of_the_bins(project: Project) -> None:
    query = (
        "SELECT variant, sum(new_units) - any_value(variant = 'treatment')::INT * 100 FROM flag_bins "
        "WHERE hour < {until} GROUP BY variant"
    )
    assert project.said(query).startswith(LOST)


def test_a_function_is_given_the_window_and_its_resources(project: Project) -> None:
    seen: list[Any] = []

    def units(since: datetime, until: datetime, warehouse: str) -> dict[str, int]:
        seen.extend([since, until, warehouse])
        return {"control": 2000, "treatment": 2000}

    resources = {"warehouse": dg.ResourceDefinition.hardcoded_resource("here")}
    assert project.said(units, resources, expects="all").startswith("The report holds all of the 4,000 units")
    assert seen == [START, START + HOURS * HOUR, "here"]


def test_until_cuts_the_bins_where_the_report_ends(project: Project) -> None:
    half = "SELECT unnest(['control', 'treatment']), 1000"
    assert project.said(half, until=START + 2 * HOUR, expects="all").startswith(
        "The report holds all of the 2,000"
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 'control', 5", "nothing says up to when the report counts; write {until}"),
        ("SELECT {until}", "has 1 columns; select two"),
        ("SELECT {until}, 'x'", "select the arm first"),
        ("SELECT 'a', 1 WHERE {until} > '2' UNION ALL SELECT 'a', 1", "group by the arm alone"),
        ("SELECT arm, n FROM missing WHERE t < {until}", "could not be counted (CatalogException: "),
    ],
)
def test_what_is_no_count_by_arm_is_not_checked_and_says_why(project: Project, query: str, said: str) -> None:
    found = project.said(query)
    assert found.startswith("Not checked: ")
    assert said in found


def test_a_report_ahead_of_the_bins_is_not_compared_yet(project: Project) -> None:
    found = project.said("SELECT 'control', 5", until="2026-03-09")
    assert found.startswith("Not compared yet: the report counts until 2026-03-09 00:00 UTC, bins until ")


PHASES = [exd.Phase(start=START + 2 * HOUR, split={"control": 0.4, "treatment": 0.6}, uptake="1h")]


def test_a_sample_is_compared_within_the_last_phase(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    project = Project(tmp_path, instance, phases=PHASES, mode="observe")
    assert "several splits lie between" in project.said(ROWS)
    since = "SELECT unnest(['control', 'treatment']), 250 WHERE {since} < {until}"
    assert "The report holds 50 % of 1,000 units" in project.said(since)


def test_where_all_are_expected_phases_are_compared_together(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    found = Project(tmp_path, instance, phases=PHASES, mode="observe").said(ROWS, expects="all")
    assert found == f"{LOST} the report should hold every exposed unit."


def test_a_partitioned_report_is_compared_by_partition(project: Project) -> None:
    hours = dg.HourlyPartitionsDefinition(start_date="2026-03-01-00:00")
    audit = build_flag_audit_defs([project.flag], log(project.folder), project.store)

    @dg.asset(key="revenue", partitions_def=hours)
    def report() -> None:
        """Units first exposed in the hour."""

    check = exd.build_reconcile_check(
        asset="revenue",  # its partitions are found in the project
        flag=project.flag,
        units_by_arm="SELECT unnest(['control', 'treatment']), 500",
        window="partition",
        expects="all",
    )
    job = dg.define_asset_job(
        "one", dg.AssetSelection.assets("revenue"), executor_def=dg.in_process_executor, partitions_def=hours
    )
    own = dg.Definitions(assets=[report], asset_checks=[check], jobs=[job])
    defs = dg.Definitions.merge(audit, own)
    defs.resolve_job_def("exd_audit").execute_in_process(instance=project.instance, tags=ALL_HOURS)
    result = defs.resolve_job_def("one").execute_in_process(
        instance=project.instance, partition_key="2026-03-01-01:00"
    )
    details = reconciled(result).metadata["details"].value
    assert details["sentence"] == "The report holds all of the 1,000 units that were exposed."
    assert (details["counted_from"], details["counted_until"]) == (
        "2026-03-01T01:00:00Z",
        "2026-03-01T02:00:00Z",
    )


def test_a_failure_is_told_by_the_fleets_alerts_as_one_of_the_report(
    project: Project, tmp_path: Path
) -> None:
    told: list[Any] = []
    reports = [{"asset": "revenue", "flag": "checkout", "units_by_arm": ROWS, "blocking": True}]
    result = project.run(reconcile=reports, alerts=[exd.CallbackAlerts(told.append)])
    assert not reconciled(result).passed
    plan = next(plan for plan in alert_plans() if CHECK in plan.monitored)
    plan.tick(project.instance, logging.getLogger("test"))
    (alert,) = [alert for notification in told for alert in notification.alerts]
    assert (alert.check, alert.alert_type) == ("reconcile_checkout", "RECONCILE_FAILED")
    said = told[0].message.headline
    assert said == "Report on checkout: treatment lost 5 % of its units"


def test_a_flag_that_is_not_audited_is_named_with_the_nearest() -> None:
    flag = FlagAudit(key="checkout", start=START)
    with pytest.raises(ConfigError, match=r"'chekout' is not audited\. Did you mean 'checkout'"):
        build_flag_audit_defs(
            [flag],
            "log/*.parquet",
            DuckDBResource(database=":memory:"),
            reconcile=[{"asset": "revenue", "flag": "chekout", "units_by_arm": ROWS}],
        )


def test_two_reports_of_a_flag_need_two_names() -> None:
    flag = FlagAudit(key="checkout", start=START)
    two = [{"asset": name, "flag": "checkout", "units_by_arm": ROWS} for name in ("revenue", "orders")]
    with pytest.raises(ConfigError, match="name: reconcile_checkout_2"):
        build_flag_audit_defs([flag], "log/*.parquet", DuckDBResource(database=":memory:"), reconcile=two)
