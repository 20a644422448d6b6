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
    text,
)
from exd_dagster.stats.verdict import Verdict

_ALPHA = 0.001
_TUNED_FOR = 1000
"""The band is narrowest, relative to what is possible, near this many units."""

_POINTS = 400
"""Points of all lines together: what a picture of 4.5 KB has room for."""


def split_plot(bins: FlagBins, flag: FlagAudit, verdict: Verdict) -> str:
    """Draw R(t) of each arm above the units counted so far.

    The band, in the colour of the arm that differs most, holds R(t) of that arm at every hour with
    probability .999 while the split is healthy: the two-sided normal mixture boundary of Howard, Ramdas,
    McAuliffe and Sekhon (2021).

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
    reach = split.reach()
    decimals = len(f"{reach:.3g}".partition(".")[2])
    ratio = Panel(split.start, len(split.n), 36, 184, 1 - reach, 1 + reach)
    units = Panel(split.start, len(split.n), 206, 280, 0, float(split.observed[-1].max()))
    arms = sorted(split.most_different())
    at = sample(len(split.n), _POINTS // (2 * len(arms) + 2))
    ends = at + 1  # counts are known at the end of their hour
    colors = dict(zip(arms, ARMS, strict=False))
    marks = [
        *ratio.fault(verdict, bottom=units.bottom),
        ratio.area(ends, 1 - split.band[at], 1 + split.band[at], colors[split.most_different()[0]]),
        ratio.rule(1.0),
        *(ratio.line(ends, split.ratio[at, arm], colors[arm]) for arm in arms),
        units.rule(0),
        *(units.line(ends, split.observed[at, arm], colors[arm]) for arm in arms),
        *ratio.ticks((1 - reach, 1.0, 1 + reach), lambda value: f"{value:.{decimals}f}"),
        *ratio.end_labels([(split.ratio[-1, arm], split.label(arm), colors[arm]) for arm in arms]),
        text(LEFT, 22, "observed / declared share"),
        text(LEFT + 12, units.top + 14, "units so far"),
        text(RIGHT + 12, units.bottom, f"{split.n[-1]:,} units"),
        *units.dates(),
    ]
    return document(marks, height=320, title=f"Split of {flag.key}: {verdict.verdict}")


@dataclass(frozen=True, slots=True)
class _Split:
    """Counts of the current iteration after each of T hours, for V declared variants.

    Attributes:
        variants: V names in declared order.
        start: first hour (UTC).
        observed: (T, V) units so far.
        expected: (T, V) units so far had every phase kept its declared split.
        variance: (T, V) variance of `observed` under the declared split.
    """

    variants: tuple[str, ...]
    start: datetime
    observed: NDArray[np.int64]
    expected: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def n(self) -> NDArray[np.int64]:
        """(T,) units so far."""
        total: NDArray[np.int64] = self.observed.sum(axis=1)
        return total

    @property
    def ratio(self) -> NDArray[np.float64]:
        """(T, V) observed over expected; NaN before anything is expected."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.expected > 0, self.observed / self.expected, np.nan)

    @property
    def band(self) -> NDArray[np.float64]:
        """(T,) half the height of the band around 1, for the arm that differs most."""
        arm = self.most_different()[0]
        variance, n = self.variance[:, arm], np.maximum(self.n, 1)
        prior = max(variance[-1] / n[-1], 1e-9) * _TUNED_FOR
        boundary = np.sqrt((variance + prior) * np.log((variance + prior) / (prior * _ALPHA**2)))
        with np.errstate(divide="ignore"):
            return np.where(self.expected[:, arm] > 0, boundary / self.expected[:, arm], np.nan)

    def most_different(self) -> list[int]:
        """Return the arms to draw: most standard deviations from its share first, of equals the smaller."""
        spread = np.sqrt(np.maximum(self.variance[-1], 1e-9))
        z = np.abs(self.observed[-1] - self.expected[-1]) / spread
        order = np.lexsort((self.expected[-1], -z.round(6)))
        return [int(arm) for arm in order if self.expected[-1, arm] > 0][: len(ARMS)]

    def reach(self) -> float:
        """Return how far from 1 the panel goes: room for the ratios and the band of the second half."""
        late = slice(len(self.n) // 2, None)
        furthest = np.nanmax(np.abs(self.ratio[late][:, self.most_different()] - 1))
        return nice(1.1 * max(furthest, np.nanmax(self.band[late]), 0.001))

    def label(self, arm: int) -> str:
        """Return "treatment 47.3 % of 50 %": name, observed and declared share."""
        n = self.n[-1]
        observed, declared = self.observed[-1, arm] / n, self.expected[-1, arm] / n
        return f"{self.variants[arm][:12]} {percent(observed)} / {percent(declared)}"


def percent(share: float) -> str:
    """Return a share as "47.3 %", with as few digits as tell it apart."""
    return f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def _counted(bins: FlagBins, flag: FlagAudit) -> _Split | None:
    """Return the counts of the current iteration, None where there are none to compare."""
    begun = [start for start in flag.iterations if start <= bins.audited_through]
    bins = bins.between(begun[-1] if begun else flag.start, bins.audited_through)
    variants = tuple(variant for variant in flag.variants if variant in bins.variants)
    new_units = bins.new_units[:, [bins.variants.index(variant) for variant in variants]]
    shares = np.zeros(new_units.shape)
    for phase in flag.schedule:
        shares[bins.index(phase.start) :] = [phase.split.get(variant, 0.0) for variant in variants]
    if not new_units.sum() or (shares.max(axis=0) > 0).sum() < 2:
        return None
    n = new_units.sum(axis=1, keepdims=True)
    return _Split(
        variants=variants,
        start=bins.start,
        observed=new_units.cumsum(axis=0),
        expected=(n * shares).cumsum(axis=0),
        variance=(n * shares * (1 - shares)).cumsum(axis=0),
    )
