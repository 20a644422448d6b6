"""The evidence of the blocking test after each bin.

The combined e-process is the mean of two: `dirichlet` (a shift since the beginning, however small) and
`restart` (a fault that began at any later bin). A mean of e-processes is one.
"""

from collections.abc import Sequence

import numpy as np

from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.methods import dirichlet, restart, sprt


def log_e_values(
    counts: Floats, periods: Sequence[Period], *, method: str = "combined", delta: float = 0.02
) -> Floats:
    """Return ln E after each bin, float (..., T), of counts (..., T, V)."""
    if counts.shape[-2] == 0:
        return np.zeros(counts.shape[:-1])
    tested = declared_only(counts, periods)
    if method == "sprt":
        return sprt.log_e_values(tested, periods, delta)
    whole = dirichlet.log_e_values(tested, periods)
    since = restart.log_e_values(restart.log_sums(tested, periods))
    return np.asarray(np.logaddexp(whole, since) - np.log(2))


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
    tested = counts.copy()
    for period in periods:  # each later period overwrites from its own first bin on
        tested[..., period.first :, :] = np.where(period.active, counts[..., period.first :, :], 0.0)
    return np.asarray(tested)
