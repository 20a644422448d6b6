"""Exactness holds for the expression that engines run too, and engines read no more than the window."""

from unittest.mock import patch

import duckdb
import pandas as pd
import pytest
from hypothesis import given

from exd_dagster.bins.counting import segments
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.telemetry.records import PARTITION
from tests.bins.conftest import HOUR, cells, flag, log, update
from tests.bins.engine_log import COLUMNS, in_duckdb
from tests.bins.strategies import END, START, audits, frame, logs, rollouts
from tests.bins.strategies import NOW as CLOCK
from tests.bins.test_exactness import KEPT, check, exact, lateness

pytest.importorskip("ibis")


@exact
@given(seen=logs, rollout=rollouts, late=lateness)
def test_bins_of_an_engine_equal_a_recount(seen, rollout, late):
    """Filters, phases inside hours, reasons, ignored variants, late rows, nulls and repeated ids included."""
    flags, timing = audits(rollout), Timing(lateness=late)
    with duckdb.connect() as connection, patch.object(segments, "SEGMENTS", KEPT):
        store = BinStore(connection)
        store.update(in_duckdb(frame(seen)), flags, START, END, timing=timing, now=CLOCK)
        check(store, flags, seen, late)


def test_a_flag_that_an_engine_cannot_count_leaves_nothing_in_the_store():
    connection = duckdb.connect()
    store = BinStore(connection)
    source = log((1, "a", "control"), (1, None, "control"), (30, "b", "control"), environment=["x", "y", "x"])
    report = update(store, in_duckdb(source))
    assert "2 environments" in report.flags[flag().id].error
    for table in ("bins", "facts", "flags"):
        assert connection.execute(f"SELECT count(*) FROM exd_{table}").fetchone() == (0,)


BY_DAY = {**COLUMNS, PARTITION: "date"}


def partitioned(days=range(-40, 3), late=0):
    """Return a log of one unit a day, with the day it is partitioned by."""
    whole = log(*((24 * day + 1, f"u{day}", "control") for day in days))
    moved = pd.to_datetime(whole["timestamp"]) + late * HOUR
    return whole.assign(**{PARTITION: moved.dt.date})


@pytest.mark.parametrize("late", [-23, 0, 23])
def test_a_partition_may_be_the_day_of_another_zone(late):
    store = BinStore(duckdb.connect())
    update(store, in_duckdb(partitioned(late=late), BY_DAY))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (25, "control"): (1, 1, 1)}


def test_records_whose_partition_is_not_reported_are_read():
    store = BinStore(duckdb.connect())
    update(store, in_duckdb(partitioned().assign(**{PARTITION: None}), BY_DAY))
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (25, "control"): (1, 1, 1)}


def test_no_file_outside_the_window_is_opened(tmp_path):
    """Hive folders, as Spark and Trino skip them; the first one tells the schema."""
    source = in_duckdb(partitioned(), BY_DAY)
    engine = source.connection.connection
    engine.execute(
        f"COPY flag_evaluations TO '{tmp_path}' (FORMAT parquet, PARTITION_BY ({PARTITION}));"
        "DROP TABLE flag_evaluations;"
        f"CREATE VIEW flag_evaluations AS FROM read_parquet('{tmp_path}/*/*', hive_partitioning=true)"
    )
    for folder in sorted(tmp_path.iterdir())[1:]:
        if folder.name < f"{PARTITION}=2026-02-28":
            (folder / "data_0.parquet").write_text("no Parquet")
    store = BinStore(duckdb.connect())
    update(store, source)
    assert cells(store.read(flag())) == {(1, "control"): (1, 1, 1), (25, "control"): (1, 1, 1)}
