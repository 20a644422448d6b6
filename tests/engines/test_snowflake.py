"""A stand-in for Snowflake counts as DuckDB does: fakesnow's server, behind Snowflake's connector and Ibis.

It translates Snowflake's SQL to DuckDB's, so it shows that Ibis' backend, the connector and the form of each
query fit together, not how Snowflake itself evaluates them.
"""

import sys
from collections.abc import Iterator

import pytest

from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, awkward_log
from tests.bins.test_engines import assert_equal_to_duckdb, assert_nights_equal_a_recount

ibis = pytest.importorskip("ibis")
fakesnow = pytest.importorskip("fakesnow", reason="it has an environment of its own: run `make engines`")
pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result"),
]

serve = fakesnow.server  # importing its module takes the function's name


@pytest.fixture(scope="module")
def snowflake() -> Iterator[object]:
    """The backend, connected to a server in a thread, which ignores settings of the session."""
    connector = pytest.importorskip("snowflake.connector")
    with (
        serve(session_parameters={"nop_regexes": ["^ALTER SESSION"]}) as address,
        connector.connect(**address, database="TELEMETRY", schema="PUBLIC") as connection,
    ):
        yield ibis.snowflake.from_connection(connection, create_object_udfs=False)


@pytest.fixture(params=["TIMESTAMP_NTZ", "TIMESTAMP_TZ"])
def table(snowflake, request) -> str:
    """A table of the log, whose times have this type; rows are written past the server, for speed."""
    load(snowflake, request.param, awkward_log(), request.param)
    return request.param


def load(snowflake, table, frame, time="TIMESTAMP_NTZ"):
    """Write a frame as a table."""
    kinds = {"string": "VARCHAR", "timestamp('UTC')": time, "int64": "BIGINT"}
    declared = ", ".join(f'"{name}" {kinds[kind]}' for name, kind in COLUMNS.items())
    snowflake.raw_sql(f'CREATE OR REPLACE TABLE "{table}" ({declared})').close()
    with sys.modules["fakesnow.server"].shared_fs.duck_conn.cursor() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("log", frame[[*COLUMNS]])
        database.execute(f'INSERT INTO TELEMETRY.PUBLIC."{table}" FROM log')


def test_a_stand_in_for_snowflake_counts_as_duckdb_does(snowflake, table):
    assert_equal_to_duckdb(IbisRecords(connection=snowflake, table=table))


def test_a_stand_in_for_snowflake_keeps_first_exposures(snowflake):
    snowflake.raw_sql('CREATE SCHEMA "exd_state"').close()
    snowflake.raw_sql("USE SCHEMA PUBLIC").close()  # a new schema becomes the session's
    with sys.modules["fakesnow.server"].shared_fs.duck_conn.cursor() as database:
        # Snowflake's has a sign; that of DuckDB does not fit the connector
        signed = "(system.main.hash(x)::HUGEINT - (1::HUGEINT << 63))::BIGINT"
        database.execute(f"CREATE MACRO TELEMETRY.PUBLIC.hash(x) AS {signed}")

    def loaded(frame):
        load(snowflake, "growing", frame)
        return IbisRecords(connection=snowflake, table="growing", state_schema="exd_state")

    assert_nights_equal_a_recount(loaded)
    assert len(snowflake.list_tables(database="exd_state")) <= 2
