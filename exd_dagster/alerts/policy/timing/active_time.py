"""The hours of the week in which a destination is notified: weekdays and times in one time zone. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FORM = re.compile(r"(?:(?P<days>[A-Za-z,\-\s]+?)\s+)?(?P<start>\d\d:\d\d)\s*-\s*(?P<end>\d\d:\d\d)")
_WRITE = "write weekdays and times, for example 'Mon-Fri 08:00-18:00' or '22:00-06:00'"
_MIDNIGHT = 24 * 60


@dataclass(frozen=True, slots=True)
class Interval:
    """Some hours of some weekdays.

    Attributes:
        days: weekdays on which it begins, 0 for Monday.
        start: minutes after local midnight.
        end: first minute no longer within; at or before `start` it lies on the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def holds(self, weekday: int, minute: int) -> bool:
        """True when a local weekday and minute of the day lie within."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        return (weekday in self.days and minute >= self.start) or (
            (weekday - 1) % 7 in self.days and minute < self.end
        )


def read_interval(text: str) -> Interval:
    """Read "Mon-Fri 08:00-18:00"; without weekdays it is every day, and 24:00 may end a day.

    Raises:
        ValueError: for anything else.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is no interval; {_WRITE}")
    start, end = _minutes(found["start"]), _minutes(found["end"])
    if start in (end, _MIDNIGHT):
        raise ValueError(f"'{text}' holds no time; {_WRITE}")
    return Interval(_days(found["days"]), start, end)


def _minutes(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if minute > 59 or hour * 60 + minute > _MIDNIGHT:
        raise ValueError(f"'{text}' is no time of day; {_WRITE}")
    return hour * 60 + minute


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, *last = (_weekday(name) for name in part.split("-"))
        end = last[-1] if last else first
        days.update((first + i) % 7 for i in range((end - first) % 7 + 1))
    return frozenset(days)


def _weekday(name: str) -> int:
    short = name.strip().capitalize()
    if short not in DAYS:
        raise ValueError(f"'{name.strip()}' is no weekday; write one of {', '.join(DAYS)}")
    return DAYS.index(short)


def is_active(intervals: Sequence[Interval], zone: str, now: datetime) -> bool:
    """True when `now` (UTC) lies within any interval of the zone's clocks, or when there is none."""
    local = now.astimezone(ZoneInfo(zone))
    return not intervals or any(i.holds(local.weekday(), local.hour * 60 + local.minute) for i in intervals)


def next_start(intervals: Sequence[Interval], zone: str, now: datetime) -> datetime:
    """Return the next instant at or after `now` (UTC) from which a destination is notified.

    Where clocks are put forward over the beginning, it is the first minute that exists.

    Args:
        intervals: at least one.
        zone: IANA time zone.
        now: the time (UTC).
    """
    if is_active(intervals, zone, now):
        return now
    tz, today = ZoneInfo(zone), now.astimezone(ZoneInfo(zone)).date()
    starts = [
        datetime.combine(today + timedelta(days=day), time(), tz) + timedelta(minutes=interval.start)
        for day in range(9)
        for interval in intervals
        if (today + timedelta(days=day)).weekday() in interval.days
    ]
    return min(at for start in starts if (at := start.astimezone(timezone.utc)) > now)
