"""What counting in Spark and PostgreSQL costs, beside the three plain queries that it needs at least.

    python -m benchmarks.bench_engines     1e7 rows in Spark, 1e6 and 1e7 in PostgreSQL; ROWS sets them all

The plain queries, as the engine itself runs them: GROUP BY unit; GROUP BY unit, hour; count(DISTINCT id).
With first exposures kept in the engine, the next hour is compared with a full build that keeps them too.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb

from benchmarks import line
from benchmarks.bench_logs import END, NOW, START, write_log
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Timing
from exd_dagster.telemetry.sources.duckdb import IbisRecords

CHECKOUT = FlagAudit(key="checkout", start=START, split={"control": 0.5, "treatment": 0.5})
BARE = (
    "SELECT count(*), max(first) FROM (SELECT unit_id_hash, min(timestamp) AS first FROM {0} GROUP BY 1) t",
    "SELECT count(*), max(n) FROM (SELECT unit_id_hash, date_trunc('hour', timestamp) AS hour, count(*) AS n "
    "FROM {0} GROUP BY 1, 2) t",
    "SELECT count(DISTINCT evaluation_id) FROM {0}",
)
TABLE = "flag_evaluations"
STATE = "exd_state"
HOUR = timedelta(hours=1)
TRIES = 3
"""Hours one after the other, of which the fastest is told: Spark compiles what it runs for the first time."""


def seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


@contextmanager
def in_spark(rows: int) -> Iterator[tuple[Any, Callable[[str], object]]]:
    """Yield an Ibis backend of a local Spark with the log as a table, and what runs SQL there."""
    import ibis
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.warehouse.dir", tempfile.mkdtemp())
    builder = builder.config("spark.driver.memory", "6g").config("spark.driver.host", "127.0.0.1")
    session = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.read.parquet(write_log(rows)).createOrReplaceTempView(TABLE)
    session.sql(f"CREATE DATABASE IF NOT EXISTS {STATE}")
    try:
        yield ibis.pyspark.connect(session), lambda sql: session.sql(sql).collect()
    finally:
        session.stop()


@contextmanager
def in_postgres(rows: int) -> Iterator[tuple[Any, Callable[[str], object]]]:
    """Yield the same of a PostgreSQL with its default settings, its log with an index on the time."""
    import psycopg

    from tests.servers.postgres import running

    kinds = (
        "timestamp TIMESTAMPTZ, variant_key TEXT, unit_id_hash BIGINT, evaluation_id TEXT, flag_key TEXT, "
    )
    kinds += "namespace TEXT, environment TEXT, manifest_version BIGINT, evaluation_reason TEXT, "
    kinds += "ingested_at TIMESTAMPTZ"
    names = ", ".join(kind.split()[0] for kind in kinds.split(", "))
    with running() as server, psycopg.connect(**server.address, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {TABLE} ({kinds}); CREATE SCHEMA {STATE}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log.csv")
            duckdb.execute(f"COPY (SELECT {names} FROM '{write_log(rows)}') TO '{path}' (HEADER false)")
            into = f"COPY {TABLE} ({names}) FROM STDIN (FORMAT csv)"
            with path.open("rb") as text, connection.cursor().copy(into) as copy:
                while block := text.read(1 << 20):
                    copy.write(block)
        connection.execute(f"CREATE INDEX ON {TABLE} (timestamp)")
        connection.execute(f"VACUUM ANALYZE {TABLE}")
        yield server.backend(), lambda sql: connection.execute(sql).fetchall()


ENGINES = {"spark": in_spark, "postgres": in_postgres}


def child(engine: str, rows: int) -> None:
    """Measure one engine and tell its figures; in a process of its own, for its memory."""
    with ENGINES[engine](rows) as (backend, run):
        records = IbisRecords(connection=backend, table=TABLE)
        run(BARE[2].format(f"(SELECT * FROM {TABLE} LIMIT 1000) s"))
        bare = [seconds(lambda sql=sql: run(sql.format(TABLE))) for sql in BARE]  # type: ignore[misc]
        store = BinStore(duckdb.connect())
        full = seconds(lambda: store.update(records, [CHECKOUT], START, END, now=NOW))
        again = [seconds(lambda sql=sql: run(sql.format(TABLE))) for sql in BARE]  # type: ignore[misc]
        three = sum(map(min, bare, again))
        target = {"spark": 1.5, "postgres": 2.0}[engine]
        line.tell(
            f"full build in {engine}, {rows:.0e} rows, vs its three bare queries",
            full,
            peer=three,
            target=target,
        )
        _next_hour(engine, records.model_copy(update={"state_schema": STATE}), rows, three)


def _next_hour(engine: str, records: IbisRecords, rows: int, three: float) -> None:
    """Measure a full build that keeps first exposures, up to the last hours, and then these one by one."""
    store, last = BinStore(duckdb.connect()), END - 2 * TRIES * HOUR
    first = seconds(lambda: store.update(records, [CHECKOUT], START, last, now=NOW))
    name = f"in {engine} with a state, {rows:.0e} rows"
    line.tell(f"full build {name}, vs its three bare queries", first, peer=three)
    for lookback, target in ((0, 1 / 15), (48, None)):
        timing, hours = Timing(lookback=lookback * HOUR), []
        for _ in range(TRIES):
            ends = last, last + HOUR
            hours.append(
                seconds(lambda e=ends, t=timing: store.update(records, [CHECKOUT], *e, timing=t, now=NOW))
            )
            last += HOUR
        told = f"next hour {name}, {lookback} h lookback, vs the full build"
        line.tell(told, min(hours), peer=first, target=target)


def main() -> None:
    told = set[tuple[str, int]]()
    for engine, rows, needs in (
        ("spark", 1e7, "pyspark"),
        ("postgres", 1e6, "psycopg"),
        ("postgres", 1e7, "psycopg"),
    ):
        size = int(float(os.environ.get("ROWS", rows)))
        if (engine, size) in told:
            continue
        told.add((engine, size))
        if find_spec(needs) is None or find_spec("ibis") is None:
            line.skip(f"full build in {engine}", f"{needs} or ibis is not installed")
            continue
        command = [sys.executable, "-m", "benchmarks.bench_engines", engine, str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        line.repeat(done.stdout)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], int(sys.argv[2]))
    else:
        main()
