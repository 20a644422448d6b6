r"""The expected volume of this hour of the week, and the p-value of a smaller one.

Expected volume mu: of the same hour in up to K = 3 earlier weeks (`baseline.py`), at the level of its phase
(`levels.py`). Hours that alarmed are left out of later expectations, so an outage does not become its own
baseline. Overdispersion phi: the mean of

    u = ((x - mu)^2 c - mu) / mu^2,    c = (1 + 1/K now) / (1 + 1/K then),

over the newest earlier windows that expected a unit or more; from prediction errors, so the uncertainty of
mu is in it. Where weeks disagree, mu is the lower of them. By chance they often do, and an ordinary x then
lies above mu: it is compared with the mean of the weeks, m, instead. Only where m > 1.2 mu + 3 sqrt(mu) over
6 hours (over 24 for windows of 24) one of the weeks was loud, and x is compared with mu. Each u is cut at
1 + 8/mu (x about twice mu: a burst of traffic must not hide a drop) and at the 99th centile. Then, with the
regularised incomplete beta function I,

    p = P(NB(mean mu, variance mu + phi mu^2) <= x) = I_{r/(r+mu)}(r, x + 1),    r = 1/phi,

for trailing windows of 1, 3, 6 and 24 hours; an alarm is p < a/4. Windows of several hours overlap: n of
them hold only v = n / window separate errors, so phi is multiplied by (t_v / z)^2 at a/4, Student's
allowance for a variance learned from v errors.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exd_dagster.stats.carried import SETTLED, Carried, settled, whole
from exd_dagster.stats.inputs import Booleans, Floats
from exd_dagster.stats.traffic.baseline import CHANCE, WEEK, Baseline, History, cautious, earlier_weeks
from exd_dagster.stats.traffic.levels import Levels, no_levels

WINDOWS = (1, 3, 6, 24)
TESTS_FROM = 240
"""First hour that is tested: a week of lags and 72 hours of their errors."""

ENOUGH_ERRORS = 72
ERRORS_KEPT = {1: WEEK, 3: 3 * WEEK, 6: 4 * WEEK, 24: 4 * WEEK}
SMALLEST_DISPERSION = 1e-6
UNLIKELY = 1e-3
"""A volume of at least mu / 2 and at least mu - 2 deviations has a greater p-value than this."""
BLOCK = 24
AHEAD = WEEK - BLOCK
"""Hours processed together: whether an hour is at fault is known after another day."""

LOUD = 1.2
"""One of the earlier weeks was loud where their mean is at least this many times mu, and what chance adds."""

_LOUD_OVER = [WINDOWS.index(6)] * 3 + [WINDOWS.index(24)]
RECALLED = 40 * BLOCK
"""Hours before a carried state whose errors are computed again: four weeks that teach, and gaps."""
SHOWN = WEEK - SETTLED
"""Hours before a carried state that a chart of a week shows."""

_WIDTHS = np.array(WINDOWS)[:, None]


@dataclass(frozen=True, slots=True)
class SeasonalScan:
    """Every hour of a series against its expectation; an hour does not depend on later ones.

    Attributes:
        expected: float (T,), mu of each hour; NaN without an earlier week.
        volumes: float (4, T), units in the trailing windows of `WINDOWS`.
        window_expected: float (4, T), their expected volume; NaN where not tested.
        dispersion: float (4, T), phi.
        p: float (4, T), lower-tail probability; 1 where not tested, or where it is plainly above `UNLIKELY`.
        alarm: bool (T,), True where any window has p < level / 4.
    """

    expected: Floats
    volumes: Floats
    window_expected: Floats
    dispersion: Floats
    p: Floats
    alarm: Booleans


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Properties of the hours other than their volumes.

    Attributes:
        clock: int (T,), hours by which the local clock is ahead of UTC.
        learned: bool (T,), False for hours that are left out of baselines.
        levels: the level of every hour.
        baseline: how earlier weeks become one expectation.
    """

    clock: NDArray[np.int64]
    learned: Booleans
    levels: Levels
    baseline: Baseline = "robust"


def nothing_declared(size: int) -> Declared:
    """Return what is known of a flag without phases, time zone, holidays and events."""
    return Declared(clock=np.zeros(size, dtype=np.int64), learned=np.ones(size, bool), levels=no_levels(size))


