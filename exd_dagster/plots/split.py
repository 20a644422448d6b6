"""R(t), the observed over the declared share of each arm, and the units it rests on."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit
from exd_dagster.plots.svg import (
    ARMS,
    LEFT,
    RIGHT,
    Panel,
    document,
    nice,
    sample,
    short,
    text,
)
from exd_dagster.stats import words
from exd_dagster.stats.inputs import bounds
from exd_dagster.stats.srm.srm import SrmVerdict, worst_variant
from exd_dagster.stats.verdict import Verdict
from exd_dagster.stats.window import counted, split_window

_ALPHA = 0.001
_TUNED_FOR = 1000
"""The band is narrowest, relative to what is possible, near this many units."""

_POINTS = 400
"""Points of all lines together: what a picture of 4.5 KB has room for."""


def split_plot(bins: FlagBins, flag: FlagAudit, verdict: Verdict) -> str:
    """Draw R(t) of each arm above the units counted so far.

    The band, in the colour of one arm, contains R(t) of that arm at every hour with probability .999 while
    the split is healthy: the two-sided normal mixture boundary of Howard, Ramdas, McAuliffe and Sekhon
    (2021). It is drawn for the arm that differs most where the verdict failed, else for the smallest.

    Hours in which a declared change was being taken up are grey, and count below only: what share each arm
    should have had in them is not known.

    Args:
        bins: the flag's closed hours; those before the current iteration are left out.
        flag: its declared split and phases.
        verdict: of `srm` or `sequential_srm`; its hours at fault are marked.

    Returns:
        An SVG document of 640 x 160 px, or "" where nothing can be compared: no unit yet, or one arm at most.
    """
    split = _counted(bins, flag)
    if split is None:
        return ""
    arms = split.most_different()
    focus = arms[0] if verdict.failed else min(arms, key=lambda arm: split.expected[-1, arm])
    arms = sorted(arms)
    colors = dict(zip(arms, ARMS, strict=False))
    ratio, band = split.ratio, split.band(focus)
    low, high = _range(ratio[:, arms], band)
    above = Panel(split.start, len(band), 36, 184, low, high)
    below = Panel(split.start, len(band), 206, 280, 0, float(split.units[-1].max()))
    at = sample(len(band), _POINTS // (2 * len(arms) + 2))
    ends = at + 1  # counts are known at the end of their hour
    decimals = len(f"{high - 1:.3g}".partition(".")[2])
    marks = [
        *(above.shade(*hours, bottom=below.bottom) for hours in split.taking_up),
        *above.fault(verdict, bottom=below.bottom),
        above.area(ends, 1 - band[at], 1 + band[at], colors[focus]),
        above.rule(1.0),
        *(above.line(ends, ratio[at, arm], colors[arm]) for arm in arms),
        below.rule(0),
        *(below.line(ends, split.units[at, arm], colors[arm]) for arm in arms),
        *above.ticks((low, 1.0, high), lambda value: f"{value:.{decimals}f}"),
        *above.end_labels([(ratio[-1, arm], split.label(arm), colors[arm]) for arm in arms]),
        text(LEFT, 22, "observed / declared share" + _failed_at(verdict)),
        text(LEFT + 12, below.top + 14, "units so far" + "; grey: change taken up" * bool(split.taking_up)),
        text(RIGHT + 12, below.bottom, f"{split.n[-1]:,.0f} units"),
        *below.dates(),
    ]
    return document(marks, height=320, title=f"Split of {flag.key}: {verdict.verdict}")


def _failed_at(verdict: Verdict) -> str:
    """Return what the verdict was made from, where that is not what the lines end at."""
    if not isinstance(verdict, SrmVerdict) or not verdict.remembered or verdict.detected_at is None:
        return ""
    then = verdict.failed_observed
    if not then:
        return f"; failed by {words.instant(verdict.detected_at)}"
    shares = np.array([verdict.failed_expected[name] for name in then])
    worst = [*then][worst_variant(np.array([*then.values()], dtype=np.float64), shares)]
    seen = words.percent(then[worst] / max(verdict.failed_n or 0, 1))
    return f"; failed by {words.instant(verdict.detected_at)}: {short(worst)} {seen} of {verdict.failed_n:,}"


@dataclass(frozen=True, slots=True)
class _Split:
    """Counts of the current iteration after each of T hours, for V declared variants.

    Attributes:
        variants: V names in declared order.
        start: first hour (UTC).
        taking_up: first and end hour of each period in which a declared change was being taken up.
        units: (T, V) units so far, all hours.
        observed: (T, V) units so far, without those periods, as everything below.
        expected: (T, V) units so far had every phase kept its declared split.
        variance: (T, V) variance of `observed` under the declared split.
    """

    variants: tuple[str, ...]
    start: datetime
    taking_up: list[tuple[int, int]]
    units: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def n(self) -> NDArray[np.float64]:
        """(T,) units so far."""
        total: NDArray[np.float64] = self.observed.sum(axis=1)
        return total

    @property
    def ratio(self) -> NDArray[np.float64]:
        """(T, V) observed over expected; NaN before anything is expected."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.expected > 0, self.observed / self.expected, np.nan)

    def band(self, arm: int) -> NDArray[np.float64]:
        """(T,) half the height of an arm's band around 1; NaN before anything is expected."""
        variance, n = self.variance[:, arm], max(self.n[-1], 1)
        prior = max(variance[-1] / n, 1e-9) * _TUNED_FOR
        boundary = np.sqrt((variance + prior) * np.log((variance + prior) / (prior * _ALPHA**2)))
        with np.errstate(divide="ignore"):
            return np.where(self.expected[:, arm] > 0, boundary / self.expected[:, arm], np.nan)

    def most_different(self) -> list[int]:
        """Return the arms to draw: most standard deviations from its share first, of equals the smaller."""
        spread = np.sqrt(np.maximum(self.variance[-1], 1e-9))
        z = np.abs(self.observed[-1] - self.expected[-1]) / spread
        order = np.lexsort((self.expected[-1], -z.round(6)))
        return [int(arm) for arm in order if self.expected[-1, arm] > 0][: len(ARMS)]

    def label(self, arm: int) -> str:
        """Return "treatment 47.3 % of 50 %": name, observed and declared share."""
        n = self.n[-1]
        observed, declared = self.observed[-1, arm] / n, self.expected[-1, arm] / n
        return f"{short(self.variants[arm])} {words.percent(observed)} / {words.percent(declared)}"


