"""Rows of any age are counted when they come: the store of many nights and a fresh one agree."""

import tempfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.telemetry.sources.duckdb import ParquetRecords, TableRecords
from tests.bins.conftest import HOUR, NOW, START, cells, flag, log, update

TWO_DAYS = Timing()
DAYS = 8


def night(store, source, day):
    """Audit one day, as a nightly schedule does, looking back two days."""
    return update(store, source, hours=(24 * day, 24 * day + 24))


def fresh(source):
    store = BinStore(duckdb.connect())
    update(store, source, hours=(0, 24 * DAYS))
    return cells(store.read(flag()))


def day_log(day, unit="u", hours=range(0, 24, 6)):
    return log(*((24 * day + hour, f"{unit}-{day}-{hour}", "control") for hour in hours))


def write(frame, path):
    path.parent.mkdir(exist_ok=True)
    frame.to_parquet(path)


@pytest.fixture
def nights(store, tmp_path):
    """Six nights of a log with a file a day."""
    source = str(tmp_path / "log" / "*.parquet")
    for day in range(6):
        write(day_log(day), tmp_path / "log" / f"{day}.parquet")
        night(store, source, day)
    return source


def audited(store, source, day=6):
    report = night(store, source, day)
    return report, cells(store.read(flag()))


def test_new_file_with_rows_older_than_the_lookback_is_counted(store, nights, tmp_path):
    write(day_log(0, "late"), tmp_path / "log" / "late.parquet")
    write(day_log(6), tmp_path / "log" / "6.parquet")
    report, found = audited(store, nights)
    assert found == fresh(nights)
    assert found[0, "control"] == (2, 2, 2)
    assert report.read_from == START


def test_old_file_that_was_removed_is_forgotten(store, nights, tmp_path):
    (tmp_path / "log" / "1.parquet").unlink()
    write(day_log(6), tmp_path / "log" / "6.parquet")
    assert audited(store, nights)[1] == fresh(nights)


def test_old_file_that_was_rewritten_is_read_again(store, nights, tmp_path):
    write(day_log(1, "other", range(0, 24, 3)), tmp_path / "log" / "1.parquet")
    write(day_log(6), tmp_path / "log" / "6.parquet")
    assert audited(store, nights)[1] == fresh(nights)


def test_late_file_under_an_old_date_of_a_dated_path_is_found(store, tmp_path):
    source = ParquetRecords(path=str(tmp_path / "log" / "%Y-%m-%d-*.parquet"))
    for day in range(6):
        write(day_log(day), tmp_path / "log" / f"2026-03-{day + 1:02d}-a.parquet")
        night(store, source, day)
    write(day_log(1, "late"), tmp_path / "log" / "2026-03-02-b.parquet")
    write(day_log(6), tmp_path / "log" / "2026-03-07-a.parquet")
    assert audited(store, source)[1] == fresh(source)


def test_files_that_are_as_they_were_are_not_read_again(store, nights, tmp_path):
    write(day_log(6), tmp_path / "log" / "6.parquet")
    assert audited(store, nights)[0].read_from == START + (24 * 6 - 48) * HOUR


def test_late_file_that_is_damaged_is_named_and_the_others_count(store, nights, tmp_path):
    (tmp_path / "log" / "late.parquet").write_bytes(b"PAR1 and no more")
    write(day_log(6), tmp_path / "log" / "6.parquet")
    report, found = audited(store, nights)
    assert [Path(fault.file).name for fault in report.unreadable] == ["late.parquet"]
    assert found[24 * 6, "control"] == (1, 1, 1)


def test_late_rows_of_a_table_are_counted(store, tmp_path):
    path = tmp_path / "log.duckdb"

    def insert(frame):
        with duckdb.connect(str(path)) as connection:
            connection.register("frame", frame)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS log AS FROM frame LIMIT 0; INSERT INTO log FROM frame"
            )

    source = TableRecords(table="log", database=str(path))
    for day in range(6):
        insert(day_log(day))
        BinStoreOf(tmp_path).run(source, day)
    insert(day_log(1, "late"))
    insert(day_log(6))
    assert BinStoreOf(tmp_path).run(source, 6) == fresh(source)


class BinStoreOf:
    """A store in a file, opened for each night: a database that was attached stays so until it is closed."""

    def __init__(self, folder):
        self.path = str(folder / "bins.duckdb")

    def run(self, source, day):
        with duckdb.connect(self.path) as connection:
            store = BinStore(connection)
            night(store, source, day)
            return cells(store.read(flag()))


def test_late_rows_of_a_frame_are_counted(store):
    frames = [day_log(day) for day in range(6)]
    for day in range(6):
        night(store, pd.concat(frames[: day + 1]), day)
    whole = pd.concat([*frames, day_log(1, "late"), day_log(6)])
    assert audited(store, whole)[1] == fresh(whole)


row = st.tuples(
    st.integers(0, 24 * 7 - 1), st.sampled_from("abcdefgh"), st.sampled_from(["control", "treatment"])
)
delivery = st.lists(row, min_size=1, max_size=6)


@settings(
    max_examples=max(settings.default.max_examples // 10, 5),
    phases=[Stage.explicit, Stage.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(first=delivery, deliveries=st.lists(st.tuples(st.integers(0, 3), delivery), min_size=1, max_size=4))
def test_nights_of_any_deliveries_end_as_a_fresh_store(first, deliveries):
    """Each night a file is added, or one of four is rewritten or removed, with rows of any age."""
    with tempfile.TemporaryDirectory() as folder:
        store, source = BinStore(duckdb.connect()), f"{folder}/*.parquet"
        log(*first, (24 * DAYS, "end", "control")).to_parquet(f"{folder}/first.parquet")
        night(store, source, 3)
        for day, (name, rows) in enumerate(deliveries, 4):
            path = Path(folder) / f"{name}.parquet"
            if path.exists() and len(rows) == 1:
                path.unlink()
            else:
                log(*rows).assign(night=day).to_parquet(path)
            night(store, source, day)
        update(store, source, hours=(24 * 7, 24 * DAYS), lookback=timedelta(0))
        assert cells(store.read(flag())) == fresh(source)


def test_store_of_an_earlier_format_goes_on_where_it_lies(tmp_path):
    """It knows no files and no counts by hour; what it has counted stays."""
    path, source = str(tmp_path / "bins.duckdb"), str(tmp_path / "log" / "*.parquet")
    for day in range(3):
        write(day_log(day), tmp_path / "log" / f"{day}.parquet")
    with duckdb.connect(path) as connection:
        update(BinStore(connection), source, hours=(0, 72))
        connection.execute(
            "DROP TABLE exd_files; ALTER TABLE exd_hours DROP COLUMN records; UPDATE exd_meta SET format = 2"
        )
    write(day_log(3), tmp_path / "log" / "3.parquet")
    with duckdb.connect(path) as connection:
        store = BinStore(connection)
        update(store, source, hours=(72, 96), now=NOW)
        assert cells(store.read(flag())) == fresh(source)
