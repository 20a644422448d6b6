"""Intervals for a share: confidence sequences, valid at every look, and exact ones for few cases.

A confidence sequence is the set {s' : ln M(x) - sum x_i ln s'_i < -ln alpha}, with a = k s and
ln M(x) = ln B(a + x) - ln B(a). It covers the true shares at all times with probability 1 - alpha (the
e-process of `dirichlet` for each s').
Its extent along one variant follows by giving the others their observed proportions.
"""

from collections.abc import Sequence
from math import inf, log, log1p

import numpy as np

from exd_dagster.stats.inputs import Floats
from exd_dagster.stats.methods.dirichlet import CONCENTRATIONS, log_mixture


def confidence_sequence(
    counts: Floats, shares: Floats, alpha: float = 0.05, concentrations: Sequence[float] = CONCENTRATIONS
) -> Floats:
    """Return the lower and upper end for the share of each variant.

    Args:
        counts: float (V,), cumulative units.
        shares: float (V,), declared shares, all above 0.
        alpha: 1 - coverage, at all times together.
        concentrations: k of the mixture.

    Returns:
        float (V, 2); (0, 1) for every variant before the first unit.
    """
    n = float(counts.sum())
    if n == 0:
        return np.tile([0.0, 1.0], (len(counts), 1))
    marginal = float(log_mixture(counts, shares, concentrations)) + float((counts * np.log(shares)).sum())
    limit = marginal + np.log(alpha)
    return np.array([_extent(float(x), n, limit - _others(counts, i)) for i, x in enumerate(counts)])


def _others(counts: Floats, variant: int) -> float:
    """Log-likelihood of the other variants among themselves, at their observed proportions."""
    rest = np.delete(counts, variant)
    rest = rest[rest > 0]
    return float((rest * np.log(rest / rest.sum())).sum()) if len(rest) else 0.0


def _extent(x: float, n: float, limit: float) -> tuple[float, float]:
    """Both ends of {q : x ln q + (n-x) ln(1-q) > limit}, by bisection from the peak x/n."""

    def log_likelihood(q: float) -> float:
        hit = x * (log(q) if q > 0 else -inf) if x else 0.0
        miss = (n - x) * log1p(-min(q, 1 - 1e-16)) if n > x else 0.0
        return hit + miss

    def end(outside: float) -> float:
        inside = x / n
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if log_likelihood(middle) > limit else (inside, middle)
        return inside

    return (end(0.0) if x else 0.0), (end(1.0) if n > x else 1.0)


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson for a binomial share.

    The lower end is the alpha / 2 quantile of Beta(x, n - x + 1), the upper one the 1 - alpha / 2 quantile of
    Beta(x + 1, n - x) (Clopper and Pearson, Biometrika 26, 1934, p. 404). It covers the true share with at
    least `level` for every share and n, and is wider than needed for few cases.

    Args:
        hits: cases that count, x.
        n: all cases.
        level: coverage.

    Returns:
        Lower and upper end, from 0 to 1; (0, 1) without a case.
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high
