r"""The expected volume of an hour: the same local hour of earlier weeks, robust against one unusual week.

Let A_1..A_K be the K <= 3 newest usable volumes of the same local hour in earlier weeks, B the median of the
same hour over the last seven days, and R <= 1 the largest of the medians of volume / A_1 on each of the last
three days: the fading of a launch must not be taken for its level.
While the weeks agree, max A <= L min A + 3 sqrt(min A) with L = 1.4, mu is their mean: what chance alone does
to small counts is no disagreement. Otherwise

    K = 3:  the median of A, and the mean of those with A <= L max(B, min A) where that is less,
    K = 2:  the smaller A,

and with K = 1, which no other week can be compared with, mu = min(A R, B): other days of the same week take
the place of the other weeks. The median has breakdown point 1/2 (Hampel et al., Robust Statistics,
1986); with the rule of agreement ordinary weeks keep the efficiency of the mean.

`baseline="mean"` takes the mean of A always.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exd_dagster.stats.inputs import Booleans, Floats

Baseline = Literal["robust", "mean"]

WEEK, DAY = 168, 24
LAGS = 3
OLDEST_LAG = 6
AGREE = 1.4
"""Weeks agree while the largest is at most this many times the smallest, and what chance adds."""
ENOUGH_RATIOS = 60
"""Of 72 hours: the ratio to a single day, the first of a launch, says nothing of the level."""
CHANCE = 3.0
"""Deviations of a Poisson count that the largest may lie above that."""


@dataclass(frozen=True, slots=True)
class History:
    """The data behind expectations, up to the requested hour.

    Attributes:
        volumes: float (T,), units per hour, divided by the level of the hour.
        delivered: bool (T,), hours that may be learned from.
        low: bool (T,), hours at fault.
        clock: int (T,), hours by which the local clock is ahead of UTC.
    """

    volumes: Floats
    delivered: Booleans
    low: Booleans
    clock: NDArray[np.int64]

    def before(self, hours: NDArray[np.int64], step: int, count: int) -> NDArray[np.int64]:
        """Return (count, hours): the same local hour 1..count steps earlier; -1 where there is none."""
        plain = hours - step * np.arange(1, count + 1)[:, None]
        local = plain + self.clock[hours] - self.clock[np.maximum(plain, 0)] if self.clock.any() else plain
        return np.asarray(np.maximum(local, -1))


@dataclass(frozen=True, slots=True)
class Weeks:
    """The earlier weeks of some hours.

    Attributes:
        hours: int (n,), the bins asked.
        chosen: float (6, n), volumes of the weeks that are learned from; NaN for others.
        count: int (n,), how many they are.
        mu: float (n,), their mean; NaN where there is none.
        unsure: bool (n,), where weeks disagree, or there is only one.
    """

    hours: NDArray[np.int64]
    chosen: Floats
    count: NDArray[np.int64]
    mu: Floats
    unsure: Booleans


def earlier_weeks(history: History, begin: int, end: int) -> Weeks:
    """Return the weeks before the hours [begin, end).

    Hours at fault are left out; where six weeks hold no other, the newest three are taken.
    """
    hours = np.arange(begin, end)
    lags = history.before(hours, WEEK, OLDEST_LAG)
    known = (lags >= 0) & history.delivered[lags]
    clean = known & ~history.low[lags]
    chosen = np.where(clean.any(axis=0), clean, known)
    chosen &= chosen.cumsum(axis=0) <= LAGS
    count = chosen.sum(axis=0)
    volumes = history.volumes[lags]
    mean = np.where(count > 0, np.where(chosen, volumes, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    least = np.where(chosen, volumes, np.inf).min(axis=0)
    with np.errstate(invalid="ignore"):
        apart = np.where(chosen, volumes, 0.0).max(axis=0) > AGREE * least + CHANCE * np.sqrt(least)
    return Weeks(hours, np.where(chosen, volumes, np.nan), count, mean, apart | (count == 1))


def cautious(history: History, weeks: Weeks) -> Floats:
    """Return mu of some days, including the rule for weeks that disagree or are single."""
    mu: Floats = weeks.mu.copy()
    three, two = weeks.unsure & (weeks.count == 3), weeks.unsure & (weeks.count == 2)
    one = weeks.count == 1
    if three.any():
        some = weeks.chosen[:, three]
        bound = AGREE * np.fmax(_recent_days(history, weeks.hours[three]), np.nanmin(some, axis=0))
        kept = np.where(some <= bound, some, np.nan)
        mu[three] = np.minimum(_median(some), np.nanmean(kept, axis=0))
    if two.any():
        mu[two] = np.nanmin(weeks.chosen[:, two], axis=0)
    if one.any():
        recent = _recent_days(history, weeks.hours[one])
        level = _recent_levels(history, weeks.hours[one], int(weeks.hours[0]))
        mu[one] = np.fmin(mu[one] * level, recent)
    return mu


def _recent_days(history: History, hours: NDArray[np.int64]) -> Floats:
    """Return B: the median of the same local hour over the last seven days; NaN without any."""
    days = history.before(hours, DAY, 7)
    usable = (days >= 0) & history.delivered[days] & ~history.low[days]
    return _median(np.where(usable, history.volumes[days], np.nan))


def _recent_levels(history: History, hours: NDArray[np.int64], first: int) -> Floats:
    """Return R of each hour: of volume / last week's on the three days before, the largest daily median."""
    # `first` is the first hour of some day.
    days, place = np.unique((hours - first) // DAY, return_inverse=True)
    recent = (first + DAY * days - np.arange(1, 73)[:, None]).ravel()
    lag = history.before(recent, WEEK, 1)[0]
    usable = (lag >= 0) & history.delivered[lag] & history.delivered[recent] & ~history.low[recent]
    usable &= history.volumes[lag] > 0
    ratios = np.full(len(recent), np.nan)
    ratios[usable] = history.volumes[recent[usable]] / history.volumes[lag[usable]]
    ratio = ratios.reshape(72, -1)
    enough = np.isfinite(ratio).sum(axis=0) >= ENOUGH_RATIOS
    by_day = np.stack([_median(ratio[begin : begin + DAY]) for begin in range(0, 72, DAY)])
    return np.asarray(np.where(enough, np.minimum(np.fmax.reduce(by_day), 1.0), 1.0)[place])


def _median(values: Floats) -> Floats:
    """Return the median over axis 0 without NaN; NaN where there is nothing else."""
    count = np.isfinite(values).sum(axis=0)
    ordered = np.sort(np.vstack([values, values[:1] * np.nan]), axis=0)  # NaN last
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    hours = np.arange(values.shape[1])
    return np.asarray((ordered[low, hours] + ordered[high, hours]) / 2)
