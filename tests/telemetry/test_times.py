"""Text instants: with an offset or a zone in any common spelling; without one they are of the log's zone."""

import duckdb
import pytest

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
