"""Time zones and public holidays: what a configuration may name, and which hours of a log they are."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator

from exd_dagster.errors import did_you_mean

NO_HOLIDAYS = 'needs the package holidays: pip install "exd-dagster[holidays]"'
EVE_FROM = 12
"""Local hour from which the day before a holiday is left out."""


def checked_zone(value: object) -> object:
    """Return the name of an IANA time zone.

    Raises:
        ValueError: for a zone that this machine does not know, with the nearest name.
    """
    if not isinstance(value, str):
        return value
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        hint = did_you_mean(value, sorted(available_timezones()))
        raise ValueError(f"is no time zone; write an IANA name such as America/New_York.{hint}") from None
    return value


def checked_holidays(value: object) -> object:
    """Return the calendars named by `value`, a code or several, as a tuple.

    Raises:
        ValueError: when the package is missing or does not know a country or its part.
    """
    codes = (value,) if isinstance(value, str) else value
    if not isinstance(codes, Sequence) or not all(isinstance(code, str) for code in codes):
        raise ValueError('write a country, "US", or with its part, "DE-BY"; several as a list')
    for code in codes:
        _calendar(code, [2026])
    return tuple(codes)


def as_event(value: object) -> object:
    """Read (from, to) or (from, to, note) as a mapping."""
    if isinstance(value, (list, tuple)):
        if len(value) not in (2, 3):
            raise ValueError("an event is (from, to, note)")
        return dict(zip(("start", "end", "note"), value, strict=False))
    return value


Zone = Annotated[str, BeforeValidator(checked_zone)]
Holidays = Annotated[tuple[str, ...], BeforeValidator(checked_holidays)]


def _calendar(code: str, years: Iterable[int]) -> Mapping[date, str]:
    """Return the holidays of a country or its part: name by local day."""
    try:
        import holidays
    except ImportError:
        raise ValueError(NO_HOLIDAYS) from None
    country, _, part = code.partition("-")
    known = holidays.list_supported_countries()
    if country not in known:
        raise ValueError(f"'{code}': no holidays of '{country}' are known.{did_you_mean(country, known)}")
    if part and part not in known[country]:
        parts = ", ".join(known[country]) or "none"
        raise ValueError(f"'{code}': {country} has no part '{part}'; known parts: {parts}")
    found: Any = holidays.country_holidays(country, subdiv=part or None, years=list(years))
    return dict(found)


def holiday_spans(
    codes: Sequence[str], zone: str, start: datetime, end: datetime
) -> list[tuple[datetime, datetime, str]]:
    """Return (from, to, name) of the periods around holidays that touch [start, end), UTC-aware.

    Left out are the holiday, the day before it from 12:00, and a single working day between it and a weekend;
    days are those of `zone`.
    """
    tz = ZoneInfo(zone)
    years = range(start.year - 1, end.year + 2)
    named: dict[date, str] = {}
    for code in codes:
        named = {**_calendar(code, years), **named}
    spans = []
    for day, name in sorted(named.items()):
        first, last = _bridged(day)
        begin = datetime.combine(first - timedelta(days=1), time(EVE_FROM), tz)
        stop = datetime.combine(last + timedelta(days=1), time(), tz)
        if begin < end and stop > start:
            spans.append((begin, stop, name))
    return spans


def _bridged(day: date) -> tuple[date, date]:
    """Return first and last day of a holiday with its bridging day: a Monday before, or a Friday after."""
    weekday = day.weekday()
    return day - timedelta(days=weekday == 1), day + timedelta(days=weekday == 3)