def scan(
    volumes: Floats,
    delivered: Booleans,
    level: float,
    declared: Declared | None = None,
    carried: Carried | None = None,
    asked: int = 0,
) -> SeasonalScan:
    """Test every hour of a series from `TESTS_FROM` on.

    Args:
        volumes: float (T,), units per hour.
        delivered: bool (T,), False for unknown hours: neither tested nor learned from.
        level: a; an hour alarms when one of its windows has p < a/4.
        declared: declared properties of the hours; None: nothing.
        carried: where a state is found to go on from, and saved. Before it, `p` and `window_expected` are not
            set, and `expected` and phi only as far back as a chart shows.
        asked: first hour whose test is asked; a state after it is of no use.
    """
    known = declared or nothing_declared(len(volumes))
    learner = _Learner(volumes, delivered, level / len(WINDOWS), known)

    def inputs(hours: int) -> list[ArrayLike]:
        flags = np.packbits([delivered[:hours], known.learned[:hours], known.levels.judged[:hours]], axis=1)
        leveled = [known.levels.level[:hours], known.levels.error[:hours], known.clock[:hours]]
        learned = np.packbits(known.levels.learned[:hours])
        return [whole(volumes[:hours]), flags, learned, *leveled, level, known.baseline]

    start, ahead = AHEAD, AHEAD  # no earlier hour has a week before it
    save = 0 if carried is None else settled(len(volumes))
    if carried is not None and (state := carried.find("hours", min(len(volumes), asked + 1), inputs)):
        start = state.through
        learner.go_on(start, state.values)
    begin = start
    while begin < len(volumes):
        end = min(begin + ahead, len(volumes))
        learner.expect(begin, end)
        begin = learner.judge(begin, end)
        ahead = BLOCK if learner.alarm[max(begin - BLOCK, 0) : begin].any() else AHEAD
    if carried is not None and save >= max(TESTS_FROM, start + 1):
        carried.save("hours", save, inputs, learner.state(save))
    return SeasonalScan(
        learner.expected, learner.sums, learner.wanted, learner.dispersion, learner.p, learner.alarm
    )


def lower_tail(x: Floats, mean: Floats, dispersion: Floats) -> Floats:
    """Return P(X <= x) for a negative binomial of the given mean and variance mean + dispersion * mean^2."""
    from scipy.special import betainc

    size = 1 / np.maximum(dispersion, SMALLEST_DISPERSION)
    safe = np.maximum(mean, 1e-300)
    return np.where(mean > 0, betainc(size, x + 1, size / (size + safe)), 1.0)


