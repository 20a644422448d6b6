"""Fields inside columns are named by path, on files, frames, tables and engines alike."""

import json

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exd_dagster as exd
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.paths import parse_path
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords

EVENT = {
    "timestamp": "2026-03-01T09:00:00Z",
    "distinct_id": "u",
    "properties": {"$feature_flag": "f", "$feature_flag_response": "a", "nested": {"id": "u"}},
    "attributes": {"feature_flag.key": "f", "variant": "a"},
    "params": [{"key": "other", "value": {"s": "x"}}, {"key": "flag", "value": {"s": "f"}}],
    "ids": ["v", "u"],
}
PATHS = {
    "a field of an object": {"flag_key": "properties.$feature_flag"},
    "a field of an object inside an object": {"unit_id_hash": "properties.nested.id"},
    "a name with dots in double quotes": {"flag_key": 'attributes."feature_flag.key"'},
    "a name with dots in brackets": {"flag_key": "attributes['feature_flag.key']"},
    "the record with a key": {"flag_key": "params[key=flag].value.s"},
    "an element of a list": {"unit_id_hash": "ids[1]"},
    "an element from the end": {"unit_id_hash": "ids[-1]"},
}
BASE = {
    "flag_key": "properties.$feature_flag",
    "variant_key": "properties.$feature_flag_response",
    "unit_id_hash": "distinct_id",
}


def _ndjson(path, columns):
    path.write_text(json.dumps(EVENT) + "\n" + json.dumps({"timestamp": EVENT["timestamp"]}) + "\n")
    return exd.FileRecords(path=path, format="ndjson", columns=columns)


def _texts():
    return {name: [json.dumps(v) if isinstance(v, (dict, list)) else v] for name, v in EVENT.items()}


def _csv(path, columns):
    pd.DataFrame(_texts()).to_csv(path, index=False)
    return exd.FileRecords(path=path, format="csv", columns=columns)


def _parquet(path, columns):
    pq.write_table(pa.Table.from_pylist([EVENT]), path)
    return exd.ParquetRecords(path=path, columns=columns)


def _parquet_of_text(path, columns):
    pd.DataFrame(_texts()).to_parquet(path)
    return exd.ParquetRecords(path=path, columns=columns)


def _maps(path, columns):
    maps = pa.map_(pa.string(), pa.string())
    rows = {name: [value] for name, value in EVENT.items()}
    rows["attributes"] = pa.array([list(EVENT["attributes"].items())], type=maps)
    pq.write_table(pa.table(rows), path)
    return exd.ParquetRecords(path=path, columns=columns)


def _table(path, columns):
    with duckdb.connect(str(path)) as connection:
        connection.register("event", pa.Table.from_pylist([EVENT]))
        connection.execute("CREATE TABLE log AS FROM event")
    return exd.TableRecords(table="log", database=path, columns=columns)


SOURCES = {
    "NDJSON": _ndjson,
    "CSV with JSON": _csv,
    "Parquet": _parquet,
    "Parquet with JSON text": _parquet_of_text,
    "Parquet with maps": _maps,
    "a DuckDB table": _table,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", PATHS)
def test_field_is_read_by_its_path(path, source, tmp_path):
    records = SOURCES[source](tmp_path / "log", {**BASE, **PATHS[path]})
    assert exd.variant_bins(records, flag="f")["new_units"].sum() == 1


@pytest.mark.parametrize("path", PATHS)
def test_field_of_an_object_in_a_dataframe_is_read_by_its_path(path):
    frame = pd.DataFrame({name: [value] for name, value in EVENT.items()})
    records = DataFrameRecords(frame=frame, columns={**BASE, **PATHS[path]})
    assert exd.variant_bins(records, flag="f")["new_units"].sum() == 1


@pytest.mark.parametrize("path", [path for path in PATHS if "end" not in path])
def test_field_is_read_by_its_path_in_an_engine(path):
    engine = ibis.duckdb.connect()
    event = {**EVENT, "timestamp": pd.Timestamp(EVENT["timestamp"]).tz_localize(None)}
    engine.con.register("event", pa.Table.from_pylist([event]))
    engine.con.execute("CREATE TABLE log AS FROM event")
    records = exd.IbisRecords(connection=engine, table="log", columns={**BASE, **PATHS[path]})
    bins = exd.variant_bins(records, flag="f", start="2026-03-01T09:00Z")
    assert bins["new_units"].sum() == 1


def test_column_of_that_very_name_goes_before_the_path(tmp_path):
    row = {**EVENT, "properties.$feature_flag_response": "flat"}
    for form in ("ndjson", "parquet"):
        path = tmp_path / f"log.{form}"
        if form == "ndjson":
            path.write_text(json.dumps(row))
        else:
            pq.write_table(pa.Table.from_pylist([row]), path)
        kind = exd.FileRecords if form == "ndjson" else exd.ParquetRecords
        assert set(exd.variant_bins(kind(path=path, columns=BASE), flag="f")["variant"]) == {"flat"}


def test_row_without_the_object_is_a_row_without_the_value(tmp_path):
    records = _ndjson(tmp_path / "log.ndjson", {**BASE, "unit_id_hash": "properties.nested.id"})
    lines = [
        EVENT,
        {**EVENT, "properties": None},
        {**EVENT, "properties": "text"},
        {**EVENT, "properties": [1]},
    ]
    (tmp_path / "log.ndjson").write_text("\n".join(map(json.dumps, lines)))
    assert exd.variant_bins(records, flag="f")["new_units"].sum() == 1


@pytest.mark.parametrize("source", ["NDJSON", "Parquet"])
def test_path_that_no_row_has_is_named_with_the_nearest_field(source, tmp_path):
    records = SOURCES[source](tmp_path / "log", {**BASE, "variant_key": "properties.$feature_flag_respons"})
    with pytest.raises(RecordsError, match=r"'properties\.\$feature_flag_respons'.*response"):
        exd.variant_bins(records, flag="f")


def test_filters_and_dimensions_read_paths(tmp_path):
    records = _ndjson(tmp_path / "log.ndjson", BASE)
    for value, units in (("u", 1), ("other", 0)):
        flag = exd.FlagAudit(key="f", start="2026-03-01", include={"properties.nested.id": [value]})
        assert exd.variant_bins(records, flag=flag)["new_units"].sum() == units


@pytest.mark.parametrize("text", ["plain", "two..dots", ".first", "last.", "open[", "a[]", "with space", ""])
def test_plain_names_are_no_paths(text):
    assert parse_path(text) is None
