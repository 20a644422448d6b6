"""The window: --since, or --from and --to, in UTC and half-open."""

from datetime import datetime, timedelta, timezone

import click
import pytest

from exd_dagster.cli.telemetry.window import read_window

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=timezone.utc)


def utc(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("since", "length"),
    [
        (None, timedelta(hours=24)),
        ("30m", timedelta(minutes=30)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(14)),
    ],
)
def test_since_reaches_back_from_now(since, length):
    window = read_window(since, None, None, NOW)
    assert (window.start, window.end) == (NOW - length, NOW)


@pytest.mark.parametrize("text", ["2026-03-01", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00+02:00"])
def test_instant_is_read_in_utc(text):
    assert read_window(None, text, None, NOW).start == utc(1)


def test_to_is_now_when_left_out():
    assert read_window(None, "2026-03-01", None, NOW).end == NOW


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        (("24h", "2026-03-01", None), "excludes"),
        ((None, None, "2026-03-01"), "--to needs --from"),
        ((None, "2026-03-02", "2026-03-02"), "is not before"),
        ((None, "2026-03-01T00:00", None), "no UTC offset"),
        ((None, "yesterday", None), "write for example 2026-03-01T00:00:00Z"),
        (("24", None, None), "write for example 30m, 24h"),
        (("0h", None, None), "is not a duration"),
    ],
)
def test_unusable_window_is_a_usage_error_that_says_what_to_write(given, fix):
    with pytest.raises(click.UsageError, match=fix):
        read_window(*given, NOW)
