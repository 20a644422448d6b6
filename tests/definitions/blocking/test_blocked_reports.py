"""The example `blocked_reports` and its SQL, as they are written, with a broken and with a healthy flag."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import time_machine
import yaml
from jinja2 import Template

from exd_dagster.definitions.schedules import range_tags
from tests.fleet import built
from tests.logs import HOUR, START, broken, healthy, rows, write

EXAMPLES = Path(__file__).parents[3] / "examples"
HOURS = 4
AUDITED = range_tags("2026-03-01-00:00", "2026-03-01-03:00")


@dataclass
class Project:
    """The example over a log of its own, audited once."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    store: Path

    def run(self, job: str, **tags: str) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False
        )

    def build(self, report: str) -> dg.ExecuteInProcessResult:
        """Build one report by hand."""
        job = dg.define_asset_job("by_hand", [report], executor_def=dg.in_process_executor)
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        return defs.resolve_job_def("by_hand").execute_in_process(
            instance=self.instance, raise_on_error=False
        )


@pytest.fixture(scope="module", params=["broken", "healthy"])
def checkout(request: pytest.FixtureRequest) -> str:
    """How the flag checkout fares; search is always healthy."""
    return str(request.param)


@pytest.fixture(scope="module")
def project(checkout: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    from examples.blocked_reports import build

    folder = tmp_path_factory.mktemp(checkout)
    log = write(
        folder / "log",
        rows("checkout", broken(HOURS) if checkout == "broken" else healthy(HOURS)),
        rows("search", healthy(HOURS)),
        rows("beat", healthy(1), start=START + (HOURS + 1) * HOUR + HOUR / 2),
    )
    store = folder / "bins.duckdb"
    with dg.DagsterInstance.ephemeral() as instance, time_machine.travel(START + 24 * HOUR, tick=True):
        made = Project(build(log, str(store)), instance, store)
        before = dg.evaluate_automation_conditions(made.defs, instance)
        made.run("exd_audit", **AUDITED)
        made.automated = dg.evaluate_automation_conditions(made.defs, instance, cursor=before.cursor)  # type: ignore[attr-defined]
        made.run("exd_flag_trust")
        yield made


def test_it_loads() -> None:
    from examples.blocked_reports import defs

    dg.Definitions.validate_loadable(defs)


def test_the_gated_job_builds_its_report_only_for_a_healthy_flag(project: Project, checkout: str) -> None:
    asked = built(project.run("reports_every_morning"))
    assert asked == ({"conversion_by_schedule"} if checkout == "healthy" else set())


def test_the_gate_asks_for_its_report_only_for_a_healthy_flag(project: Project, checkout: str) -> None:
    asked = project.automated.get_num_requested(dg.AssetKey("conversion_by_automation"))  # type: ignore[attr-defined]
    assert asked == (1 if checkout == "healthy" else 0)


def test_the_guarded_report_runs_only_for_healthy_flags(project: Project, checkout: str) -> None:
    assert project.build("conversion_by_hand").success == (checkout == "healthy")


def test_the_report_over_all_flags_runs_either_way_without_the_rows_of_a_broken_flag(
    project: Project, checkout: str
) -> None:
    with duckdb.connect(str(project.store)) as connection:
        connection.execute(
            "CREATE OR REPLACE TABLE metrics AS SELECT flag_key, hour, 0.1 AS conversion "
            "FROM (VALUES ('checkout'), ('search'), ('never_audited')) AS flags (flag_key), "
            "generate_series(TIMESTAMPTZ '2026-02-28 22:00:00Z', TIMESTAMPTZ '2026-03-01 09:00:00Z', "
            "INTERVAL 1 HOUR) AS hours (hour)"
        )
    assert project.build("conversion_of_all_flags").success
    with duckdb.connect(str(project.store), read_only=True) as connection:
        found = connection.execute(
            "SELECT flag_key, count(*), epoch(min(hour)), epoch(max(hour)) FROM trusted_metrics "
            "GROUP BY 1 ORDER BY 1"
        ).fetchall()
    hours = (HOURS, START.timestamp(), (START + (HOURS - 1) * HOUR).timestamp())
    assert found == [
        (flag, *hours) for flag in ("checkout", "search") if (flag, checkout) != ("checkout", "broken")
    ]


def plain_sql() -> str:
    """The query as a report reads it."""
    return (EXAMPLES / "trusted_rows.sql").read_text()


def dbt_model() -> str:
    """The same as dbt renders it."""
    model = Template((EXAMPLES / "dbt" / "trusted_metrics.sql").read_text())
    return model.render(ref=lambda name: f'"{name}"', source=lambda _, table: f'"main"."{table}"')


def test_the_dbt_model_asks_for_the_table_that_its_source_names() -> None:
    (source,) = yaml.safe_load((EXAMPLES / "dbt" / "exd.yml").read_text())["sources"]
    asked: list[tuple[str, ...]] = []
    Template((EXAMPLES / "dbt" / "trusted_metrics.sql").read_text()).render(
        ref=lambda name: name, source=lambda *names: asked.append(names)
    )
    assert asked == [(source["name"], table["name"]) for table in source["tables"]]


@pytest.mark.parametrize("query", [plain_sql, dbt_model])
def test_the_query_withholds_what_is_not_trusted_not_audited_or_of_an_iteration_before(
    query: Callable[[], str],
) -> None:
    first, afresh, through = "2026-03-01", "2026-03-02", "2026-03-03"
    standings = [
        ("good", first, True),
        ("bad", first, False),
        ("unknown", first, None),
        ("afresh", first, True),
        ("afresh", afresh, True),
        ("broke", first, True),
        ("broke", afresh, False),
    ]
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE flag_trust (namespace TEXT, environment TEXT, flag_key TEXT, trusted BOOLEAN, "
            "iteration_start TIMESTAMPTZ, waived_until TIMESTAMPTZ, audited_through TIMESTAMPTZ)"
        )
        connection.executemany(
            "INSERT INTO flag_trust VALUES ('', '', ?, ?, ?, NULL, ?)",
            [(flag, trusted, start, through) for flag, start, trusted in standings],
        )
        connection.execute(
            "CREATE TABLE metrics AS SELECT DISTINCT flag_key, hour "
            "FROM (SELECT flag_key FROM flag_trust UNION ALL SELECT 'never_audited'), "
            "generate_series(TIMESTAMPTZ '2026-02-28', TIMESTAMPTZ '2026-03-03', INTERVAL 1 DAY) AS d (hour)"
        )
        found = connection.execute(
            f"SELECT flag_key, strftime(hour, '%m-%d') FROM ({query()}) ORDER BY ALL"
        ).fetchall()
    assert found == [("afresh", "03-02"), ("good", "03-01"), ("good", "03-02")]


@pytest.mark.parametrize("query", [plain_sql, dbt_model])
@pytest.mark.parametrize("ended", [True, False])
def test_a_waiver_that_has_ended_withholds_the_rows_again(ended: bool, query: Callable[[], str]) -> None:
    until = "now() - INTERVAL 1 MINUTE" if ended else "now() + INTERVAL 1 DAY"
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE flag_trust AS SELECT '' AS namespace, '' AS environment, 'checkout' AS flag_key, "
            "TIMESTAMPTZ '2026-03-01' AS iteration_start, true AS trusted, "
            f"{until} AS waived_until, TIMESTAMPTZ '2026-03-02' AS audited_through"
        )
        connection.execute(
            "CREATE TABLE metrics AS "
            "SELECT 'checkout' AS flag_key, TIMESTAMPTZ '2026-03-01 05:00:00Z' AS hour"
        )
        assert len(connection.execute(query()).fetchall()) == (0 if ended else 1)
