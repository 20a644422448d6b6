"""Text instants: with an offset or a zone in any common spelling; without one they are of the log's zone."""

from itertools import product

import duckdb
import pytest

from exd_dagster.telemetry import instants
from exd_dagster.telemetry.instants import time_sql

MIDNIGHT = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z


def hours_from_midnight(text: str, zone: str = "UTC", session: str = "UTC") -> float | None:
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{session}'")
        ((us,),) = connection.execute(
            f"SELECT {time_sql('moment', 'VARCHAR', zone)} FROM (SELECT ? AS moment)", [text]
        ).fetchall()
    return None if us is None else (us - MIDNIGHT) / 3_600_000_000


@pytest.mark.parametrize("session", ["UTC", "America/New_York"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T00:00:00Z",
        "2026-03-01T00:00:00.000z",
        "2026-03-01 02:00:00+02",
        "2026-03-01T02:00:00.000+02:00",
        "2026-02-28T19:00:00-05:00",
        "2026-02-28 19:00:00-0500",
        "2026-03-01 02:00:00 +0200",
        "2026-02-28 19:00:00.000 -05:00",
        "2026-03-01 00:00:00.000 UTC",
        "2026-03-01T00:00Z",
        "2026-02-28 19:00-05:00",
        "2026-03-01 00:00 UTC",
        " 2026-03-01T00:00:00Z ",
        "2026-03-01 01:00:00 Europe/Berlin",
        "2026-02-28 19:00:00 America/New_York",
    ],
)
def test_offset_is_honoured_whatever_the_zones(text, zone, session):
    assert hours_from_midnight(text, zone, session) == 0


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Europe/Berlin", -1)])
@pytest.mark.parametrize("text", ["2026-03-01T00:00:00", "2026-03-01 00:00", "2026-03-01"])
def test_text_without_an_offset_is_of_the_logs_zone(text, zone, hours):
    assert hours_from_midnight(text, zone, "America/New_York") == hours


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01 00:00:00 nowhere",
        "2026-03-01 00:00:00 PM",
        "2026-02-30T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "yesterday",
        "",
    ],
)
def test_text_that_names_no_instant_is_not_guessed_at(text, zone):
    """A zone that is not understood and a leap second, which no clock here has, are among them."""
    assert hours_from_midnight(text, zone) is None


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_short_way_of_the_usual_forms_reads_no_instant_differently(zone, monkeypatch):
    """Dates, separators, times, fractions and offsets, each in many spellings, also wrong ones."""
    dates = ("2026-03-01", "2026-3-1", "20260301", "0099-03-01", "2026-02-30", "+2026-03-01")
    times = ("09:00:00", "9:00:00", "09:00", "25:00:00", "09:00:60", "24:00:00", "09-00-00")
    fractions = ("", ".1", ".123456789", ",123", ".")
    offsets = ("", "Z", " Z", "z", "+00", "+0100", "-05:30", "+1", " +0100", " UTC", "NZ", " CST", "+24:00")
    offsets = (*offsets, "+00:00:30", "Z ", "+010", "-5")
    texts = ["".join(parts) for parts in product(dates, ("T", " ", "  ", ""), times, fractions, offsets)]
    numbers = ["1" + "2" * digits + end for digits in range(22) for end in ("", ".5", "e3", " ", "-")]
    texts += [*numbers, "20260301090000", "+772355600", "0x11111111", "1_772355600", "1772355600 UTC"]
    usual = time_sql("text", "VARCHAR", zone)
    monkeypatch.setattr(instants, "_from_most", lambda *_: "NULL")
    whole = time_sql("text", "VARCHAR", zone)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        rows = connection.execute(f"SELECT text, {usual}, {whole} FROM (SELECT unnest($1) AS text)", [texts])
        found = rows.fetchall()
    assert [row for row in found if row[1] != row[2]] == []
    assert sum(row[1] is not None for row in found) > 1000
