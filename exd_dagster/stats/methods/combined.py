"""The evidence of the blocking test after each bin.

The combined e-process is the mean of two: `dirichlet` (a shift since the beginning, however small) and
`restart` (a fault that began at any later bin). A mean of e-processes is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exd_dagster.stats.inputs import Floats, Period, after
from exd_dagster.stats.methods import dirichlet, restart, sprt


@dataclass(frozen=True, slots=True)
class Sums:
    """The state of the combined e-process after some bins.

    Attributes:
        bins: how many.
        log_sums: ln S_c of `restart`, float (..., C).
        carried: ln E of `dirichlet` at the end of the phases before, float (...,).
        counts: units of the current phase, float (..., V).
    """

    bins: int
    log_sums: Floats
    carried: Floats
    counts: Floats


def log_e_values(
    counts: Floats, periods: Sequence[Period], *, method: str = "combined", delta: float = 0.02
) -> Floats:
    """Return ln E after each bin, float (..., T), of counts (..., T, V)."""
    if counts.shape[-2] == 0:
        return np.zeros(counts.shape[:-1])
    if method == "sprt":
        return sprt.log_e_values(declared_only(counts, periods), periods, delta)
    return resumed(counts, periods)[0]


def resumed(
    counts: Floats, periods: Sequence[Period], start: Sums | None = None, save: int = 0
) -> tuple[Floats, Sums | None]:
    """Return ln E after each bin from the state `start` on, and the state after bin `save`.

    Args:
        counts: float (..., T, V), of all bins; those that `start` includes are not read.
        periods: the declared split of every bin.
        start: where to go on; None: at the first bin.
        save: number of bins after which to return the state, as of `savable`.

    Returns:
        float (..., T - bins of `start`), and the state, None where `start` includes these bins.
    """
    first = start.bins if start else 0
    later = after(periods, first)
    tested = declared_only(counts[..., first:, :], later)
    sums = restart.log_sums(tested, later, start.log_sums if start else None, first)
    whole = dirichlet.log_e_values(tested, later, start=(start.carried, start.counts) if start else None)
    series = np.asarray(np.logaddexp(whole, restart.log_e_values(sums, first)) - np.log(2))
    if save <= first:
        return series, None
    begun = [period.first - first for period in periods if period.first <= save][-1]
    counted = tested[..., max(begun, 0) : save - first, :].sum(axis=-2)
    if start and begun <= 0:
        counted = counted + start.counts
    nothing = start.carried if start else np.zeros(counts.shape[:-2])
    carried = whole[..., begun - 1] if begun > 0 else nothing
    return series, Sums(save, sums[..., save - first - 1, :], carried, counted)


def savable(periods: Sequence[Period], bins: int) -> int:
    """Return after how many of so many bins a state is all there is to know: not within an uptake."""
    begun = [period for period in periods if period.first < bins]
    return begun[-1].first if begun and begun[-1].replaced is not None else bins


def log_bounds(counts: Floats, periods: Sequence[Period]) -> Floats:
    """Return a bound of ln E after each bin, float (..., T), of counts (..., T, V): see `restart`."""
    if counts.shape[-2] == 0:
        return np.zeros(counts.shape[:-1])
    tested = declared_only(counts, periods)
    whole = dirichlet.log_e_values(tested, periods, dirichlet.log_supremum)
    since = restart.log_bounds(tested, periods)
    return np.asarray(np.logaddexp(whole, since) - np.log(2))


def declared_only(counts: Floats, periods: Sequence[Period]) -> Floats:
    """Return the counts with 0 where a variant has no share in that bin's phase."""
    tested = counts.copy("K")
    for period in periods:  # each later period overwrites from its own first bin on
        tested[..., period.first :, :] = np.where(period.active, counts[..., period.first :, :], 0.0)
    return np.asarray(tested)
