"""Bins of every engine equal DuckDB's, number for number and fact for fact."""

import json
from datetime import timedelta
from functools import cache

import duckdb
import pandas as pd
import pytest

from exd_dagster.bins.frame import variant_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import PARTITION
from exd_dagster.telemetry.sources.duckdb import IbisRecords
from tests.bins.conftest import HOUR, NOW, START, cells, facts, flag, log, update
from tests.bins.engine_log import COLUMNS, FLAGS, awkward_log, in_duckdb
from tests.bins.engine_state import Recording, Replaying
from tests.telemetry.presets.samples import START as SAMPLED
from tests.telemetry.presets.samples import sample

ibis = pytest.importorskip("ibis")
ENGINES = ["snowflake", "bigquery", "databricks", "trino", "athena", "clickhouse", "postgres", "duckdb"]


def counted(source):
    store = BinStore(duckdb.connect())
    report = update(store, source, *FLAGS)
    assert [build.error for build in report.flags.values()] == [None] * len(FLAGS)
    return [(store.read(f).variants, cells(store.read(f)), facts(store.read(f))) for f in FLAGS], report


def assert_equal_to_duckdb(source):
    expected, expected_report = counted(awkward_log())
    found, report = counted(source)
    assert found == expected
    assert report.watermark == expected_report.watermark
    assert report.absent == expected_report.absent


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    awkward_log().to_parquet(path, coerce_timestamps="us", allow_truncated_timestamps=True)
    return path


@pytest.fixture(scope="module")
def spark(parquet):
    pyspark = pytest.importorskip("pyspark.sql")
    builder = pyspark.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    builder = builder.config("spark.sql.shuffle.partitions", "3")
    builder = builder.config("spark.sql.warehouse.dir", str(parquet.with_name("warehouse")))
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    session.read.parquet(str(parquet)).createOrReplaceTempView("flag_evaluations")
    yield ibis.pyspark.connect(session)
    session.stop()


@pytest.fixture(scope="module")
def postgres(postgres_server):
    postgres_server.load("flag_evaluations", awkward_log(), COLUMNS)
    return postgres_server.backend()


@pytest.mark.engines
def test_spark_counts_as_duckdb_does(spark):
    assert_equal_to_duckdb(IbisRecords(connection=spark, table="flag_evaluations"))


@pytest.mark.engines
def test_spark_reads_only_the_partitions_of_the_window(spark, tmp_path):
    frame = awkward_log()
    whole = frame.assign(**{PARTITION: frame["timestamp"].dt.date})
    old = whole.assign(timestamp=whole["timestamp"] - timedelta(days=30))
    old = old.assign(**{PARTITION: old["timestamp"].dt.date})
    for i, part in enumerate((whole, old)):
        part.to_parquet(tmp_path / f"{i}.parquet", coerce_timestamps="us", allow_truncated_timestamps=True)
    session = spark._session
    written = session.read.parquet(*(str(tmp_path / f"{i}.parquet") for i in range(2)))
    written.write.partitionBy(PARTITION).parquet(str(tmp_path / "table"))
    for folder in (tmp_path / "table").glob(f"{PARTITION}=2026-01*/*.parquet"):
        folder.write_text("no Parquet")
    session.read.schema(written.schema).parquet(str(tmp_path / "table")).createOrReplaceTempView("by_day")
    assert_equal_to_duckdb(IbisRecords(connection=spark, table="by_day"))


@pytest.mark.engines
def test_postgres_counts_as_duckdb_does(postgres):
    assert_equal_to_duckdb(IbisRecords(connection=postgres, table="flag_evaluations"))


def assert_nights_equal_a_recount(load):
    """Three nights: the last with new hours, a late row, and one row fewer; bins as DuckDB counts all of it.

    Args:
        load: a function that makes a frame the log, and returns it as records with a state.
    """
    whole = awkward_log()
    late = whole["timestamp"].between(START + HOUR, START + HOUR * 1.1)
    nights = ((whole[~late], 6), (whole[~late], 9), (whole.drop(index=whole.index[late][0]), 12))
    store, right = BinStore(duckdb.connect()), BinStore(duckdb.connect())
    for table, last in nights:
        report = update(store, load(table), *FLAGS, hours=(last - 3, last), lookback=2 * HOUR)
    assert not any(build.rebuilt or build.error for build in report.flags.values())
    update(right, nights[-1][0], *FLAGS, hours=(0, 12))
    for each in FLAGS:
        assert cells(store.read(each)) == cells(right.read(each))
        assert facts(store.read(each)) == facts(right.read(each))


@pytest.mark.engines
def test_postgres_keeps_first_exposures(postgres_server):
    engine = postgres_server.backend()
    engine.raw_sql("CREATE SCHEMA exd_state").close()
    engine.con.commit()

    def load(table):
        postgres_server.load("growing", table, COLUMNS)
        return IbisRecords(connection=engine, table="growing", state_schema="exd_state")

    assert_nights_equal_a_recount(load)
    assert len(engine.list_tables(database="exd_state")) <= 2


