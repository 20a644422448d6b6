"""Instants and durations as configurations write them."""

from datetime import date, datetime, time, timedelta, timezone
from re import fullmatch
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from exd_dagster.errors import ConfigError


def to_utc(value: object) -> object:
    """Read an instant as a UTC-aware datetime; a bare date is its midnight in UTC.

    Raises:
        ValueError: for a time of day without an offset, which would mean a different hour elsewhere.
    """
    if isinstance(value, str):
        text = value.strip()
        value = date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(_iso(text))
    if isinstance(value, date) and not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(
            f"lies outside the years {_FIRST_YEAR} to {_LAST_YEAR}; write 2000-01-01 for a whole log, and no "
            "end for one that stays open"
        )
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no UTC offset; write {value.isoformat()}Z for UTC")
        return value.astimezone(timezone.utc)
    if isinstance(value, date):
        return datetime.combine(value, time(), timezone.utc)
    return value


def utc_now() -> datetime:
    """Return the time (UTC)."""
    return datetime.now(timezone.utc)


def instant_of(value: object, what: str, field: str) -> datetime:
    """Read an instant that was given as an argument (UTC).

    Args:
        value: what was given.
        what: whose argument it is.
        field: its name.

    Raises:
        ConfigError: when it is not an instant.
    """
    try:
        instant = to_utc(value)
    except ValueError as error:
        raise ConfigError(what, [f"{field}: {error}"]) from None
    if not isinstance(instant, datetime):
        raise ConfigError(what, [f"{field}: {value!r} is not an instant; write '2026-03-01'"])
    return instant


_FIRST_YEAR, _LAST_YEAR = 1970, 2200
"""Instants beyond have no place in the store, and windows around them none in Python's calendar."""


def _iso(text: str) -> str:
    """Python 3.10 does not read the "Z" of RFC 3339."""
    return text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text


_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def to_duration(value: object) -> object:
    """Read a duration such as 30m, 1h, 2d or 1w; anything else is left to pydantic."""
    found = fullmatch(r"(\d{1,6})([mhdw])", value.strip()) if isinstance(value, str) else None
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else value


InstantLike: TypeAlias = str | date | datetime
"""An instant as an argument of a function; see `instant_of`."""
Instant = Annotated[datetime, BeforeValidator(to_utc)]
Duration = Annotated[timedelta, BeforeValidator(to_duration)]
