"""Exactness: whatever the order, the windows, the repetitions and the lateness, bins equal a recount."""

from datetime import timedelta
from unittest.mock import patch

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from exd_dagster.bins.counting import count, segments
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from tests.bins.oracle import (
    HOUR,
    Record,
    as_dict,
    brute_facts,
    brute_force,
    brute_segments,
    facts_as_dict,
    hour_of,
    segments_as_dict,
)
from tests.bins.strategies import END, HOURS, NOW, START, audits, frame, logs, rollouts, windows

lateness = st.sampled_from([timedelta(0), HOUR / 2])
look_rows = st.sampled_from([1, 7, count.LOOK_ROWS])
KEPT = 2
"""Values of a dimension kept by name in an hour."""
exact = settings(
    max_examples=settings.default.max_examples // 6,  # --hypothesis-profile deep has more
    phases=[Stage.explicit, Stage.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def check(store, flags, log, late):
    for flag in flags:
        bins = store.read(flag)
        assert as_dict(bins) == brute_force(log, flag, bins.audited_through)
        assert facts_as_dict(bins) == brute_facts(log, flag, bins.audited_through, late)
        found = segments_as_dict(store.segments(flag, bins))
        assert found == brute_segments(log, flag, bins.audited_through, KEPT)


def run(store, seen, flags, timing, start=START, end=END, rows=count.LOOK_ROWS):
    few = patch.object(segments, "SEGMENTS", KEPT)
    with few, patch.multiple(count, LOOK_ROWS=rows, GROUPED_ROWS=max(rows, 10)):
        report = store.update(frame(seen), flags, start, end, timing=timing, now=NOW)
    assert all(build.error is None for build in report.flags.values())
    return report


@exact
@given(
    data=st.data(), log=logs, rollout=rollouts, runs=st.lists(windows, min_size=1, max_size=4), late=lateness
)
def test_bins_equal_a_recount_of_all_records_seen(data, log, rollout, runs, late):
    """Any order, any cut into windows, replays, duplicates and records that arrive or vanish between runs."""
    flags = audits(rollout)
    timing = Timing(lateness=late, lookback=HOURS * HOUR)
    store = BinStore(duckdb.connect())
    seen, counted = [], []
    for first, last in runs:
        arrived = data.draw(st.lists(st.sampled_from(log), max_size=20)) if log else []
        vanished = data.draw(st.integers(0, 3))
        seen = data.draw(st.permutations(seen + arrived))[vanished:]
        # what vanishes is noticed where it is read again
        start, end = (START, END) if vanished else (START + first * HOUR, START + last * HOUR)
        run(store, seen, flags, timing, start, end, data.draw(look_rows))
        counted = [r for r in seen if r.timestamp < end] + [r for r in counted if r.timestamp >= end]
        check(store, flags, counted, late)
    run(store, seen, flags, timing)
    check(store, flags, seen, late)
    again = run(store, seen[::-1], flags, timing)
    assert not any(build.hours_changed for build in again.flags.values())
    check(store, flags, seen, late)


@exact
@given(
    data=st.data(),
    log=logs,
    rollout=rollouts,
    runs=st.lists(st.tuples(windows, st.integers(0, 3)), max_size=3),
    order=st.permutations(range(0, HOURS, 2)),
    late=lateness,
)
def test_reading_all_of_it_again_in_any_cut_ends_in_the_recount(data, log, rollout, runs, order, late):
    """Before, each time another part of the log was there, and little of it was read again."""
    flags = audits(rollout)
    store = BinStore(duckdb.connect())
    for (first, last), lookback in runs:
        seen = data.draw(st.lists(st.sampled_from(log), max_size=20)) if log else []
        timing = Timing(lateness=late, lookback=lookback * HOUR)
        run(store, seen, flags, timing, START + first * HOUR, START + last * HOUR)
    timing = Timing(lateness=late, lookback=timedelta(0))
    for hour in order:
        run(store, log, flags, timing, START + hour * HOUR, START + (hour + 2) * HOUR)
    check(store, flags, log, late)


def test_oracle_agrees_with_itself_on_order():
    """The oracle is order-free, or exactness would mean nothing."""
    log = [Record(START + HOUR * i, "f", "bd"[i % 2], "1") for i in range(4)]
    flag = audits(())[0]
    assert brute_force(log, flag, NOW) == brute_force(log[::-1], flag, NOW)
    assert hour_of(START) == START