@pytest.mark.engines
def test_spark_keeps_first_exposures(spark, tmp_path):
    spark._session.sql("CREATE DATABASE IF NOT EXISTS exd_state")

    def load(table):
        path = tmp_path / f"{len(table)}.parquet"
        table.to_parquet(path, coerce_timestamps="us", allow_truncated_timestamps=True)
        spark._session.read.parquet(str(path)).createOrReplaceTempView("growing")
        return IbisRecords(connection=spark, table="growing", state_schema="exd_state")

    assert_nights_equal_a_recount(load)
    assert len([name for name in spark.list_tables(database="exd_state") if "exd_state" in name]) <= 2
    spark._session.sql("DROP DATABASE exd_state CASCADE")


@pytest.mark.engines
def test_postgres_sorts_no_log_and_shows_whose_queries_they_are(postgres):
    """The plans as PostgreSQL made them, with the name it would show; of names, the few counts are sorted."""
    explaining = Explaining(postgres)
    counted(IbisRecords(connection=explaining, table="flag_evaluations"))
    assert {*explaining.names} == {("exd_dagster",)}
    assert any("HashAggregate" in plan for plan in explaining.plans)
    assert not explaining.sorting()
    for setting in ("enable_sort", "enable_nestloop", "jit"):
        assert postgres.con.execute(f"SHOW {setting}").fetchone() == ("on",)


@pytest.mark.engines
def test_postgres_sorts_nothing_to_bring_first_exposures_up_to_date(postgres_server):
    """Nor does it go through one table for each row of another; a small log is read by one process."""
    postgres = postgres_server.backend()
    postgres.raw_sql("CREATE SCHEMA IF NOT EXISTS exd_explained").close()
    postgres.con.commit()
    explaining, store = Explaining(postgres), BinStore(duckdb.connect())
    postgres_server.load("growing", awkward_log(), COLUMNS)
    records = IbisRecords(connection=explaining, table="growing", state_schema="exd_explained")
    for last in (6, 9, 12):
        update(store, records, *FLAGS, hours=(last - 3, last), lookback=2 * HOUR)
    made = [plan for plan in explaining.plans if plan.startswith("TABLE")]
    assert len(made) > 5
    assert not explaining.sorting()
    assert not [plan for plan in explaining.plans if "Nested Loop" in plan]


class Explaining:
    """A PostgreSQL that keeps the plan of each statement, and the name it is run under."""

    def __init__(self, engine):
        self.engine, self.name, self.plans, self.names = engine, engine.name, [], []

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def execute(self, expression):
        self._explain(self.engine.compile(expression))
        return self.engine.execute(expression)

    def raw_sql(self, query):
        if query.startswith("CREATE TABLE"):
            self._explain(query.partition(" AS ")[2], "TABLE ")
        return self.engine.raw_sql(query)

    def _explain(self, query, kind=""):
        with self.engine.con.cursor() as cursor:
            plan = cursor.execute(f"EXPLAIN {query}").fetchall()
            self.names.append(cursor.execute("SELECT current_setting('application_name')").fetchone())
        self.plans.append(kind + "\n".join(line for (line,) in plan))

    def sorting(self):
        return [plan for plan in self.plans if "Sort" in plan and not plan.startswith("Limit")]


@pytest.mark.engines
def test_postgres_shares_the_count_by_hour_among_processes(postgres):
    """By its statistics of the time it expects as many groups as rows, and would not."""
    postgres.raw_sql(
        "CREATE TABLE long_log AS SELECT timestamptz '2026-03-01Z' + i * interval '1 second' AS timestamp, "
        "'checkout' AS flag_key, 'control' AS variant_key, i % 1000 AS unit_id_hash "
        "FROM generate_series(1, 300000) i"
    ).close()
    postgres.con.commit()
    postgres.con.execute("ANALYZE long_log")
    explaining = Explaining(postgres)
    update(BinStore(duckdb.connect()), IbisRecords(connection=explaining, table="long_log"), hours=(0, 72))
    postgres.con.rollback()
    assert "Partial HashAggregate" in explaining.plans[0]


@pytest.mark.engines
def test_spark_shows_whose_queries_they_are(spark):
    """Few groups are shuffled into few partitions; the session keeps its settings."""
    seen = []

    class Watching:
        name, table, _session = spark.name, spark.table, spark._session

        def execute(self, expression):
            seen.append(spark._session.sparkContext.getLocalProperty("spark.job.description"))
            partitions.add(spark._session.conf.get("spark.sql.shuffle.partitions"))
            return spark.execute(expression)

    partitions, own = set(), spark._session.conf.get("spark.sql.shuffle.partitions")
    counted(IbisRecords(connection=Watching(), table="flag_evaluations"))
    assert {*seen} == {"exd_dagster"}
    assert spark._session.sparkContext.getLocalProperty("spark.job.description") is None
    assert partitions == {"2", own}
    assert spark._session.conf.get("spark.sql.shuffle.partitions") == own


