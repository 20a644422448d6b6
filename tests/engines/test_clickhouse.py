"""ClickHouse's own engine counts as DuckDB does, in this process and through Ibis' backend for its server."""

from collections.abc import Iterator

import pytest

from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, awkward_log
from tests.bins.test_engines import assert_equal_to_duckdb, assert_nights_equal_a_recount, counted

ibis = pytest.importorskip("ibis")
pytestmark = pytest.mark.engines

TEXTS = {"plain": "Nullable(String)", "numbered": "LowCardinality(Nullable(String))"}
"""Types of the texts of a log; the second is usual for columns of few values."""


@pytest.fixture(scope="module")
def clickhouse():
    pytest.importorskip("chdb")
    backend = ibis.clickhouse.connect(interface="chdb")
    yield backend
    backend.con.close()


@pytest.fixture(params=[*TEXTS])
def table(clickhouse, request) -> Iterator[str]:
    load(clickhouse, request.param, awkward_log(), TEXTS[request.param])
    yield request.param
    clickhouse.raw_sql(f"DROP TABLE {request.param}")


def load(clickhouse, table, frame, text=TEXTS["plain"]):
    """Write a frame as a table."""
    kinds = {"string": text, "timestamp('UTC')": "DateTime64(3, 'UTC')", "int64": "Int64"}
    declared = ", ".join(f"{name} {kinds[kind]}" for name, kind in COLUMNS.items())
    clickhouse.raw_sql(
        f"CREATE OR REPLACE TABLE {table} ({declared}) ENGINE = MergeTree ORDER BY (flag_key, timestamp)"
        " SETTINGS allow_nullable_key = 1"
    )
    log = frame[[*COLUMNS]].astype(object)
    rows = log.where(log.notna(), None).to_numpy().tolist()
    clickhouse.con.insert(table, rows, column_names=[*COLUMNS])


def test_clickhouse_counts_as_duckdb_does(clickhouse, table):
    assert_equal_to_duckdb(IbisRecords(connection=clickhouse, table=table))


def test_clickhouse_keeps_first_exposures(clickhouse):
    clickhouse.raw_sql("CREATE DATABASE exd_state")

    def loaded(frame):
        load(clickhouse, "growing", frame)
        return IbisRecords(connection=clickhouse, table="growing", state_schema="exd_state")

    assert_nights_equal_a_recount(loaded)
    assert len(clickhouse.list_tables(database="exd_state")) <= 2
    clickhouse.raw_sql("DROP DATABASE exd_state")


def test_clickhouse_shows_whose_queries_they_are(clickhouse, table):
    """`log_comment` is in system.query_log, and the client keeps its own."""
    comment = "SELECT getSetting('log_comment')"
    clickhouse.con.set_client_setting("log_comment", "nightly")
    seen = []

    class Watching:
        name, table, con = clickhouse.name, clickhouse.table, clickhouse.con

        def execute(self, expression):
            seen.append(clickhouse.con.command(comment))
            return clickhouse.execute(expression)

    counted(IbisRecords(connection=Watching(), table=table))
    assert {*seen} == {"exd_dagster"}
    assert clickhouse.con.command(comment) == "nightly"
    clickhouse.con.set_client_setting("log_comment", "")
