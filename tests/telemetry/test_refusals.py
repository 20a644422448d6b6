"""What other libraries refuse is said in words of ours, with what, where and the fix."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exd_dagster as exd
from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit
from exd_dagster.errors import ConfigError, RecordsError

START = datetime(2026, 1, 5, tzinfo=timezone.utc)
NOW = START + timedelta(days=2)
FLAG = FlagAudit(key="f", start=START, split={"a": 0.5, "b": 0.5})


def count(source):
    return BinStore(duckdb.connect()).update(source, [FLAG], START, NOW, now=NOW)


def records(n=100):
    times = [START + timedelta(minutes=5 * i) for i in range(n)]
    units = [f"u{i}" for i in range(n)]
    return pd.DataFrame(
        {"timestamp": times, "flag_key": "f", "variant_key": ["a", "b"] * (n // 2), "unit_id_hash": units}
    )


def test_a_day_beyond_what_a_timestamp_holds_costs_its_row_alone(tmp_path):
    days = pa.array([20458] * 50 + [2**31 - 5] * 50, pa.int32()).cast(pa.date32())
    table = pa.Table.from_pandas(records().drop(columns="timestamp")).append_column("timestamp", days)
    pq.write_table(table, tmp_path / "log.parquet")
    report = count(str(tmp_path / "log.parquet"))
    assert report.quarantined == {"unreadable_time": 50}
    assert report.flags[FLAG.id].new_units == 50


def test_text_of_another_encoding_is_said_to_be_so(tmp_path):
    frame = records()
    frame["variant_key"] = ["a", "ä"] * 50
    frame.to_csv(tmp_path / "log.csv", index=False, encoding="latin-1")
    (unreadable,) = count(str(tmp_path / "log.csv")).unreadable
    assert unreadable.lines == 50
    assert "not UTF-8 text; convert the file" in str(unreadable)


def test_a_damaged_gzip_file_is_named(tmp_path):
    import gzip

    content = bytearray(gzip.compress(records(2000).to_csv(index=False).encode()))
    content[100:110] = bytes(10)
    (tmp_path / "log.csv.gz").write_bytes(content)
    with pytest.raises(RecordsError, match=r"log\.csv\.gz: cannot be read"):
        count(str(tmp_path / "log.csv.gz"))


def test_a_path_from_the_environment_is_read_from_it(monkeypatch, tmp_path):
    records().to_parquet(tmp_path / "log.parquet")
    monkeypatch.setenv("EVALUATION_LOG", str(tmp_path / "log.parquet"))
    assert exd.ParquetRecords(path=dg.EnvVar("EVALUATION_LOG")).place == str(tmp_path / "log.parquet")


def test_a_path_of_an_unset_environment_variable_is_refused_by_its_name(monkeypatch):
    monkeypatch.delenv("EVALUATION_LOG", raising=False)
    with pytest.raises(ConfigError, match="the environment variable EVALUATION_LOG is not set"):
        exd.ParquetRecords(path=dg.EnvVar("EVALUATION_LOG"))


def test_a_lazy_frame_is_refused_with_the_call_that_reads_it():
    polars = pytest.importorskip("polars")
    with pytest.raises(RecordsError, match=r"frame\.collect\(\)"):
        count(polars.LazyFrame({"timestamp": [1]}))


@pytest.mark.parametrize("name", ["log.csv", "log.ndjson"])
def test_a_condition_on_a_column_that_is_not_there_is_refused_by_its_name(name, tmp_path):
    frame = records().assign(timestamp=lambda log: log["timestamp"].astype(str))
    text = frame.to_csv(index=False) if name == "log.csv" else frame.to_json(orient="records", lines=True)
    (tmp_path / name).write_text(text)
    source = exd.FileRecords(path=tmp_path / name, where={"event": "exposure"})
    with pytest.raises(RecordsError, match="it has no field 'event', which identifies exposures"):
        count(source)


def test_a_table_of_sqlite_is_refused_as_one(tmp_path):
    with closing(sqlite3.connect(tmp_path / "log.db")) as database:
        database.execute("CREATE TABLE log (timestamp TEXT)")
    with pytest.raises(RecordsError, match=r"log\.db is a database of SQLite; give a DuckDB file"):
        count(exd.TableRecords(table="log", database=str(tmp_path / "log.db")))