@pytest.mark.engines
def test_an_ibis_table_is_a_log(postgres):
    assert_equal_to_duckdb(postgres.table("flag_evaluations"))


@pytest.mark.engines
def test_a_table_that_lacks_a_column_is_named_with_the_fix(postgres):
    source = IbisRecords(connection=postgres, table="flag_evaluations", columns={"variant_key": "variant"})
    with pytest.raises(
        RecordsError, match=r"no column 'variant' for variant_key\. Did you mean 'variant_key'"
    ):
        counted(source)


@pytest.mark.engines
def test_an_engine_that_is_gone_is_named(postgres):
    with pytest.raises(RecordsError, match="postgres:nowhere cannot be read"):
        counted(IbisRecords(connection=postgres, table="nowhere"))


@cache
def queries_of(engine):
    """Return the SQL for an engine of all queries that updates of the awkward log need, with a state too."""
    return [*_recounting(engine), *_keeping(engine)]


def _keeping(engine):
    replaying = Replaying(engine, _kept())
    _three_nights(replaying)
    assert not replaying.results
    assert {name.rpartition("_")[2] for name in replaying.columns} == {"step", "slice", "delta", "base"}
    return replaying.queries


@cache
def _kept():
    twin = Recording(awkward_log())
    _three_nights(twin)
    return twin


def _three_nights(backend):
    """Of one flag, with a dimension and two phases: it takes seconds to write the SQL of all."""
    records = IbisRecords(connection=backend, table="flag_evaluations", state_schema="exd_state")
    store = BinStore(duckdb.connect())
    for hours in ((0, 12), (12, 13), (13, 15)):
        update(store, records, _reported()[0], hours=hours, lookback=HOUR)


def _reported():
    return [flag.model_copy(update={"dimensions": ("country",)}) for flag in FLAGS]


def _recounting(engine):
    twin, flags = Recording(awkward_log()), _reported()
    update(BinStore(duckdb.connect()), IbisRecords(connection=twin, table="flag_evaluations"), *flags)
    compiled = Replaying(engine, twin)
    update(BinStore(duckdb.connect()), IbisRecords(connection=compiled, table="flag_evaluations"), *flags)
    assert compiled.queries
    assert not compiled.results
    return compiled.queries


@pytest.mark.parametrize("engine", ENGINES)
def test_every_query_compiles_to_sql_that_the_engine_parses(engine):
    """None has a window function, for which an engine would sort the log."""
    sqlglot = pytest.importorskip("sqlglot")
    for sql in queries_of(engine):
        tree = sqlglot.parse_one(sql, read=engine)
        assert not [*tree.find_all(sqlglot.exp.Window)]


def test_the_queries_run_by_duckdb_itself_give_the_same_bins():
    assert_equal_to_duckdb(in_duckdb(awkward_log()))


def test_later_hours_of_an_engine_leave_the_earlier_ones_as_they_were():
    rows = [(hour, f"u{hour}", ("control", "treatment")[hour % 2]) for hour in range(200)]
    found = []
    for source in (log(*rows), in_duckdb(log(*rows))):
        store = BinStore(duckdb.connect())
        for night in range(8):
            update(store, source, hours=(24 * night, 24 * night + 24))
        found.append(cells(store.read(flag())))
    assert found[0] == found[1]
    assert len(found[1]) == 192


def test_segments_and_active_units_of_a_day_are_the_same_in_the_engine():
    log = awkward_log()
    source = in_duckdb(log)
    found = []
    for records in (log, source):
        store = BinStore(duckdb.connect())
        reported = [
            audit.model_copy(update={"dimensions": ("country", "score", "not there")}) for audit in FLAGS
        ]
        update(store, records, *reported)
        found.append([store.segments(audit, store.read(audit)).totals() for audit in reported])
    assert found[0] == found[1]
    assert {"country", "score"} <= set(found[0][0])
    assert "not there" not in found[0][0]
    days = [variant_bins(records, flag=FLAGS[0], freq="D", now=NOW) for records in (source, log)]
    pd.testing.assert_frame_equal(*days)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("preset", "kind"), [("opentelemetry-otlp", "jsonb"), ("posthog", "jsonb"), ("posthog", "text")]
)
def test_postgres_reads_fields_and_elements_of_json(postgres_server, preset, kind):
    """An export as it was loaded: one column for each of its own top names, objects as JSON."""
    made = sample(preset, units=30)
    nested = {name for row in made.rows for name, value in row.items() if isinstance(value, (dict, list))}
    rows = [{k: json.dumps(v) if k in nested else v for k, v in row.items()} for row in made.rows]
    columns = {name: kind if name in nested else "text" for row in rows for name in row}
    postgres_server.load("export", pd.DataFrame(rows), columns)
    records = IbisRecords(connection=postgres_server.backend(), table="export", preset=preset)
    bins = variant_bins(records, flag=made.flag, start=SAMPLED, now=SAMPLED + timedelta(days=4))
    totals = bins.groupby("variant")["new_units"].sum()
    assert {name: n for name, n in totals.items() if n} == made.units
