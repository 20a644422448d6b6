"""Logs as Spark writes them: every type of timestamp, folders of partitions, and its marker of success."""

from datetime import timedelta

import pytest

import exd_dagster as exd
from tests.telemetry.test_writers import ROWS, STAMPS, assert_counted

pytestmark = pytest.mark.engines
OFF = "spark.sql.session.timeZone"


@pytest.fixture(scope="module")
def session():
    pyspark = pytest.importorskip("pyspark.sql")
    builder = pyspark.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    session = builder.config(OFF, "America/St_Johns").getOrCreate()
    yield session
    session.stop()


def frame(session):
    """Return the rows of `test_writers`, their instants as Spark's own type."""
    from pyspark.sql.functions import col, timestamp_millis

    rows = [
        (int(stamp.timestamp() * 1000), *(values[i] for values in ROWS.values()))
        for i, stamp in enumerate(STAMPS)
    ]
    found = session.createDataFrame(rows, ["timestamp", *ROWS])
    return found.withColumn("timestamp", timestamp_millis(col("timestamp")))


@pytest.mark.parametrize("kind", ["INT96", "TIMESTAMP_MICROS", "TIMESTAMP_MILLIS"])
def test_parquet_of_spark_is_read_whatever_its_type_of_timestamp(session, kind, tmp_path):
    session.conf.set("spark.sql.parquet.outputTimestampType", kind)
    frame(session).repartition(3).write.parquet(str(tmp_path / "log"))
    assert (tmp_path / "log" / "_SUCCESS").exists()
    assert_counted(str(tmp_path / "log" / "*.parquet"))


def test_timestamps_without_a_zone_are_of_the_zone_that_is_named(session, tmp_path):
    from pyspark.sql.functions import col

    session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    local = frame(session).withColumn("timestamp", col("timestamp").cast("timestamp_ntz"))
    local.write.parquet(str(tmp_path / "log"))
    records = exd.ParquetRecords(path=str(tmp_path / "log" / "*.parquet"), time_zone="America/St_Johns")
    assert_counted(records)


@pytest.mark.parametrize("form", ["parquet", "json", "csv"])
def test_partitions_by_day_are_read_as_one_log(session, form, tmp_path):
    """The folder `dt=2026-03-01` is no column of the files; another day is a log of its own."""
    from pyspark.sql.functions import col, to_date

    session.conf.set("spark.sql.session.timeZone", "UTC")
    try:
        one = frame(session)
        both = one.union(one.withColumn("timestamp", col("timestamp") + timedelta(days=1)))
        writer = both.withColumn("dt", to_date(col("timestamp"))).write.partitionBy("dt")
        if form == "csv":
            writer = writer.option("header", "true")
        writer.format(form).save(str(tmp_path / "log"))
    finally:
        session.conf.set(OFF, "America/St_Johns")
    assert_counted(str(tmp_path / "log" / "dt=2026-03-01" / f"*.{form}"))
    whole = exd.variant_bins(str(tmp_path / "log" / "*" / f"*.{form}"), flag="f")
    assert whole["evaluations"].sum() == 12


def test_decimal_and_integer_names_of_spark_are_one_name(session, tmp_path):
    from pyspark.sql.functions import col

    found = frame(session).withColumn(
        "variant_key", (col("variant_key") == "a").cast("int").cast("decimal(10,0)")
    )
    found.write.parquet(str(tmp_path / "log"))
    assert set(exd.variant_bins(str(tmp_path / "log" / "*.parquet"), flag="f")["variant"]) == {"0", "1"}
