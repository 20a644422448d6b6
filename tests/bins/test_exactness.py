"""The law of counting: whatever the order, the cuts, the repetitions and the lateness, bins are a recount."""

from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import duckdb
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from exd_dagster.bins import count
from exd_dagster.bins.store import BinStore
from exd_dagster.config import FlagAudit, Phase, Timing
from tests.bins.oracle import HOUR, Record, as_dict, brute_force, hour_of

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOURS = 8
NOW = START + 20 * HOUR
SPLIT = {"b": 0.5, "d": 0.5}

instants = st.builds(
    lambda ms, micro: START + timedelta(milliseconds=ms, microseconds=micro),
    st.one_of(
        st.integers(-HOURS * 900_000, HOURS * 3_600_000 - 1),
        st.sampled_from([h * 1_800_000 + d for h in range(2 * HOURS) for d in (-1, 0, 1)]),
    ),
    st.sampled_from([0, 999]),
)
records = st.builds(
    Record,
    timestamp=instants,
    flag_key=st.sampled_from(["f", "f", "f", "g", "other"]),
    variant_key=st.sampled_from(["b", "d", "b", "d", "a", "c", "z", "", None]),
    unit_id_hash=st.sampled_from(["1", "2", "3", "4", "5", "6", "", None]),
    evaluation_id=st.sampled_from([None, *"abcdefgh"]),
    evaluation_reason=st.sampled_from([None, "fallthrough", "matched_rule", "off"]),
    manifest_version=st.sampled_from([None, 1, 2]),
)
logs = st.lists(records, max_size=30)
phases = st.lists(
    st.builds(
        lambda half, afresh: (START + half * HOUR / 2, afresh), st.integers(1, 2 * HOURS - 2), st.booleans()
    ),
    max_size=2,
    unique_by=lambda phase: phase[0],
).map(lambda found: tuple(Phase(start=s, split=SPLIT, rerandomized=r) for s, r in sorted(found)))
windows = st.tuples(st.integers(0, HOURS - 1), st.integers(1, HOURS)).map(
    lambda w: (w[0], max(w[1], w[0] + 1))
)


def frame(log):
    columns = {name: [getattr(r, name) for r in log] for name in Record.__dataclass_fields__}
    table = pd.DataFrame(columns)
    table["timestamp"] = pd.to_datetime(table["timestamp"], utc=True)
    return table.astype({name: object for name in columns if name not in ("timestamp", "manifest_version")})


def audits(rollout):
    return [
        FlagAudit(key="f", split=SPLIT, start=START, phases=rollout, ignore_variants=("z",)),
        FlagAudit(key="g", split=SPLIT, start=START + HOUR / 2, end=START + 5 * HOUR + HOUR / 3),
    ]


def check(store, flags, log):
    for flag in flags:
        bins = store.read(flag)
        assert as_dict(bins) == brute_force(log, flag, bins.audited_through)


@settings(
    max_examples=25,
    phases=[Stage.explicit, Stage.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data(), log=logs, rollout=phases, runs=st.lists(windows, min_size=1, max_size=4))
def test_bins_equal_a_recount_of_all_records_seen(data, log, rollout, runs):
    """Any order, any cut into windows, replays, duplicates and records that arrive or vanish between runs."""
    flags = audits(rollout)
    timing = Timing(lateness=timedelta(0), lookback=HOURS * HOUR)
    connection = duckdb.connect()
    store = BinStore(connection)
    seen, counted = [], []
    for first, last in runs:
        arrived = data.draw(st.lists(st.sampled_from(log), max_size=20)) if log else []
        vanished = data.draw(st.integers(0, 3))
        seen = data.draw(st.permutations(seen + arrived))[vanished:]
        whole = (START, START + HOURS * HOUR)  # what vanishes is noticed where it is read again
        start, end = whole if vanished else (START + first * HOUR, START + last * HOUR)
        with patch.object(count, "LOOK_ROWS", data.draw(st.sampled_from([1, 7, count.LOOK_ROWS]))):
            report = store.update(frame(seen), flags, start, end, timing=timing, now=NOW)
        assert all(build.error is None for build in report.flags.values())
        counted = [r for r in seen if r.timestamp < end] + [r for r in counted if r.timestamp >= end]
        check(store, flags, counted)
    store.update(frame(seen), flags, START, START + HOURS * HOUR, timing=timing, now=NOW)
    check(store, flags, seen)
    again = store.update(frame(seen[::-1]), flags, START, START + HOURS * HOUR, timing=timing, now=NOW)
    assert not any(build.hours_changed for build in again.flags.values())
    check(store, flags, seen)
    connection.close()


def test_oracle_agrees_with_itself_on_order():
    """The oracle is order-free, or the law would mean nothing."""
    log = [Record(START + HOUR * i, "f", "bd"[i % 2], "1") for i in range(4)]
    flag = audits(())[0]
    assert brute_force(log, flag, NOW) == brute_force(log[::-1], flag, NOW)
    assert hour_of(START) == START
