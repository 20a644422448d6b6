"""Paths that people give: files of any name are found, and what is no file is reported with the fix."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exd_dagster as exd
from exd_dagster.errors import RecordsError

FRAME = pd.DataFrame(
    {
        "timestamp": pd.date_range("2026-03-01 09:00", periods=4, freq="min", tz="UTC"),
        "flag_key": "f",
        "variant_key": ["a", "b"] * 2,
        "unit_id_hash": list("1234"),
    }
)


@pytest.mark.parametrize("folder", ["_temporary/0", "_delta_log", ".hidden", "_spark_metadata"])
def test_a_glob_passes_over_the_folders_of_writers(folder, tmp_path):
    (tmp_path / "day=1").mkdir()
    FRAME.to_parquet(tmp_path / "day=1/part-0.parquet")
    (tmp_path / folder).mkdir(parents=True)
    FRAME.to_parquet(tmp_path / folder / "part-1.parquet")
    bins = exd.variant_bins(str(tmp_path / "**/*.parquet"), flag="f")
    assert bins["evaluations"].sum() == 4


def test_a_folder_that_is_named_is_meant(tmp_path):
    (tmp_path / "_exports").mkdir()
    FRAME.to_parquet(tmp_path / "_exports/log.parquet")
    assert exd.variant_bins(str(tmp_path / "_exports/*.parquet"), flag="f")["new_units"].sum() == 4


def test_partitions_that_begin_with_an_underscore_are_read(tmp_path):
    (tmp_path / "_dt=2026-03-01").mkdir()
    FRAME.to_parquet(tmp_path / "_dt=2026-03-01/log.parquet")
    assert exd.variant_bins(str(tmp_path / "*/*.parquet"), flag="f")["new_units"].sum() == 4


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/" + "a" * 300 + ".parquet", "cannot be listed: File name too long; give a shorter path"),
        ("/" + "a/" * 3000 + "log.csv", "cannot be listed: File name too long; give a shorter path"),
        ("~/nowhere/log.parquet", "~ is not expanded, write /"),
        ("/nowhere/\0.csv", "no file matches"),
        ("/nowhere/\udcff.csv", "no file matches"),
        ("file:///" + "a" * 300 + ".csv", "cannot be listed|no file matches"),
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_refused_with_the_fix(path, said):
    with pytest.raises(RecordsError, match=said):
        exd.variant_bins(path, flag="f")


def test_a_folder_is_refused_with_the_glob_of_its_files(tmp_path):
    with pytest.raises(RecordsError, match=r"it is a folder, write .*\*\*/\*\.parquet"):
        exd.variant_bins(tmp_path, flag="f")


@pytest.mark.parametrize("source", [[1, 2], [FRAME], [], [""], b"log.csv", iter("ab")])
def test_what_is_no_list_of_paths_is_refused(source):
    with pytest.raises(RecordsError, match="is not a log of evaluations"):
        exd.variant_bins(source, flag="f")


@pytest.mark.parametrize("column", ["timestamp", "ingested_at"])
def test_a_date_that_overflows_is_quarantined_and_the_others_count(column, tmp_path):
    """Days since 1970 of a damaged file may lie beyond what an instant can hold."""
    days = pa.array([20513, 20513, 2**31 - 1, -(2**31)], pa.date32())
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    if column == "timestamp":
        table = table.drop_columns("timestamp")
    pq.write_table(table.append_column(column, days), tmp_path / "log.parquet")
    units = exd.variant_bins(tmp_path / "log.parquet", flag="f")["new_units"].sum()
    assert units == (2 if column == "timestamp" else 4)
