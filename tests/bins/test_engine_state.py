"""First exposures that an engine keeps: the bins of a recount, whatever comes, goes or breaks between."""

from datetime import datetime, timedelta, timezone
from itertools import count
from unittest.mock import patch

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from exd_dagster.bins.counting import segments
from exd_dagster.bins.counting.variant_ranks import place
from exd_dagster.bins.engine import stateful
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Timing
from exd_dagster.errors import RecordsError
from tests.bins.conftest import HOUR, START, cells, facts, flag, log, update
from tests.bins.engine_log import FLAGS, awkward_log
from tests.bins.engine_state import Warehouse
from tests.bins.strategies import END, HOURS, NOW, audits, frame, logs, rollouts, windows
from tests.bins.strategies import START as FIRST
from tests.bins.test_exactness import KEPT, check, lateness

pytest.importorskip("ibis")
law = settings(
    max_examples=settings.default.max_examples // 50,  # Ibis takes a second to write the SQL of an update
    phases=[Stage.explicit, Stage.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
shares = st.sampled_from([0, stateful.SHARE, 1 << 30])
"""The base is never, sometimes or always made anew."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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


def steady(hours, *, per_hour=4, first=0):
    """Return records of so many hours, half of the units of each hour seen before."""
    rows = [
        (hour + place / per_hour, f"u{hour * 2 + place}", ("control", "treatment")[(hour * 2 + place) % 2])
        for hour in range(first, hours)
        for place in range(per_hour)
    ]
    return log(*rows)


class Ledger:
    """Counts a log in an engine with a state and, as what is right, in DuckDB from the frame."""

    def __init__(self, table):
        self.warehouse, self.connection = Warehouse(table), duckdb.connect()
        self.store = BinStore(self.connection)

    def night(self, table, hours, *flags, **timing):
        """Update with the log as it is now; its bins must be those of a count of all of it."""
        records = self.warehouse.load(table)
        self.warehouse.queries.clear()
        report = update(self.store, records, *flags, hours=hours, **timing)
        self.check(table, hours, *flags)
        return report

    def check(self, table, hours, *flags):
        right = BinStore(duckdb.connect())
        update(right, table, *flags, hours=(0, hours[1]))
        for each in flags or [flag()]:
            assert cells(self.store.read(each)) == cells(right.read(each))
            assert facts(self.store.read(each)) == facts(right.read(each))


@pytest.fixture
def ledger():
    return Ledger(steady(1))


def test_a_night_reads_its_own_records_once_and_leaves_no_table_behind(ledger):
    table = steady(96)
    ledger.night(table, (0, 72))
    ledger.night(table, (72, 96), lookback=timedelta(hours=2))
    records = ledger.warehouse.of_log()[-1]
    assert records["timestamp"].min() == START + 72 * HOUR
    assert ledger.warehouse.kinds() == ["base"]


def test_of_hours_before_the_lookback_the_time_alone_is_read(ledger):
    table = steady(96)
    ledger.night(table, (0, 72))
    ledger.night(table, (72, 96), lookback=timedelta(hours=2))
    counts, prints, _ = ledger.warehouse.of_log()
    assert {*counts.columns} == {"hour", "n", "newest"}
    assert counts["hour"].max() * HOUR == START + 69 * HOUR - EPOCH
    assert [*prints["hour"].sort_values() * HOUR] == [START + hour * HOUR - EPOCH for hour in range(70, 96)]


def test_records_without_a_flag_before_the_lookback_are_counted_when_a_new_flag_reads_them(ledger):
    table = pd.concat([steady(60), log((1, "a", "control")).assign(flag_key="")])
    ledger.night(table, (0, 48))
    new = flag("other")
    report = ledger.night(table, (48, 60), flag(), new, lookback=timedelta(hours=2))
    assert report.quarantined == {"no_flag": 1}


def test_counts_and_fingerprints_are_one_query_where_all_hours_read_are_of_the_lookback(ledger):
    table = steady(48)
    ledger.night(table, (0, 24))
    ledger.night(table, (24, 48), lookback=timedelta(hours=24))
    survey, _ = ledger.warehouse.of_log()
    assert {"n", "print"} <= {*survey.columns}


def test_an_hour_that_first_arrives_between_counts_and_fingerprints_is_counted_the_next_night(ledger):
    early, table, execute = steady(95), steady(96), ledger.warehouse.execute
    ledger.night(early, (0, 72))

    def arriving(expression):
        found = execute(expression)
        if "print" not in found:
            ledger.warehouse.load(table)
        return found

    with patch.object(ledger.warehouse, "execute", arriving):
        update(ledger.store, ledger.warehouse.load(early), hours=(72, 96), lookback=timedelta(hours=2))
    ledger.night(table, (96, 97), lookback=timedelta(hours=2))


@pytest.mark.parametrize("night", [(24, 48), (40, 48)], ids=["new base", "delta"])
def test_a_run_that_changes_nothing_makes_no_new_state(ledger, night):
    ledger.night(steady(40), (0, 40))
    ledger.night(steady(48), night)
    before = ledger.warehouse.list_tables(database="exd_state")
    report = ledger.night(steady(48), night)
    assert not report.flags[flag().id].hours_changed
    assert ledger.warehouse.list_tables(database="exd_state") == before


def test_a_small_night_adds_a_delta_and_a_large_one_a_base(ledger):
    ledger.night(steady(90), (0, 90))
    ledger.night(steady(91), (90, 91))
    assert ledger.warehouse.kinds() == ["delta", "step"]
    ledger.night(steady(92), (91, 92))
    assert ledger.warehouse.kinds() == ["delta", "step"]
    ledger.night(steady(130), (92, 130))
    assert ledger.warehouse.kinds() == ["base"]


def test_rows_that_come_days_late_move_first_exposures(ledger):
    table = steady(120)
    early = table[table["unit_id_hash"] != "u9"]
    ledger.night(early, (0, 96), lookback=timedelta(hours=2))
    late = log((1, "u150", "control"), (1.5, "u151", "control"))
    ledger.night(pd.concat([table, late]), (96, 120), lookback=timedelta(hours=2))


def test_removed_rows_are_no_longer_counted_wherever_they_were(ledger):
    table = steady(120)
    ledger.night(table, (0, 96), lookback=timedelta(hours=2))
    ledger.night(table[~table["unit_id_hash"].isin(["u9", "u180"])], (96, 120), lookback=timedelta(hours=2))


def test_a_removed_first_exposure_is_replaced_by_a_later_one_outside_the_hours_read(ledger):
    table = log((1, "a", "control"), (30, "a", "treatment"), (31, "b", "control"))
    ledger.night(table, (0, 48))
    records = ledger.warehouse.load(table[1:])
    update(ledger.store, records, hours=(0, 24))
    ledger.check(table[1:], (0, 48))


def test_a_replaced_row_of_the_lookback_is_noticed(ledger):
    table = steady(48)
    ledger.night(table, (0, 48))
    table.loc[table.index[-1], "variant_key"] = "other"
    ledger.night(table, (48, 49))


def test_ranks_of_variants_that_no_longer_fit_are_given_anew_in_the_tables_too(ledger, monkeypatch):
    """Ties go by name; here no gap ever has space for a new one."""
    monkeypatch.setattr(stateful, "place", lambda known, names: place({}, {*known, *names}))
    rows = [(hour, f"u{hour % 7}", f"v{(5 * hour) % 30:02}") for hour in range(30)]
    for end in (20, 30):
        ledger.night(log(*rows[:end]), (0, end), lookback=timedelta(hours=2))


def test_flags_come_and_change_beside_others(ledger):
    table = awkward_log()
    first, second, third, odd = FLAGS
    ledger.warehouse = Warehouse(table)
    ledger.night(table, (0, 6), first, second, lookback=timedelta(hours=1))
    ledger.night(table, (6, 9), second, third, odd, lookback=timedelta(hours=1))
    other = second.model_copy(update={"exclude": {"country": ["de"]}})
    ledger.night(table, (6, 12), first, other, third, odd, lookback=timedelta(hours=1))


def test_the_same_units_are_counted_at_another_stage_by_themselves(ledger):
    from exd_dagster.config.stages import other_stages

    audit = flag(stages={"exposed": ["view"], "activated": ["use"]}, stage_column="country")
    audits = [audit, *other_stages(audit).values()]
    table = steady(48).assign(country=["view", "use"] * 96)
    ledger.warehouse = Warehouse(table)
    ledger.night(table[:160], (0, 40), *audits)
    ledger.night(table, (40, 48), *audits)


def test_a_state_that_was_given_up_for_a_while_is_counted_anew(ledger):
    ledger.night(steady(24), (0, 24))
    records = ledger.warehouse.load(steady(48)).model_copy(update={"state_schema": None})
    update(ledger.store, records, hours=(24, 48))
    ledger.check(steady(48), (0, 48))
    ledger.night(steady(72), (48, 72))


def test_tables_that_were_dropped_are_counted_anew(ledger):
    ledger.night(steady(24), (0, 24))
    for name in ledger.warehouse.list_tables(database="exd_state"):
        ledger.warehouse.raw_sql(f'DROP TABLE exd_state."{name}"')
    report = ledger.night(steady(48), (24, 48))
    assert report.flags[flag().id].rebuilt


def test_two_stores_keep_their_tables_apart(ledger):
    other = BinStore(duckdb.connect())
    ledger.night(steady(24), (0, 24))
    update(other, ledger.warehouse.load(steady(24)), hours=(0, 24))
    ledger.night(steady(48), (24, 48))
    update(other, ledger.warehouse.load(steady(48)), hours=(24, 48))
    assert cells(other.read(flag())) == cells(ledger.store.read(flag()))


def test_units_are_kept_as_a_hash_that_differs_by_store(ledger):
    found = []
    for _ in range(2):
        ledger = Ledger(steady(1))
        ledger.night(log((1, "a", "control")), (0, 24))
        (table,) = ledger.warehouse.list_tables(database="exd_state")
        found += ledger.warehouse.connection.execute(f'SELECT unit FROM exd_state."{table}"').fetchall()
    assert len({*found}) == 2


class Breaking:
    """An engine that is gone before one statement, counted from 0."""

    def __init__(self, engine, at):
        self.engine, self.name, self.at, self.seen = engine, engine.name, at, 0

    def table(self, *given, **named):
        return self.engine.table(*given, **named)

    def list_tables(self, **named):
        return self.engine.list_tables(**named)

    def raw_sql(self, query):
        return self.engine.raw_sql(query)

    def execute(self, *given, **named):
        return self._run(self.engine.execute, *given, **named)

    def create_table(self, *given, **named):
        return self._run(self.engine.create_table, *given, **named)

    def _run(self, statement, *given, **named):
        self.seen += 1
        if self.seen - 1 == self.at:
            raise OSError("the connection is gone")
        return statement(*given, **named)


def test_a_crash_before_any_statement_leaves_the_bins_as_they_were_and_the_next_run_ends_right(ledger):
    table = steady(60)
    ledger.night(table[:200], (0, 50))
    before = cells(ledger.store.read(flag()))
    records = ledger.warehouse.load(table)
    for at in count():
        try:
            broken = Breaking(ledger.warehouse, at)
            update(ledger.store, records.model_copy(update={"connection": broken}), hours=(50, 60))
        except RecordsError:
            assert cells(ledger.store.read(flag())) == before
        else:
            break
    assert at > 6
    ledger.check(table, (0, 60))
    assert len(ledger.warehouse.kinds()) > 1
    ledger.night(table, (50, 60))
    assert ledger.warehouse.kinds() == ["base"]


def test_a_role_that_may_not_create_tables_is_told_what_to_do(ledger):
    engine = Breaking(ledger.warehouse, 0)
    engine.execute = ledger.warehouse.execute
    records = ledger.warehouse.load(steady(24)).model_copy(update={"connection": engine})
    with pytest.raises(RecordsError, match="exd_state cannot hold the first exposures"):
        update(ledger.store, records)


def test_an_engine_without_a_hash_keeps_no_state(ledger):
    ledger.warehouse.name = "mysql"
    with pytest.raises(RecordsError, match="needs an engine with a 64-bit hash"):
        update(ledger.store, ledger.warehouse.load(steady(24)))
