"""Bins by segment: which units are counted where, how many values are kept, and what a store knows of old."""

from datetime import timedelta

import duckdb
import pandas as pd
import pytest

from exd_dagster.bins.store import segments
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import Phase
from tests.bins.conftest import HOUR, SPLIT, START, flag, log, update

SDK = flag()
COUNTRY = flag(dimensions=("country",))
LATE = (30, "end", "control")


def totals(store, audit=SDK, start=0, end=29):
    """Return the units of hours `[start, end)` after START by dimension, value and variant."""
    found = store.segments(audit, store.read(audit))
    return found.between(START + start * HOUR, START + end * HOUR).totals()


def counted(source, audit=SDK, **window):
    store = BinStore(duckdb.connect())
    update(store, source, audit)
    return totals(store, audit, **window)


def test_a_unit_counts_once_where_it_was_first_exposed():
    rows = [(1, "a", "control"), (2, "a", "treatment"), (1, "b", "treatment"), (3, "c", "control"), LATE]
    source = log(*rows, sdk_name=["py", "js", "js", None, None], country=["de", "fr", "fr", "de", "de"])
    assert counted(source, COUNTRY) == {
        "sdk_name": {"py": {"control": 1}, "js": {"treatment": 1}, "(none)": {"control": 1}},
        "country": {"de": {"control": 2}, "fr": {"treatment": 1}},
    }


def test_a_unit_counts_once_in_each_iteration():
    audit = flag(phases=(Phase(start=START + 2 * HOUR, split=SPLIT, rerandomized=True),))
    source = log((1, "a", "control"), (5, "a", "control"), LATE, sdk_name=["py", "js", "js"])
    assert counted(source, audit) == {"sdk_name": {"py": {"control": 1}, "js": {"control": 1}}}


def test_hours_are_reported_apart():
    source = log((1, "a", "control"), (3, "a", "control"), (3, "b", "treatment"), LATE, sdk_name="py")
    assert counted(source, start=2, end=9) == {"sdk_name": {"py": {"treatment": 1}}}


def test_reason_and_version_are_reported_apart_within_an_hour_and_by_hour():
    """Either way they are counted: from the look where each hour has one, else from the records."""
    rows = [(1, "a", "control"), (2, "b", "treatment"), LATE]
    by_hour = counted(log(*rows, manifest_version=[1, 2, 2], evaluation_reason="split"))
    assert by_hour["manifest_version"] == {"1": {"control": 1}, "2": {"treatment": 1}}
    assert by_hour["evaluation_reason"] == {"split": {"control": 1, "treatment": 1}}
    mixed = counted(log(*rows, (1.5, "b", "treatment"), manifest_version=[1, 2, 2, 2]))
    assert mixed["manifest_version"] == {"1": {"control": 1}, "2": {"treatment": 1}}


def test_rare_values_of_an_hour_are_summed():
    rows = [(1, f"u{i}", "control") for i in range(60)]
    found = counted(log(*rows, LATE, sdk_name=[*(f"v{i:02}" for i in range(60)), ""]))["sdk_name"]
    assert found["(other)"] == {"control": 10}
    assert {*found} == {"(other)", *(f"v{i:02}" for i in range(50))}


def test_rare_values_of_all_hours_are_summed_when_read(monkeypatch):
    monkeypatch.setattr(segments, "MOST_VALUES", 2)
    rows = [(1, "a", "control"), (1, "b", "treatment"), (2, "c", "control"), (3, "d", "control"), LATE]
    found = counted(log(*rows, sdk_name=["x", "x", "y", "z", "z"]))["sdk_name"]
    assert found == {"x": {"control": 1, "treatment": 1}, "y": {"control": 1}, "(other)": {"control": 1}}


def test_a_value_rewritten_where_it_lies_is_counted_anew(store):
    """No unit, variant or time differs: the value alone."""
    rows = [(1, "a", "control"), LATE]
    update(store, log(*rows, sdk_name="py"), SDK)
    update(store, log(*rows, sdk_name="js"), SDK)
    assert totals(store) == {"sdk_name": {"js": {"control": 1}}}


def test_a_unit_met_earlier_leaves_the_segment_of_a_later_hour(store):
    """The earlier hours alone are read again, and then those of the segment that the unit leaves."""
    later = [(20, "a", "treatment"), LATE]
    update(store, log(*later, sdk_name="js"), SDK)
    source = log((2, "a", "control"), *later, sdk_name=["py", "js", "js"])
    update(store, source, SDK, hours=(0, 5))
    assert totals(store) == {"sdk_name": {"py": {"control": 1}}}


def test_a_unit_met_earlier_leaves_the_segment_of_the_hour_right_after_those_read_again(store):
    """Its first exposure was at the first instant that is not read again."""
    update(store, log((1, "u", "control"), LATE, country=["de", "de"]), COUNTRY)
    whole = log((0.5, "u", "control"), (1, "u", "control"), LATE, country=["fr", "de", "de"])
    update(store, whole, COUNTRY, hours=(0, 1), lookback=timedelta(0))
    assert totals(store, COUNTRY) == counted(whole, COUNTRY) == {"country": {"fr": {"control": 1}}}


def test_a_dimension_declared_later_is_counted_from_the_hours_read_then(store):
    source = log((1, "a", "control"), (20, "b", "treatment"), LATE, country="de")
    update(store, source, flag(), hours=(0, 20))
    update(store, source, COUNTRY, hours=(20, 48), lookback=0 * HOUR)
    (country,) = store.segments(COUNTRY, store.read(COUNTRY)).segments
    assert (str(country), country.since) == ("country = de", 20)
    assert totals(store, COUNTRY) == {"country": {"de": {"treatment": 1}}}
    store.rebuild(source, [COUNTRY], now=START + 60 * HOUR)
    assert totals(store, COUNTRY)["country"] == {"de": {"control": 1, "treatment": 1}}


def test_a_dimension_no_longer_declared_is_dropped(connection, store):
    source = log((1, "a", "control"), LATE, country="de")
    update(store, source, COUNTRY)
    update(store, source, flag())
    assert connection.execute("SELECT count(*) FROM exd_segments").fetchone() == (0,)
    assert totals(store, COUNTRY) == {}


def test_a_store_of_format_3_tells_segments_apart_from_now_on(connection, store):
    source = log((1, "a", "control"), (20, "b", "treatment"), LATE, sdk_name="py")
    update(store, source, SDK, hours=(0, 20))
    connection.execute("DROP TABLE exd_dimensions; DROP TABLE exd_segments; UPDATE exd_meta SET format = 3")
    store = BinStore(connection)
    assert totals(store) == {}
    update(store, source, SDK, hours=(20, 48), lookback=0 * HOUR)
    assert totals(store) == {"sdk_name": {"py": {"treatment": 1}}}


@pytest.mark.parametrize("place", ["files", "engine"])
def test_flags_of_one_reading_have_dimensions_of_their_own(records_of, place):
    pytest.importorskip("ibis")
    source = log((1, "a", "control"), LATE, country="de", score=7)
    other = source.assign(flag_key="other")
    audits = [COUNTRY, flag("other", dimensions=("score",))]
    store = BinStore(duckdb.connect())
    update(store, records_of(place, pd.concat([source, other])), *audits)
    assert totals(store, audits[0]) == {"country": {"de": {"control": 1}}}
    assert totals(store, audits[1]) == {"score": {"7": {"control": 1}}}
