"""First exposures that an engine keeps: the same bins as a recount, whatever comes, goes or breaks between."""

from datetime import timedelta
from unittest.mock import patch

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.bins.counting import segments
from exd_dagster.bins.engine import stateful
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.errors import RecordsError
from tests.bins.conftest import HOUR, START, cells, facts, flag, log, update
from tests.bins.engine_log import FLAGS, awkward_log
from tests.bins.engine_state import Warehouse
from tests.bins.strategies import END, HOURS, NOW, audits, frame, logs, rollouts, windows
from tests.bins.strategies import START as FIRST
from tests.bins.test_exactness import KEPT, check, lateness, law

pytest.importorskip("ibis")
shares = st.sampled_from([0, stateful.SHARE, 1 << 30])
"""The base is never, sometimes or always made anew."""


def run(store, warehouse, seen, flags, timing, start=FIRST, end=END):
    with patch.object(segments, "SEGMENTS", KEPT):
        report = store.update(warehouse.load(frame(seen)), flags, start, end, timing=timing, now=NOW)
    assert all(build.error is None for build in report.flags.values())
    return report


@law
@given(
    data=st.data(),
    log=logs,
    rollout=rollouts,
    runs=st.lists(windows, min_size=1, max_size=4),
    late=lateness,
    share=shares,
)
def test_bins_equal_a_recount_of_all_records_seen(data, log, rollout, runs, late, share):
    """Any order, any cut into windows, replays, duplicates and records that arrive or vanish between runs."""
    flags, warehouse = audits(rollout), Warehouse(frame([]))
    timing = Timing(lateness=late, lookback=HOURS * HOUR)
    with duckdb.connect() as connection, patch.object(stateful, "SHARE", share):
        store = BinStore(connection)
        seen, counted = [], []
        for first, last in runs:
            arrived = data.draw(st.lists(st.sampled_from(log), max_size=20)) if log else []
            vanished = data.draw(st.integers(0, 3))
            seen = data.draw(st.permutations(seen + arrived))[vanished:]
            # what vanishes is noticed where it is read again
            start, end = (FIRST, END) if vanished else (FIRST + first * HOUR, FIRST + last * HOUR)
            run(store, warehouse, seen, flags, timing, start, end)
            counted = [r for r in seen if r.timestamp < end] + [r for r in counted if r.timestamp >= end]
            check(store, flags, counted, late)
        run(store, warehouse, seen, flags, timing)
        check(store, flags, seen, late)
        again = run(store, warehouse, seen[::-1], flags, timing)
        assert not any(build.hours_changed for build in again.flags.values())
        check(store, flags, seen, late)


@law
@given(
    data=st.data(),
    log=logs,
    rollout=rollouts,
    runs=st.lists(st.tuples(windows, st.integers(0, 3)), max_size=3),
    order=st.permutations(range(0, HOURS, 2)),
    late=lateness,
    share=shares,
)
def test_reading_all_of_it_again_in_any_cut_ends_in_the_recount(data, log, rollout, runs, order, late, share):
    """Before, each time another part of the log was there, and little of it was read again."""
    flags, warehouse = audits(rollout), Warehouse(frame([]))
    with duckdb.connect() as connection, patch.object(stateful, "SHARE", share):
        store = BinStore(connection)
        for (first, last), lookback in runs:
            seen = data.draw(st.lists(st.sampled_from(log), max_size=20)) if log else []
            timing = Timing(lateness=late, lookback=lookback * HOUR)
            run(store, warehouse, seen, flags, timing, FIRST + first * HOUR, FIRST + last * HOUR)
        timing = Timing(lateness=late, lookback=timedelta(0))
        for hour in order:
            run(store, warehouse, log, flags, timing, FIRST + hour * HOUR, FIRST + (hour + 2) * HOUR)
        check(store, flags, log, late)
