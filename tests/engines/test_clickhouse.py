"""ClickHouse's own engine counts as DuckDB does, in this process and through Ibis' backend for its server."""

from collections.abc import Iterator

import pytest

from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.engine_log import COLUMNS, awkward_log
from tests.bins.test_engines import assert_equal_to_duckdb

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
    kinds = {
        "string": TEXTS[request.param],
        "timestamp('UTC')": "DateTime64(3, 'UTC')",
        "int64": "Int64",
    }
    declared = ", ".join(f"{name} {kinds[kind]}" for name, kind in COLUMNS.items())
    clickhouse.raw_sql(
        f"CREATE TABLE {request.param} ({declared}) ENGINE = MergeTree ORDER BY (flag_key, timestamp)"
        " SETTINGS allow_nullable_key = 1"
    )
    log = awkward_log()[[*COLUMNS]].astype(object)
    rows = log.where(log.notna(), None).to_numpy().tolist()
    clickhouse.con.insert(request.param, rows, column_names=[*COLUMNS])
    yield request.param
    clickhouse.raw_sql(f"DROP TABLE {request.param}")


def test_clickhouse_counts_as_duckdb_does(clickhouse, table):
    assert_equal_to_duckdb(IbisRecords(connection=clickhouse, table=table))
