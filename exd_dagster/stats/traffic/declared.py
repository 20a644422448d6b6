"""What a flag declares about its hours, for the traffic test: clock, phases, holidays and events."""

from datetime import timedelta
from itertools import pairwise
from math import floor
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.config.calendar import holiday_spans
from exd_dagster.stats.inputs import Booleans, Floats
from exd_dagster.stats.traffic.baseline import Baseline
from exd_dagster.stats.traffic.levels import Change, levels, no_levels
from exd_dagster.stats.traffic.seasonal import Declared
from exd_dagster.stats.window import ceil_hour


def declared_hours(
    flag: FlagAudit, bins: FlagBins, landed: Booleans, volumes: Floats, baseline: Baseline
) -> tuple[Declared, dict[int, str]]:
    """Return what the flag declares about the hours of `bins`, and why hours are not judged, by bin."""
    size = len(bins)
    learned, reasons = _left_out(flag, bins)
    changes = _changes(flag, bins)
    known = levels(volumes, landed & learned, changes) if changes else no_levels(size)
    return Declared(clock=_clock(flag, bins), learned=learned, levels=known, baseline=baseline), reasons


def _clock(flag: FlagAudit, bins: FlagBins) -> NDArray[np.int64]:
    """Return the hours by which the flag's clock is ahead of UTC, int (T,); it changes at whole UTC hours."""
    size = len(bins)
    if flag.timezone == "UTC" or not size:
        return np.zeros(size, dtype=np.int64)
    zone = ZoneInfo(flag.timezone)
    offsets = [
        ((bins.start + HOUR * hour).astimezone(zone).utcoffset() or timedelta()) / HOUR
        for hour in range(size)
    ]
    return np.array([floor(offset) for offset in offsets], dtype=np.int64)


def _changes(flag: FlagAudit, bins: FlagBins) -> list[Change]:
    """Return where a phase declares another coverage, or does not tell it."""
    found: list[Change] = []
    told: float | None = flag.coverage if not flag.schedule else flag.schedule[0].coverage or flag.coverage
    for _, phase in pairwise(flag.schedule):
        ratio = None if told is None or phase.coverage is None else phase.coverage / told
        told = phase.coverage
        if ratio == 1 or phase.start >= bins.audited_through:
            continue
        first = ceil_hour(phase.start)
        found.append(Change(bins.index(first), ratio, first != floor_hour(phase.start)))
    return found


def _left_out(flag: FlagAudit, bins: FlagBins) -> tuple[Booleans, dict[int, str]]:
    """Return which hours may be learned from, bool (T,), and why hours are not judged."""
    learned, reasons = np.ones(len(bins), dtype=bool), dict[int, str]()
    spans = [(event.start, event.end, event.note, event.judge) for event in flag.events]
    if flag.holidays and len(bins):
        around = holiday_spans(flag.holidays, flag.timezone, bins.start, bins.audited_through)
        spans += [(start, end, f"holiday ({name})", False) for start, end, name in around]
    for start, end, note, judge in spans:
        first, last = max((start - bins.start) // HOUR, 0), min(-((bins.start - end) // HOUR), len(bins))
        learned[first : max(last, first)] = False
        if not judge:
            reasons.update(dict.fromkeys(range(first, last), note))
    return learned, reasons
