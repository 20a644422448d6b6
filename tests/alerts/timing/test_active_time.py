"""Weekdays and times of day in the clocks of a place."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.alerts.policy.timing.active_time import is_active, next_start, read_interval

OFFICE = [read_interval("Mon-Fri 08:00-18:00")]
NIGHT = [read_interval("Fri,Sat 22:00-06:00")]


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)


@pytest.mark.parametrize(
    ("instant", "active"),
    [
        ("2026-03-06T07:59", False),
        ("2026-03-06T08:00", True),
        ("2026-03-06T17:59", True),
        ("2026-03-06T18:00", False),
        ("2026-03-07T12:00", False),
    ],
)
def test_office_hours_are_those_of_the_zone(instant, active):
    assert is_active(OFFICE, "America/New_York", at(instant, "America/New_York")) == active


def test_an_interval_over_midnight_belongs_to_the_day_on_which_it_begins():
    assert is_active(NIGHT, "UTC", at("2026-03-08T05:59"))  # Sunday morning, of Saturday
    assert not is_active(NIGHT, "UTC", at("2026-03-08T22:00"))
    assert not is_active(NIGHT, "UTC", at("2026-03-06T05:00"))  # Friday morning, of Thursday


def test_on_a_friday_evening_the_office_opens_again_on_monday():
    assert next_start(OFFICE, "Europe/Berlin", at("2026-03-06T18:00", "Europe/Berlin")) == at(
        "2026-03-09T08:00", "Europe/Berlin"
    )


def test_an_hour_that_clocks_skip_opens_with_the_first_minute_there_is():
    """In Berlin 02:00 to 03:00 does not exist on 29 March 2026."""
    early = [read_interval("Sun 02:30-05:00")]
    before, after = at("2026-03-29T00:59"), at("2026-03-29T01:00")
    assert (is_active(early, "Europe/Berlin", before), is_active(early, "Europe/Berlin", after)) == (
        False,
        True,
    )


@pytest.mark.parametrize(
    "text", ["", "08:00", "8-18", "Mon 08:00-25:00", "Foo 08:00-18:00", "08:00-08:00", "24:00-06:00"]
)
def test_what_is_no_interval_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"write (weekdays|one of Mon)"):
        read_interval(text)


@given(
    st.integers(0, 2 * 365 * 24 * 60),
    st.sampled_from(
        ["Mon-Fri 08:00-18:00", "22:00-06:00", "Sun 02:30-03:30", "Sat-Mon 00:00-24:00", "Wed 23:59-24:00"]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_the_next_start_is_active_and_nothing_before_it_is(minute, text, zone):
    intervals, now = [read_interval(text)], at("2026-01-01") + timedelta(minutes=minute)
    start = next_start(intervals, zone, now)
    skipped = start.astimezone(ZoneInfo(zone)).utcoffset() != now.astimezone(ZoneInfo(zone)).utcoffset()
    assert start >= now
    assert skipped or is_active(intervals, zone, start)
    minutes = int((start - now) / timedelta(minutes=1))
    for later in range(0, minutes, 17):
        assert skipped or not is_active(intervals, zone, now + timedelta(minutes=later))
