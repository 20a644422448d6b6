"""Repeated chi-square: when does a repeated check fail permanently?

Day k since the iteration began may spend alpha_k = alpha / (k (k + 1)), which sums to alpha over all days:
its close is tested at alpha_k, each other hour at alpha_k / 24. The looks follow from the bins
alone, so the result does not depend on how often the check was run. Once failed, an iteration stays failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.methods.chi_square import p_values

HOURS_A_DAY = 24


@dataclass(frozen=True, slots=True)
class Look:
    """One look of the repeated check.

    Attributes:
        bin: the look was at the end of this bin (from 0).
        p_value: of all units so far.
        level: p must be below it to fail permanently.
    """

    bin: int
    p_value: float
    level: float


def look_levels(bins: int, alpha: float) -> Floats:
    """Return the level of the look at the end of each of `bins` hourly bins, float (bins,)."""
    hour = np.arange(1, bins + 1)
    day = np.ceil(hour / HOURS_A_DAY)
    shared = np.where(hour % HOURS_A_DAY == 0, 1.0, HOURS_A_DAY)
    return np.asarray(alpha / (day * (day + 1) * shared))


def first_failed_look(
    counts: Floats, periods: Sequence[Period], *, alpha: float, min_sample_size: int
) -> Look | None:
    """Return the first look that fails permanently, None if none does.

    Args:
        counts: float (T, V), newly exposed units per hour of the iteration.
        periods: the declared split of every bin.
        alpha: level of all looks together.
        min_sample_size: no look is taken below so many units.
    """
    if not len(counts):
        return None
    levels = look_levels(len(counts), alpha)
    p = p_values(counts, periods, float(levels.max()))
    failed = np.flatnonzero((p < levels) & (counts.sum(axis=1).cumsum() >= min_sample_size))
    return Look(int(failed[0]), float(p[failed[0]]), float(levels[failed[0]])) if len(failed) else None
