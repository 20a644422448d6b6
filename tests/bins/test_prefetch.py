"""Bins of many flags read at once are those read one by one."""

import numpy as np
import pytest

from exd_dagster.bins.store import select
from exd_dagster.errors import StoreError
from tests.bins.conftest import HOUR, START, cells, facts, flag, log, update

KEYS = ("a", "b", "c", "d", "e")
FLAGS = [flag(key) for key in KEYS]


def fleet(*more):
    """Return one unit an hour of each flag, with a manifest version and an undeclared variant."""
    rows = [(i, f"u{i}", "control" if i % 2 else "other") for i in range(len(KEYS))]
    return log(*rows, *more, flag_key=[*KEYS, *("a" for _ in more)], manifest_version="7")


def same(one, other):
    return (one.flag, one.variants, cells(one), facts(one)) == (
        other.flag,
        other.variants,
        cells(other),
        facts(other),
    ) and np.array_equal(one.delivered, other.delivered)


@pytest.fixture(autouse=True)
def _two_at_a_time(monkeypatch):
    monkeypatch.setattr(select, "TOGETHER", 2)


def test_many_flags_read_at_once_are_those_read_one_by_one(store):
    update(store, fleet(), *FLAGS)
    alone = [store.read(one) for one in FLAGS]
    assert all(map(same, store.read_many(FLAGS), alone))
    assert facts(alone[1]) == {(1, "manifest_version", "7"): 1}


def test_a_flag_never_counted_has_no_hour_among_the_others(store):
    update(store, fleet(), *FLAGS)
    assert [len(bins) > 0 for bins in store.read_many([FLAGS[0], flag("unknown"), FLAGS[1]])] == [
        True,
        False,
        True,
    ]


def test_what_was_read_ahead_is_handed_out_without_reading_again(store, connection):
    update(store, fleet(), *FLAGS)
    read = list(store.read_many(FLAGS))
    connection.execute("DELETE FROM exd_bins")
    assert same(store.read(FLAGS[2]), read[2])


def test_it_is_handed_out_once(store, connection):
    update(store, fleet(), *FLAGS)
    list(store.read_many(FLAGS))
    store.read(FLAGS[2])
    connection.execute("DELETE FROM exd_bins")
    assert cells(store.read(FLAGS[2])) == {}


def test_an_update_makes_it_stale(store):
    update(store, fleet(), *FLAGS)
    list(store.read_many(FLAGS))
    update(store, fleet((6, "new", "control"), (9, "last", "control")), *FLAGS)
    assert cells(store.read(FLAGS[0]))[6, "control"] == (1, 1, 1)


def test_a_flag_declared_otherwise_since_is_refused(store):
    update(store, fleet(), *FLAGS)
    list(store.read_many(FLAGS))
    with pytest.raises(StoreError, match="declared before"):
        store.read(flag("a", end=START + HOUR))


def test_what_does_not_fit_in_memory_is_read_when_it_is_asked_for(store, connection, monkeypatch):
    monkeypatch.setattr(select, "MOST_BYTES", 0)
    update(store, fleet(), *FLAGS)
    list(store.read_many(FLAGS))
    connection.execute("DELETE FROM exd_bins")
    assert cells(store.read(FLAGS[0])) == {}