class _Learner:
    """The state of a scan, which processes several days at a time and restarts after a day with an alarm."""

    def __init__(self, volumes: Floats, delivered: Booleans, level: float, declared: Declared) -> None:
        shape = (len(WINDOWS), len(volumes))
        known = declared.levels
        self.volumes, self.delivered, self.level = volumes, delivered & known.judged, level
        self.scale, self.error, self.baseline = known.level, known.error, declared.baseline
        self.quiet = ~declared.learned if not declared.learned.all() else None
        self.expected = np.full(len(volumes), np.nan)
        self.alarm = np.zeros(len(volumes), dtype=bool)
        self.low = np.zeros(len(volumes), dtype=bool)  # hours at fault: never learned from
        self.low_from = np.full(len(volumes), np.inf)  # hour from which that is known
        usable = delivered & known.learned & declared.learned
        self.history = History(volumes / known.level, usable, self.low, declared.clock)
        self.sums, self.wanted = np.zeros(shape), np.full(shape, np.nan)
        self.dispersion, self.p = np.full(shape, np.nan), np.ones(shape)
        self.weeks = np.ones(len(volumes))  # 1 + 1/K: what averaging only K weeks adds to the squared error
        self.square = np.full(shape, np.nan)  # squared error over `weeks`; NaN where it teaches nothing
        self.taught = np.full(shape, np.nan)  # what that error is from: mu, or the mean of the weeks
        self.running = np.zeros((4, len(volumes) + 1))  # totals: known hours, volume, mu, mean of weeks

    def state(self, through: int) -> Floats:
        """Return the state after so many hours: alarms, hours at fault, and phi of the hours last shown."""
        alarms, low = np.flatnonzero(self.alarm[:through]), np.flatnonzero(self.low_from <= through)
        shown = self.dispersion[0, through - SHOWN : through]
        return np.concatenate([[len(alarms), len(low)], alarms, low, self.low_from[low], shown])

    def go_on(self, through: int, state: Floats) -> None:
        """Put the state back; what later days learn from the weeks before is computed again."""
        alarms, faults = state[:2].astype(int).tolist()
        alarm, low, since, shown = np.split(state[2:], np.cumsum([alarms, faults, faults]))
        self.alarm[alarm.astype(int)] = True
        self.low_from[low.astype(int)] = since
        self.dispersion[0, through - SHOWN : through] = shown
        begin = max(through - RECALLED, AHEAD)
        self._recall(begin, through)
        if begin > AHEAD and not self._learned_enough(through):
            self._recall(AHEAD, through)

    def _recall(self, begin: int, through: int) -> None:
        """Set mu and its errors in hours judged before, each by the hours at fault that were known then."""
        since = np.unique(self.low_from[(self.low_from > begin) & (self.low_from < through)]).astype(int)
        for first, end in pairwise([begin, *since.tolist(), through]):
            self.low[:] = self.low_from <= first
            self.expect(first, end)
        self.low[:] = self.low_from <= through
        if begin > AHEAD:  # the first windows reach back to hours that were not recalled
            self.wanted[:, begin : begin + BLOCK] = self.square[:, begin : begin + BLOCK] = np.nan

    def _learned_enough(self, through: int) -> bool:
        """Return whether later days find as many errors in the hours recalled as in all."""
        faults = self._faults(through)
        return all(
            len(self._usable(row, through - window, faults)) >= ERRORS_KEPT[window] + BLOCK
            for row, window in enumerate(WINDOWS)
        )

    def expect(self, begin: int, end: int) -> None:
        """Set mu of some days; where weeks disagree it depends on which hours before them were at fault."""
        weeks = earlier_weeks(self.history, begin, end)
        mu = cautious(self.history, weeks) if self.baseline == "robust" and weeks.unsure.any() else weeks.mu
        self.expected[begin:end] = mu * self.scale[begin:end]
        self.weeks[begin:end] = 1 + 1 / np.maximum(weeks.count, 1)
        self._add_windows(begin, end, weeks.mu * self.scale[begin:end])

    def judge(self, begin: int, end: int) -> int:
        """Test days up to the first alarm, since later ones must not learn from it; return its end."""
        begin = max(begin, TESTS_FROM)
        if begin >= end:
            return end
        self._disperse(begin, end)
        self._test(begin, end)
        hits = self.p[:, begin:end] < self.level
        if not hits.any():
            return end
        through = min(begin + (int(hits.any(axis=0).argmax()) // BLOCK + 1) * BLOCK, end)
        self._mark_alarms(begin, hits[:, : through - begin])
        return through

    def _add_windows(self, begin: int, end: int, mean: Floats) -> None:
        """Sum volume and mu over the trailing windows of the block, over the hours that can be tested."""
        mu, block = self.expected[begin:end], slice(begin, end)
        known = self.delivered[block] & np.isfinite(mu)
        steps = np.where(known, [known, self.volumes[block], mu, mean], 0.0)
        self.running[:, begin + 1 : end + 1] = self.running[:, [begin]] + steps.cumsum(axis=1)
        before = [self.running[:, begin + 1 - window : end + 1 - window] for window in WINDOWS]
        totals = self.running[:, None, begin + 1 : end + 1] - np.stack(before, axis=1)
        hours, seen, wanted, plain = totals
        judged = known & (np.arange(begin, end) + 1 >= WEEK + _WIDTHS) & (hours > _WIDTHS / 2)
        self.sums[:, block] = seen
        self.wanted[:, block] = np.where(judged, wanted, np.nan)
        teaches = judged & (wanted > 1 - 1e-6)
        loud = plain > LOUD * wanted + CHANCE * np.sqrt(wanted)
        taught = np.where(loud[_LOUD_OVER], wanted, plain)
        self.taught[:, block] = taught
        self.square[:, block] = np.where(teaches, (seen - taught) ** 2 / self.weeks[block], np.nan)

    def _disperse(self, begin: int, end: int) -> None:
        """Set phi of each day from earlier windows that share no hour with it and hold no hour at fault."""
        # With fewer than 72 of its own, a window uses phi of the next smaller one.
        days = np.arange(begin, end, BLOCK)
        # Rounded, since sums of 23 and 24 equal numbers differ in their last digit: such days are one group.
        now = [round(self.weeks[day : min(day + BLOCK, end)].mean(), 12) for day in days.tolist()]
        phi, lengths = np.full(len(days), np.nan), np.diff(np.append(days, end))
        faults = self._faults(end)
        for row, window in enumerate(WINDOWS):
            kept = self._usable(row, end - window, faults)
            lasts = kept.searchsorted(days - window, side="right").tolist()
            square, mean = self.square[row, kept], self.taught[row, kept]
            scale, most = mean**2, 1 + 8 / mean
            allowance = np.ones(len(days))
            alike = [(min(last, ERRORS_KEPT[window]), float(by)) for last, by in zip(lasts, now, strict=True)]
            for count, by in dict.fromkeys(alike):  # days with as many errors to learn from, at one scale
                if count >= ENOUGH_ERRORS:
                    some = [day for day, key in enumerate(alike) if key == (count, by)]
                    errors = np.minimum((square * by - mean) / scale, most)
                    span = np.array([lasts[day] for day in some])[:, None] - np.arange(count, 0, -1)
                    phi[some] = _mean_errors(errors[span])
                    allowance[some] = _allowance(window, self.level)[count]
            self.dispersion[row, begin:end] = np.repeat(phi * allowance, lengths) + self.error[begin:end]

    def _faults(self, end: int) -> NDArray[np.int64] | None:
        """Return the running number of hours before `end` that are not learned from; None for none."""
        low = self.low[:end] if self.quiet is None else self.low[:end] | self.quiet[:end]
        return np.append(0, low.cumsum()) if low.any() else None

    def _usable(self, row: int, last: int, faults: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the last hours of windows up to `last` that teach, at least those that are learned from."""
        wanted = ERRORS_KEPT[WINDOWS[row]] + AHEAD
        for first in (max(last + 1 - 2 * wanted, 0), 0):
            kept = np.flatnonzero(np.isfinite(self.square[row, first : max(last + 1, 0)])) + first
            if faults is not None:
                kept = kept[faults[kept + 1] == faults[np.maximum(kept + 1 - WINDOWS[row], 0)]]
            if len(kept) >= wanted:
                break
        return np.asarray(kept)

    def _test(self, begin: int, end: int) -> None:
        """Compute p of the windows that may alarm: the incomplete beta function is most of a scan's cost."""
        sums, mean, phi = (part[:, begin:end] for part in (self.sums, self.wanted, self.dispersion))
        asked = np.isfinite(mean) & np.isfinite(phi)
        if self.level < UNLIKELY:
            deviation = np.sqrt(mean + np.maximum(phi, SMALLEST_DISPERSION) * mean**2)
            asked &= ~(sums >= np.maximum(mean / 2, mean - 2 * deviation))
        self.p[:, begin:end][asked] = lower_tail(sums[asked], mean[asked], phi[asked])

    def _mark_alarms(self, begin: int, hits: Booleans) -> None:
        """Mark alarms, and as at fault the hours below expectation in the windows that alarmed."""
        self.alarm[begin : begin + hits.shape[1]] = hits.any(axis=0)
        for row, offset in np.argwhere(hits):
            span = slice(begin + int(offset) - WINDOWS[int(row)] + 1, begin + int(offset) + 1)
            fault = self.volumes[span] < self.expected[span]
            self.low_from[span][fault & ~self.low[span]] = begin + hits.shape[1]
            self.low[span] |= fault


def _mean_errors(errors: Floats) -> Floats:
    """Return phi of each row: the mean of u, each cut at their 99th centile, so that no hour dominates."""
    rank = int(0.99 * errors.shape[1])
    cut = np.partition(errors, rank, axis=1)[:, [rank]]
    return np.asarray(np.maximum(np.minimum(errors, cut).mean(axis=1), SMALLEST_DISPERSION))


@lru_cache(maxsize=64)
def _allowance(window: int, level: float) -> Floats:
    """Return (t_v / z)^2 by number of windows learned from; 1 for single hours, which do not overlap."""
    from scipy.special import ndtri, stdtrit

    learned = np.arange(ERRORS_KEPT[window] + 1)
    if window == 1:
        return np.ones(len(learned))
    return np.asarray((stdtrit(np.maximum(learned / window, 1.0), level) / ndtri(level)) ** 2)
