r"""The level of traffic declared by phases: a declared change of coverage is not a traffic drop.

Volumes are divided by the level of their hour before weeks are compared. With coverage c declared, the level
is c from the start of a phase on. Where the coverage grows, clients and returning units take it up within a
day: the old level holds for the first day, and g from then on, at most the declared ratio and at
least 1. Where it is not declared, only missing traffic is detected in the first day, and the level is g times
that before, where

    g = (units of the first day) / (units of the same hours a week earlier, or a day where there is no week).

A day without units gives no level: missing traffic is a fault, so g = 1. The second day may lower g, by a
third at most: returning units of a larger audience fade slowly. For three weeks, weeks of two
levels are compared, so phi grows by the squared relative error of a level, .1^2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exd_dagster.stats.inputs import Booleans, Floats

WEEK, DAY = 168, 24
LEVEL_ERROR = 0.1**2
SETTLED_AFTER = 3 * WEEK


@dataclass(frozen=True, slots=True)
class Change:
    """A declared change of the audience.

    Attributes:
        first: first whole bin of the phase.
        ratio: coverage over the coverage before; None: not declared.
        partial: whether the bin before contains both.
    """

    first: int
    ratio: float | None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of every hour.

    Attributes:
        level: float (T,), relative to the first phase.
        judged: bool (T,), False in hours whose level is not known yet.
        learned: bool (T,), False in hours that are of neither level.
        error: float (T,), addition to phi for a level that was not observed completely.
    """

    level: Floats
    judged: Booleans
    learned: Booleans
    error: Floats


def levels(volumes: Floats, delivered: Booleans, changes: Sequence[Change]) -> Levels:
    """Return the level of each hour; an hour's depends on none after it."""
    size = len(volumes)
    found = Levels(np.ones(size), np.ones(size, bool), np.ones(size, bool), np.zeros(size))
    for number, change in enumerate(changes):
        if change.ratio == 1 or not 0 < change.first < size:
            continue
        begin = change.first
        following = [other.first for other in changes[number + 1 :] if other.ratio != 1]
        old = float(found.level[begin - 1])
        _apply(found, volumes, delivered, change, old, min([size, *following]))
        if change.partial:
            found.judged[begin - 1] = found.learned[begin - 1] = False
        found.error[begin : begin + SETTLED_AFTER] = LEVEL_ERROR
    return found


def _apply(
    found: Levels, volumes: Floats, delivered: Booleans, change: Change, old: float, until: int
) -> None:
    begin, ratio = change.first, change.ratio
    if ratio is not None and ratio < 1:
        found.level[begin:] = old * ratio
        found.learned[begin : begin + DAY] = False
        return
    day = begin + DAY
    found.learned[begin:day] = False
    if ratio is None:
        found.judged[begin:day] = False
    first = _observed(found.level, volumes, delivered, begin, min(day, until))
    second = _observed(found.level, volumes, delivered, day, min(day + DAY, until))
    later = min(first, max(second, first * 2 / 3))
    most = np.inf if ratio is None else ratio
    least = 0.0 if ratio is None else 1.0
    found.level[begin:] = old
    found.level[day:] = old * min(max(first, least), most)
    found.level[day + DAY :] = old * min(max(later, least), most)


def _observed(level: Floats, volumes: Floats, delivered: Booleans, begin: int, end: int) -> float:
    """Return the units of [begin, end) over those of the same hours before `begin` at the same level."""
    if begin >= end:
        return 1.0
    for step in (WEEK, DAY):
        hours = np.arange(begin, end)
        before = hours - step
        before -= step * np.maximum(-(-(before - begin + 1) // step), 0)
        known = (before >= 0) & delivered[hours] & delivered[np.maximum(before, 0)]
        total = (volumes[before[known]] * level[begin - 1] / level[before[known]]).sum()
        seen = volumes[hours[known]].sum()
        if known.sum() > (end - begin) / 2 and min(seen, total) > 0:
            return float(seen / total)
    return 1.0


def no_levels(size: int) -> Levels:
    """Return the levels of a flag without phases."""
    return levels(np.ones(size), np.ones(size, bool), ())
