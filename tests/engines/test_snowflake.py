"""A stand-in for Snowflake counts as DuckDB does: fakesnow's server, behind Snowflake's connector and Ibis.

It translates Snowflake's SQL to DuckDB's, so it shows that Ibis' backend, the connector and the form of each
query fit together, not how Snowflake itself evaluates them.
"""

import sys
from collections.abc import Iterator

import pytest

from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, awkward_log
from tests.bins.test_engines import assert_equal_to_duckdb

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
    kinds = {"string": "VARCHAR", "timestamp('UTC')": request.param, "int64": "BIGINT"}
    declared = ", ".join(f'"{name}" {kinds[kind]}' for name, kind in COLUMNS.items())
    snowflake.raw_sql(f'CREATE TABLE "{request.param}" ({declared})').close()
    with sys.modules["fakesnow.server"].shared_fs.duck_conn.cursor() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("log", awkward_log()[[*COLUMNS]])
        database.execute(f'INSERT INTO TELEMETRY.PUBLIC."{request.param}" FROM log')
    return request.param


def test_a_stand_in_for_snowflake_counts_as_duckdb_does(snowflake, table):
    assert_equal_to_duckdb(IbisRecords(connection=snowflake, table=table))
