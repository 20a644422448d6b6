"""Columns whose names differ in case only, and the index of a DataFrame: each is read as it is called."""

import json

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exd_dagster.bins.store import BinStore
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.sources.duckdb import as_records
from tests.bins.conftest import cells, flag, log, update

ROWS = [(1, "a", "control"), (1.1, "b", "control"), (1.2, "c", "control"), (30, "end", "control")]
TABLE = log(*ROWS).assign(device=["ios", "web", "web", "web"], Device=["X", "X", "Y", "Y"])


def _frame(folder):
    return TABLE


def _arrow(folder):
    return pa.table({name: TABLE[name].tolist() for name in TABLE})


def _parquet(folder):
    pq.write_table(_arrow(folder), folder / "log.parquet")
    return folder / "log.parquet"


def _csv(folder):
    TABLE.to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


def _lines():
    return [json.dumps(row, default=str) for row in TABLE.to_dict("records")]


def _ndjson(folder):
    (folder / "log.ndjson").write_text("\n".join(_lines()))
    return folder / "log.ndjson"


def _marked(folder):
    (folder / "log.ndjson").write_text("\n".join(_lines()), encoding="utf-8-sig")
    return folder / "log.ndjson"


def _array(folder):
    (folder / "log.json").write_text(f"[{','.join(_lines())}]")
    return folder / "log.json"


WRITERS = [_frame, _arrow, _parquet, _csv, _ndjson, _marked, _array]


def counted(source, **declared):
    store = BinStore(duckdb.connect())
    audited = flag(**declared)
    update(store, as_records(source), audited)
    return cells(store.read(audited))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("include", "units"),
    [({"device": ["web"]}, 2), ({"Device": ["X"]}, 2), ({"device": ["web"], "Device": ["X"]}, 1)],
)
def test_columns_that_differ_in_case_only_are_each_read_as_spelled(writer, include, units, tmp_path):
    assert counted(writer(tmp_path), include=include) == {(1, "control"): (units,) * 3}


@pytest.mark.parametrize("columns", [["timestamp"], ["flag_key", "timestamp"]])
def test_levels_of_an_index_are_columns(columns):
    assert counted(log(*ROWS).set_index(columns)) == {(1, "control"): (3, 3, 3)}


def test_a_frame_whose_instants_are_an_index_without_a_name_says_where_they_are_and_each_column_once():
    table = log(*ROWS)
    table.index = pd.DatetimeIndex(table.pop("timestamp").to_numpy())
    with pytest.raises(RecordsError, match="Known: flag_key, index, unit_id_hash, variant_key"):
        counted(table)
