"""`publish=`: bins, trust and verdicts in a warehouse, all or nothing, beside the reports that join them."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import ibis
import pytest

from exd_dagster.definitions.publish.warehouse import Warehouse
from exd_dagster.errors import ConfigError
from tests.fleet import Fleet, built
from tests.logs import HOUR, START, broken, healthy, rows, write
from tests.servers.postgres import running

HOURS = 6
BOTH = dg.AssetSelection.assets("flag_trust", "flag_tables")


@pytest.fixture(scope="session")
def server():
    with running() as server:
        yield server


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.engines)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a warehouse with an empty schema `exd`."""
    if request.param == "duckdb":
        found = f"duckdb://{tmp_path}/warehouse.duckdb"
    else:
        server = request.getfixturevalue("server")
        found = server.create(f"warehouse_{abs(hash(tmp_path)) % 10**8}")
    ask(found, "CREATE SCHEMA exd")
    return found


def ask(address: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, asked without our code."""
    if address.startswith("duckdb"):
        with duckdb.connect(address.removeprefix("duckdb://")) as connection:
            return connection.execute(query).fetchall()
    import psycopg

    with psycopg.connect(address) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def fleet_of(tmp_path: Path, address: Any, **counts: Any) -> Fleet:
    counts = counts or {"good": healthy(HOURS), "bad": broken(HOURS)}
    return Fleet(tmp_path, counts, options={"publish": Warehouse(connection=address, schema_name="exd")})


def stored(fleet: Fleet, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(fleet.folder / "bins.duckdb")) as connection:
        return connection.execute(query).fetchall()


ALL = "SELECT flag_key, variant, new_units, units, evaluations FROM {}flag_bins ORDER BY ALL"
COUNTS = "SELECT flag_key, count(*), sum(evaluations)::BIGINT FROM {}flag_bins GROUP BY flag_key ORDER BY 1"


def test_an_audit_is_published_whole_with_comments(tmp_path, address):
    fleet = fleet_of(tmp_path, address)
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance)
        assert built(fleet.run(instance, BOTH, hours=False)) == {"flag_trust", "flag_tables"}
    assert ask(address, COUNTS.format("exd.")) == stored(fleet, COUNTS.format(""))
    joined = (
        "SELECT DISTINCT b.flag_key FROM exd.flag_bins b JOIN exd.flag_trust t USING (flag_key) "
        "WHERE t.trusted AND b.hour < t.audited_through"
    )
    assert ask(address, joined) == [("good",)]
    failing = "SELECT flag_key, failing FROM exd.flag_trust WHERE NOT trusted"
    ((key, checks),) = ask(address, failing)
    assert key == "bad"
    failed = "SELECT check_name FROM exd.flag_verdicts WHERE NOT passed AND flag_key = 'bad'"
    assert set(checks.split(", ")) <= {name for (name,) in ask(address, failed)}
    first = "SELECT min(hour) FROM exd.flag_bins"
    assert ask(address, first)[0][0].timestamp() == START.timestamp()
    said = (
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'flag_trust' AND column_name = 'sentence'"
        if address.startswith("duckdb")
        else "SELECT col_description('exd.flag_trust'::regclass, attnum) FROM pg_attribute "
        "WHERE attrelid = 'exd.flag_trust'::regclass AND attname = 'sentence'"
    )
    assert ask(address, said) == [("The answer in one sentence.",)]


def test_only_days_that_changed_are_written_again(tmp_path, address):
    fleet = fleet_of(tmp_path, address)
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance)
        fleet.run(instance, BOTH, hours=False)
        again = written(fleet.run(instance, BOTH, hours=False))
        assert "flag_bins" not in again
        write(tmp_path / "log", rows("good", healthy(1), start=START + 2 * HOUR), name="late")
        fleet.run(instance, fleet.bins)
        assert written(fleet.run(instance, BOTH, hours=False))["flag_bins"] > 0
    assert ask(address, COUNTS.format("exd.")) == stored(fleet, COUNTS.format(""))


def written(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (told,) = result.asset_materializations_for_node("flag_tables")
    return {name: value.value for name, value in told.metadata.items()}


def test_a_write_that_fails_leaves_the_warehouse_whole_and_the_audit_done(tmp_path, address):
    fleet = fleet_of(tmp_path, address)
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance)
        fleet.run(instance, BOTH, hours=False)
        before = ask(address, "SELECT * FROM exd.flag_trust ORDER BY flag_key")
        ask(address, "DROP TABLE exd.flag_verdicts")
        ask(address, "CREATE VIEW exd.flag_verdicts AS SELECT 1 AS one")
        failed = fleet.run(instance, BOTH, hours=False)
        assert built(failed) == {"flag_trust"}
        (failure,) = [event for event in failed.all_events if event.is_step_failure]
        assert "Not published:" in str(failure.step_failure_data.user_failure_data.description)
    assert ask(address, "SELECT * FROM exd.flag_trust ORDER BY flag_key") == before


def test_a_row_that_is_refused_takes_back_the_whole_write(tmp_path, address):
    fleet = fleet_of(tmp_path, address)
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance)
        fleet.run(instance, BOTH, hours=False)
        query = "SELECT flag_key, run_id FROM exd.flag_trust ORDER BY flag_key"
        before = ask(address, query)
        ask(address, "DROP TABLE exd.exd_published_days")
        ask(address, "CREATE TABLE exd.exd_published_days AS SELECT 1 AS day WHERE false")
        ask(address, "ALTER TABLE exd.exd_published_days ADD COLUMN digest BOOLEAN")
        fleet.run(instance, fleet.bins)
        assert built(fleet.run(instance, BOTH, hours=False)) == {"flag_trust"}
    assert ask(address, query) == before


def test_flags_of_another_fleet_are_left_alone(tmp_path, address):
    one = fleet_of(tmp_path / "one", address, good=healthy(HOURS))
    other = fleet_of(tmp_path / "other", address, bad=broken(HOURS))
    for fleet in (one, other, one):
        with dg.DagsterInstance.ephemeral() as instance:
            fleet.run(instance)
            fleet.run(instance, BOTH, hours=False)
    assert ask(address, "SELECT flag_key FROM exd.flag_trust ORDER BY flag_key") == [("bad",), ("good",)]


def test_an_engine_without_transactions_is_refused_with_the_ones_that_have_them():
    class Backend:
        name = "bigquery"

    warehouse = Warehouse(connection=Backend(), schema_name="exd")
    with (
        pytest.raises(ConfigError, match="publish to PostgreSQL, Snowflake or DuckDB"),
        warehouse.connected(),
    ):
        pass


def test_an_open_connection_stays_open(tmp_path):
    backend = ibis.duckdb.connect(tmp_path / "warehouse.duckdb")
    with Warehouse(connection=backend, schema_name="exd").connected() as given:
        assert given is backend
    assert backend.raw_sql("SELECT 1").fetchall() == [(1,)]
