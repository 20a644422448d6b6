"""Hours that hold what they held are not counted again; any change of a record is noticed."""

import duckdb
import pytest

from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Phase
from tests.bins.conftest import HOUR, SPLIT, cells, flag, log, update

LAST = (40, "last", "control")


def read_again(store, before, after, **timing):
    """Return how many evaluations the second of two readings counts."""
    update(store, before, hours=(0, 41))
    return update(store, after, hours=(40, 41), **timing).flags[flag().id].evaluations


@pytest.mark.parametrize("rows", [[(1, "a", "control"), LAST], [LAST, (1, "a", "control")]])
def test_hours_that_hold_the_same_records_in_any_order_are_not_counted_again(store, rows):
    assert read_again(store, log((1, "a", "control"), LAST), log(*rows)) == 1


@pytest.mark.parametrize(
    "after",
    [
        [(1, "b", "control"), (1, "b", "control")],  # each hash cancelled by itself
        [(1, "a", "treatment"), (1, "a", "control")],
        [(1.5, "a", "control"), (1, "a", "control")],
        [(1, "a", "control")],
        [],
    ],
)
def test_any_other_content_of_an_hour_is_counted_again(store, after):
    before = log((1, "a", "control"), (1, "a", "control"), (0.5, "z", "control"), LAST)
    assert read_again(store, before, log(*after, (0.5, "z", "control"), LAST)) == len(after) + 1
    found = cells(store.read(flag()))
    fresh = update(store, log(*after, (0.5, "z", "control"), LAST), flag(exclude_reasons=()), hours=(0, 41))
    assert fresh.flags[flag().id].rebuilt
    assert found == cells(store.read(flag(exclude_reasons=())))


def test_counting_starts_at_the_first_hour_that_changed(store):
    before = log((1, "a", "control"), (5, "b", "control"), (9, "c", "control"), LAST)
    after = log((1, "a", "control"), (5, "b", "control"), (5, "new", "control"), (9, "c", "control"), LAST)
    assert read_again(store, before, after) == 4


def test_a_flag_declared_otherwise_is_counted_from_its_start_again(store):
    source = log((1, "a", "control"), LAST, evaluation_reason="off")
    update(store, source, hours=(0, 41))
    report = update(store, source, flag(exclude_reasons=()), hours=(40, 41))
    assert report.flags[flag().id].evaluations == 2


def test_rebuild_counts_every_hour_whatever_is_stored(store):
    source = log((1, "a", "control"), LAST)
    update(store, source, hours=(0, 41))
    report = store.rebuild(source, [flag()], now=flag().start.replace(day=9))
    assert report.flags[flag().id].evaluations == 2


def test_what_changed_before_the_lookback_is_left_alone(store):
    assert read_again(store, log((1, "a", "control"), LAST), log((1, "b", "control"), LAST)) == 2
    assert (
        read_again(store, log((1, "b", "control"), LAST), log((1, "c", "control"), LAST), lookback=HOUR) == 1
    )


def test_a_phase_declared_in_an_hour_not_yet_read_whole_is_counted_there(store):
    """The hour's records are the same; what they count for is not."""
    source = log((1, "a", "control"), (5.1, "a", "control"), (5.4, "a", "treatment"))
    update(store, source)
    phase = Phase(start=flag().start + 5.25 * HOUR, split=SPLIT, rerandomized=True)
    report = update(store, source, flag(phases=(phase,)))
    assert not report.flags[flag().id].rebuilt
    loaded = log((1, "a", "control"), (5.1, "a", "control"), (5.4, "a", "treatment"), (30, "z", "control"))
    update(store, loaded, flag(phases=(phase,)))
    with duckdb.connect() as connection:
        fresh = BinStore(connection)
        update(fresh, loaded, flag(phases=(phase,)))
        assert cells(store.read(flag(phases=(phase,)))) == cells(fresh.read(flag(phases=(phase,))))
