"""Pearson's chi-square of counts against a declared split, stratified over the phases of a ramp."""

from collections.abc import Sequence

import numpy as np

from exd_dagster.stats.inputs import Floats, Period, bounds
from exd_dagster.stats.methods.exact import exact_p_value
from exd_dagster.stats.methods.mixture import nearest

SMALLEST_EXPECTED = 5.0
"""Below this expected count the chi-square approximation is replaced by the exact test."""


def chi_square(observed: Floats, shares: Floats) -> Floats:
    """Return X^2 = sum (x - n s)^2 / (n s) over the last axis; 0 where n is 0."""
    n = observed.sum(axis=-1, keepdims=True)
    wanted = n * shares
    return np.asarray(((observed - wanted) ** 2 / np.where(wanted > 0, wanted, 1.0)).sum(axis=-1))


def upper_tail(statistic: Floats | float, degrees: Floats | int) -> Floats:
    """Return P(X >= statistic) for a chi-square variable, accurate to the smallest float."""
    from scipy.special import chdtrc

    return np.asarray(chdtrc(degrees, statistic))


def _critical(degrees: Floats, level: float) -> Floats:
    """Return the statistic whose upper tail is `level`; inf where there are no degrees of freedom."""
    from scipy.special import chdtri

    kinds, places = np.unique(degrees, return_inverse=True)
    found = [
        chdtri(kind, level) if kind > 0 and level < 1 else (0.0 if kind > 0 else np.inf) for kind in kinds
    ]
    return np.array(found)[places]


def stratified(counts: Floats, periods: Sequence[Period]) -> tuple[Floats, Floats]:
    """Return the cumulative chi-square of a ramp after each bin, and its degrees of freedom.

    d = sum over phases of (O - n s), V = sum of n (diag s - s s'), X^2 = d' V^- d: each phase is compared
    with its own split, and the evidence is pooled. With one phase this is Pearson's statistic.

    Args:
        counts: float (T, V), newly exposed units of each bin; 0 in bins in which two splits may be served: a
            mixture of unknown weight has no expected counts.
        periods: the declared split of every bin.

    Returns:
        X^2, float (T,), and the rank of V, float (T,).
    """
    bins, arms = counts.shape
    deviation, variance = np.zeros((bins, arms)), np.zeros((bins, arms, arms))
    for first, end, period in bounds(periods, bins):
        shares = period.shares
        observed = np.where(shares > 0, counts[first:end], 0.0).cumsum(axis=0)
        n = observed.sum(axis=1)
        deviation[first:end] += observed - n[:, None] * shares
        variance[first:end] += n[:, None, None] * (np.diag(shares) - np.outer(shares, shares))
        deviation[end:] += deviation[end - 1] - (deviation[first - 1] if first else 0.0)
        variance[end:] += variance[end - 1] - (variance[first - 1] if first else 0.0)
    values, vectors = np.linalg.eigh(variance)
    kept = values > 1e-9 * np.maximum(values[:, -1:], 1e-300)
    along = np.einsum("tvi,tv->ti", vectors, deviation)
    statistic = np.where(kept, along**2 / np.where(kept, values, 1.0), 0.0).sum(axis=1)
    return statistic, kept.sum(axis=1).astype(np.float64)


def expected_counts(counts: Floats, periods: Sequence[Period]) -> Floats:
    """Return the expected count of each variant in each bin, given its units in declared variants, (T, V).

    While a declared change is taken up, that is what the mixture of both splits nearest to the bin expects.
    """
    wanted = np.zeros_like(counts)
    for first, end, period in bounds(periods, len(counts)):
        observed = np.where(period.active, counts[first:end], 0.0)
        shares = period.shares
        if period.replaced is not None:
            shares = nearest(observed, shares, period.replaced)
        wanted[first:end] = observed.sum(axis=1, keepdims=True) * shares
    return wanted


def p_values(counts: Floats, periods: Sequence[Period], level: float) -> Floats:
    """Return the p-value of the cumulative counts after each bin, float (T,); 1 above 100 x `level`.

    Where an expected count is under 5 the exact test takes over; to be cheap it is only computed where
    chi-square, which errs on the small side there, falls below 100 x `level`. With several phases such bins
    are not tested yet (p = 1).
    """
    one = len(bounds(periods, len(counts))) <= 1
    shares = periods[0].shares
    if one:
        active = counts[:, shares > 0].cumsum(axis=0)
        shares = shares[shares > 0]
        statistic, degrees = chi_square(active, shares), np.full(len(counts), len(shares) - 1.0)
        wanted = active.sum(axis=1, keepdims=True) * shares
    else:
        active = counts.cumsum(axis=0)
        statistic, degrees = stratified(counts, periods)
        wanted = expected_counts(counts, periods).cumsum(axis=0)
    asked = statistic > _critical(degrees, 100 * level)  # the incomplete gamma function is most of the cost
    p = np.ones(len(counts))
    p[asked] = upper_tail(statistic[asked], degrees[asked])
    small = np.where(wanted > 0, wanted, np.inf).min(axis=1, initial=np.inf) < SMALLEST_EXPECTED
    for t in np.flatnonzero(small & (p < 100 * level)):
        p[t] = exact_p_value(active[t], shares) if one else 1.0
    return np.asarray(p)
