"""Logs in tables of Delta Lake and Iceberg, in a folder and on object storage, written by other programs."""

import json
import os
import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import exd_dagster as exd
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import RecordsError
from tests.bins.conftest import HOUR, START, cells, flag, log, update
from tests.bins.engine_log import COLUMNS, awkward_log
from tests.bins.test_engines import assert_equal_to_duckdb

pa = pytest.importorskip("pyarrow")
pyroaring = pytest.importorskip("pyroaring", reason="run `make lake`")
pytestmark = pytest.mark.lake
NOW = START + 24 * 30 * HOUR
_serial = count()


def arrow(frame: pd.DataFrame) -> "pa.Table":
    """Return a frame with times in microseconds, which both formats hold."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    instant = pa.timestamp("us", "UTC")
    fields = [f.with_type(instant) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


class Delta:
    """A table of Delta Lake that delta-rs writes, a folder for each flag."""

    def __init__(self, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        self.folder = f"{folder}/delta"
        self.records = exd.DeltaRecords(path=self.folder)

    def append(self, frame: pd.DataFrame) -> None:
        from deltalake import write_deltalake

        write_deltalake(self.folder, arrow(frame), mode="append", partition_by=["flag_key"])

    def delete(self, unit: str) -> None:
        from deltalake import DeltaTable

        DeltaTable(self.folder).delete(f"unit_id_hash = '{unit}'")


class Iceberg:
    """A table of Iceberg that PyIceberg writes, in a catalog."""

    def __init__(self, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from pyiceberg.catalog.memory import InMemoryCatalog

        warehouse = folder if "://" in folder else f"file://{folder}"
        endpoint = {"s3.endpoint": os.environ["AWS_ENDPOINT_URL"]} if "://" in folder else {}
        self.catalog = InMemoryCatalog("prod", warehouse=warehouse, **endpoint)
        self.catalog.create_namespace("telemetry")
        monkeypatch.setattr("pyiceberg.catalog.load_catalog", {"prod": self.catalog}.__getitem__)
        self.records = exd.IcebergRecords(table="telemetry.log", catalog="prod")

    def append(self, frame: pd.DataFrame) -> None:
        table = self.catalog.create_table_if_not_exists("telemetry.log", arrow(frame).schema)
        table.append(arrow(frame))

    def delete(self, unit: str) -> None:
        self.catalog.load_table("telemetry.log").delete(f"unit_id_hash = '{unit}'")


@pytest.fixture(params=["folder", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path)
    return f"{request.getfixturevalue('s3')}/lakehouse_{next(_serial)}"


@pytest.fixture(params=[Delta, Iceberg])
def table(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Delta | Iceberg]:
    pytest.importorskip("deltalake")
    pytest.importorskip("pyiceberg")
    return lambda folder: request.param(folder, monkeypatch)


def test_a_table_is_counted_as_duckdb_counts_its_rows(table, folder):
    made = table(folder)
    frame = awkward_log()[[*COLUMNS]]
    made.append(frame[:2000])
    made.append(frame[2000:])
    assert_equal_to_duckdb(made.records)


def test_nights_late_rows_and_removed_rows_give_what_a_recount_gives(table, tmp_path):
    made, store = table(str(tmp_path)), BinStore(duckdb.connect())
    rows = [(hour + 0.5, f"u{hour}", ("control", "treatment")[hour % 2]) for hour in range(144)]
    for night in range(5):
        made.append(log(*rows[24 * night : 24 * night + 24]))
        update(store, made.records, hours=(24 * night, 24 * night + 24), now=NOW)
    made.append(log((5, "late", "control"), *rows[120:]))
    made.delete("u3")
    update(store, made.records, hours=(120, 144), now=NOW)
    anew = BinStore(duckdb.connect())
    left = log(*(row for row in rows if row[1] != "u3"), (5, "late", "control"))
    update(anew, left, hours=(0, 144), now=NOW)
    assert cells(store.read(flag())) == cells(anew.read(flag()))


def test_rows_behind_a_deletion_vector_leave_no_trace_however_often_it_grows(tmp_path):
    """As Databricks deletes; the file itself stays, long before the lookback."""
    from deltalake import write_deltalake

    folder, store = tmp_path / "delta", BinStore(duckdb.connect())
    records = exd.DeltaRecords(path=folder)
    write_deltalake(
        folder, arrow(log(*((1, f"u{i}", "control") for i in range(6)), (9 * 24, "end", "control")))
    )
    update(store, records, now=NOW)
    for number, gone in enumerate(([1, 2], [1, 2, 5]), start=1):
        delete_by_vector(folder, number, gone)
        update(store, records, hours=(192, 216), now=NOW)
        assert cells(store.read(flag())) == {(1, "control"): (6 - len(gone),) * 3}


def delete_by_vector(folder: Path, version: int, rows: list[int]) -> None:
    """Commit an inline deletion vector for the table's only file, in the format of Delta's protocol."""
    commits = sorted((folder / "_delta_log").glob("*.json"))
    adds = [json.loads(line) for commit in commits for line in commit.read_text().splitlines()]
    add = [each["add"] for each in adds if "add" in each][-1]
    bitmap = pyroaring.BitMap(rows).serialize()
    vector = struct.pack("<IqI", 1681511377, 1, 0) + bitmap
    deleted = {"storageType": "i", "pathOrInlineDv": z85(vector), "sizeInBytes": len(vector)}
    removed = {name: add[name] for name in ("path", "deletionVector") if name in add}
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    actions = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {**removed, "dataChange": True, "deletionTimestamp": add["modificationTime"]}},
        {"add": {**add, "deletionVector": {**deleted, "cardinality": len(rows)}}},
    ]
    (folder / "_delta_log" / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


def z85(content: bytes) -> str:
    """Encode bytes as ZeroMQ's RFC 32 does, padded to four."""
    content += bytes(-len(content) % 4)
    numbers = (int.from_bytes(content[i : i + 4], "big") for i in range(0, len(content), 4))
    return "".join(_Z85[number // 85**place % 85] for number in numbers for place in range(4, -1, -1))


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def test_the_newest_metadata_file_names_a_table_without_a_catalog(tmp_path, monkeypatch):
    made = Iceberg(str(tmp_path), monkeypatch)
    made.append(log((1, "a", "control"), (30, "end", "control")))
    newest = made.catalog.load_table("telemetry.log").metadata_location
    store = BinStore(duckdb.connect())
    update(store, exd.IcebergRecords(table=newest), now=NOW)
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1)}


@pytest.mark.parametrize("kind", [exd.DeltaRecords, exd.IcebergRecords])
def test_a_table_that_is_not_there_is_named(kind, tmp_path):
    name = "path" if kind is exd.DeltaRecords else "table"
    with pytest.raises(RecordsError, match="nowhere cannot be read"):
        update(BinStore(duckdb.connect()), kind(**{name: tmp_path / "nowhere"}))


def test_a_catalog_that_is_not_configured_is_named():
    with pytest.raises(RecordsError, match=r"nowhere:telemetry\.log cannot be read: URI missing"):
        update(BinStore(duckdb.connect()), exd.IcebergRecords(table="telemetry.log", catalog="nowhere"))
