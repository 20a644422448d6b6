"""Hours as numbers: whole hours since 1970 in UTC."""

from datetime import datetime

from exd_dagster.telemetry.records import from_ms, instant_ms

HOUR_MS = 3_600_000


def hour_of(instant: datetime) -> int:
    """Return the hour that contains `instant`."""
    return instant_ms(instant) // HOUR_MS


def ceil_hour(instant: datetime) -> int:
    """Return the first hour that starts at or after `instant`."""
    return -(-instant_ms(instant) // HOUR_MS)


def instant_of(hour: int) -> datetime:
    """Return the start (UTC) of an hour."""
    return from_ms(hour * HOUR_MS)