def _range(ratio: NDArray[np.float64], band: NDArray[np.float64]) -> tuple[float, float]:
    """Return (low, high) of R(t) to show: room for the lines and the band of the second half."""
    late = slice(len(band) // 2, None)
    furthest = np.nanmax(np.abs(ratio[late] - 1))
    reach = nice(1.1 * max(furthest, min(np.nanmax(band[late]), 1.0), 0.001))
    return max(1 - reach, 0.0), 1 + reach


def _counted(bins: FlagBins, flag: FlagAudit) -> _Split | None:
    """Return the counts of the current iteration, None where there are none to compare."""
    window = split_window(flag, counted(flag, bins))
    if not window.periods:
        return None
    observed, shares = window.steady_counts, np.zeros_like(window.counts)
    for first, end, period in bounds(window.periods, len(shares)):
        shares[first:end] = period.shares
    if not observed.sum() or (shares.max(axis=0) > 0).sum() < 2:
        return None
    n = observed.sum(axis=1, keepdims=True)
    edges = np.flatnonzero(np.diff(np.pad(~window.steady, 1).astype(int)))
    return _Split(
        variants=window.names,
        start=window.start,
        taking_up=list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)),
        units=window.counts.cumsum(axis=0),
        observed=observed.cumsum(axis=0),
        expected=(n * shares).cumsum(axis=0),
        variance=(n * shares * (1 - shares)).cumsum(axis=0),
    )
