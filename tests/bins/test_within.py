"""One segment by a second dimension, read from the log again."""

import pytest

from exd_dagster.bins.model import Segment
from exd_dagster.config import Phase
from exd_dagster.errors import RecordsError
from tests.bins.conftest import HOUR, SPLIT, START, flag, log, update
from tests.bins.engine_log import COLUMNS

BROWSER = flag(dimensions=("browser", "country"))
KINDS = {**COLUMNS, "sdk_version": "string", "browser": "string", "country": "string"}
NEW = Segment("sdk_version", "2", 0)
LATE = (30, "end", "control")


def within(store, source, audit=BROWSER, segment=NEW, start=0, end=29):
    update(store, source, audit)
    bounds = START + start * HOUR, START + end * HOUR
    return store.within(source, audit, segment, *bounds, now=START + 60 * HOUR)


@pytest.mark.parametrize("place", ["files", "engine"])
def test_the_units_of_a_segment_are_counted_by_every_other_dimension(store, records_of, place):
    """Each unit once, with the values that the record of its first exposure has."""
    rows = [(1, "a", "control"), (2, "a", "control"), (1, "b", "treatment"), (3, "c", "control"), LATE]
    frame = log(
        *rows,
        sdk_version=["2", "1", "2", "1", "1"],
        browser=["Safari", "Firefox", None, "Safari", "Safari"],
        country=["de", "fr", "de", "fr", "fr"],
    )
    found = within(store, records_of(place, frame, KINDS))
    assert found["browser"] == {"Safari": {"control": 1}, "(none)": {"treatment": 1}}
    assert found["country"] == {"de": {"control": 1, "treatment": 1}}


@pytest.mark.parametrize("place", ["files", "engine"])
def test_only_first_exposures_in_the_hours_asked_for_are_counted(store, records_of, place):
    """A unit met before them is not new in them, and one met after them is not among them."""
    rows = [(1, "a", "control"), (6, "a", "control"), (7, "b", "treatment"), (12, "c", "control"), LATE]
    frame = log(*rows, sdk_version="2", browser="Safari", country="de")
    assert within(store, records_of(place, frame, KINDS), start=5, end=10)["browser"] == {
        "Safari": {"treatment": 1}
    }


@pytest.mark.parametrize("place", ["files", "engine"])
def test_an_iteration_counts_its_units_anew(store, records_of, place):
    audit = flag(
        dimensions=("browser", "country"),
        phases=(Phase(start=START + 4.5 * HOUR, split=SPLIT, rerandomized=True),),
    )
    rows = [(1, "a", "control"), (4.2, "b", "control"), (6, "a", "treatment"), LATE]
    frame = log(*rows, sdk_version="2", browser="Safari", country="de")
    found = within(store, records_of(place, frame, KINDS), audit, start=4)
    assert found["browser"] == {"Safari": {"treatment": 1}}


def test_the_values_equal_those_counted_by_hour(store):
    """Of a segment that holds every unit, each dimension has the counts that the bins have."""
    rows = [(i / 4, f"u{i % 70}", ("control", "treatment")[i % 70 % 2]) for i in range(100)]
    browsers = [("Safari", "Firefox", "Chrome", None)[i % 4] for i in range(100)]
    source = log(*rows, LATE, sdk_version="2", browser=[*browsers, None], country="de")
    found = within(store, source)
    totals = store.segments(BROWSER, store.read(BROWSER)).totals()
    assert found["browser"] == totals["browser"]


def test_rarer_values_are_summed(store):
    rows = [(1, f"u{i}", "control") for i in range(70)]
    source = log(*rows, LATE, sdk_version="2", browser=[*(f"b{i:02}" for i in range(70)), ""], country="de")
    found = within(store, source)["browser"]
    assert len(found) == 51
    assert found["(other)"] == {"control": 20}


def test_a_column_that_the_log_no_longer_has_is_named(store):
    update(store, log((1, "a", "control"), LATE, sdk_version="2", browser="Safari", country="de"), BROWSER)
    gone = log((1, "a", "control"), LATE, browser="Safari", country="de")
    with pytest.raises(RecordsError, match="no longer has the column 'sdk_version'"):
        store.within(gone, BROWSER, NEW, START, START + 9 * HOUR, now=START + 60 * HOUR)


def test_nothing_is_written(connection, store):
    source = log((1, "a", "control"), LATE, sdk_version="2", browser="Safari", country="de")
    update(store, source, BROWSER)
    before = connection.execute("SELECT updates FROM exd_meta").fetchone()
    tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    store.within(source, BROWSER, NEW, START, START + 9 * HOUR, now=START + 60 * HOUR)
    assert connection.execute("SELECT updates FROM exd_meta").fetchone() == before
    assert connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == tables
