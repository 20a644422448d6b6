"""What a flag declares about its hours, for the traffic test: clock, phases, holidays and events."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from math import floor
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import Event, FlagAudit, floor_hour
from exd_dagster.config.calendar import holiday_spans
from exd_dagster.stats.inputs import Booleans, Floats
from exd_dagster.stats.traffic.baseline import Baseline
from exd_dagster.stats.traffic.levels import Change, levels
from exd_dagster.stats.traffic.seasonal import Declared
from exd_dagster.stats.window import ceil_hour


def whole_hours(flag: FlagAudit, bins: FlagBins) -> FlagBins:
    """Return the bins up to the flag's end; an hour that its start or end cuts counts as not delivered."""
    whole = bins if flag.end is None else bins.between(bins.start, floor_hour(flag.end))
    if flag.start == floor_hour(flag.start):
        return whole
    delivered = whole.delivered.copy()
    delivered[: whole.index(flag.start) + 1] = False
    return replace(whole, delivered=delivered)


def declared_hours(
    flag: FlagAudit, bins: FlagBins, delivered: Booleans, volumes: Floats, baseline: Baseline
) -> tuple[Declared, dict[int, str]]:
    """Return what the flag declares about the hours of `bins`, and why hours are not evaluated, by bin."""
    size = len(bins)
    learned, reasons = _left_out(flag, bins)
    known = levels(volumes, delivered & learned, _changes(flag, bins))
    return Declared(
        clock=_clock(flag.timezone, bins.start, size), learned=learned, levels=known, baseline=baseline
    ), reasons


@lru_cache(maxsize=256)
def _clock(timezone: str, start: datetime, size: int) -> NDArray[np.int64]:
    """Return the hours by which a clock is ahead of UTC, int (T,); it changes at whole UTC hours."""
    if timezone == "UTC" or not size:
        return np.zeros(size, dtype=np.int64)
    zone = ZoneInfo(timezone)
    offsets = [
        ((start + HOUR * hour).astimezone(zone).utcoffset() or timedelta()) / HOUR for hour in range(size)
    ]
    return np.array([floor(offset) for offset in offsets], dtype=np.int64)


def _changes(flag: FlagAudit, bins: FlagBins) -> list[Change]:
    """Return the changes of coverage in these bins."""
    found, before = list[Change](), _first_coverage(flag)
    for start, coverage in coverage_changes(flag):
        ratio = None if before is None or coverage is None else coverage / before
        before = coverage
        if start < bins.audited_through:
            first = ceil_hour(start)
            found.append(Change(bins.index(first), ratio, first != floor_hour(start)))
    return found


def _first_coverage(flag: FlagAudit) -> float | None:
    return (flag.schedule[0].coverage if flag.schedule else None) or flag.coverage


def coverage_changes(flag: FlagAudit) -> list[tuple[datetime, float | None]]:
    """Return (start, coverage) of each phase that declares another coverage than before; None: unknown."""
    found, before = list[tuple[datetime, float | None]](), _first_coverage(flag)
    for _, phase in pairwise(flag.schedule):
        if phase.coverage is None or phase.coverage != before:
            found.append((phase.start, phase.coverage))
        before = phase.coverage
    return found


def _left_out(flag: FlagAudit, bins: FlagBins) -> tuple[Booleans, dict[int, str]]:
    """Return which hours may be learned from, bool (T,), and why hours are not evaluated."""
    learned, reasons = np.ones(len(bins), dtype=bool), dict[int, str]()
    for span in known_days(flag, bins.start, bins.audited_through):
        first = max((span.start - bins.start) // HOUR, 0)
        last = min(-((bins.start - span.end) // HOUR), len(bins))
        learned[first : max(last, first)] = False
        if not span.judge:
            reasons.update(dict.fromkeys(range(first, last), span.note))
    return learned, reasons


def known_days(flag: FlagAudit, start: datetime, end: datetime) -> list[Event]:
    """Return the periods in [start, end) known to be different: events, then holidays."""
    found = [event for event in flag.events if event.start < end and event.end > start]
    if flag.holidays and start < end:
        around = holiday_spans(flag.holidays, flag.timezone, start, end)
        found += [Event(start=first, end=last, note=f"holiday ({name})") for first, last, name in around]
    return found
