r"""The restart e-process: evidence that the split broke at some bin, whichever it was.

For every bin j as a possible onset, and every component c (odds of one arm multiplied by e^(+-g), the other
arms rescaled), the likelihood ratio of the bins since j is an e-process of mean 1. Mixed over c, and over j
with weights w_j, it stays one (restarts as in Shin, Ramdas and Rinaldo, "E-detectors", 2023):

    S_c(t) = (S_c(t-1) + w_t) exp(sum_i x_i(t) ln(s_i^c / s_i)),      E = mean_c S_c + (1 - sum w_j).

The weights fall as j^-1.1 after w_1 = 1/2, so that a fault of any age stays within reach.

In bins in which a declared change is taken up, only onsets within these bins bet, against every mixture of
the two splits (`mixture_log_ratios`); for earlier onsets such bins have the factor 1, so that what was
gathered before the change is kept.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from exd_dagster.stats.inputs import Floats, Period, bounds
from exd_dagster.stats.methods.dirichlet import log_mean
from exd_dagster.stats.methods.mixture import nearest

LOG_ODDS_SHIFTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 2.0)
FIRST_WEIGHT = 0.5
TAIL_SUM = 7.26239851262867  # zeta(1.1, 25)


def component_count(arms: int) -> int:
    """Return C: each shift up and down, of one arm (two arms) or of every arm."""
    return 2 * len(LOG_ODDS_SHIFTS) * (1 if arms == 2 else arms)


def log_ratios(shares: Floats) -> Floats:
    """Return ln(s_i^c / s_i), float (V, C); 0 where an arm, or the arm shifted, has share 0 or 1.

    Args:
        shares: float (V,), declared shares summing to 1.
    """
    arms = len(shares)
    table = np.zeros((arms, component_count(arms)))
    shifts = [sign * g for g in LOG_ODDS_SHIFTS for sign in (1, -1)]
    column = 0
    for arm in range(1 if arms == 2 else arms):
        share = shares[arm]
        for shift in shifts:
            if 0 < share < 1:
                # ln of q/s and (1-q)/(1-s) with q/(1-q) = s/(1-s) e^shift, without ever forming 1 - q
                others = -np.log1p(share * np.expm1(shift))
                table[:, column] = np.where(shares > 0, others, 0.0)
                table[arm, column] = shift + others
            column += 1
    return table


def mixture_log_ratios(shares: Floats, replaced: Floats) -> Floats:
    """Return ln(q_i^c / p_i^c), float (V, C): an e-value per unit under every mixture of two splits.

    q^c multiplies the odds of one arm by e^g from the larger of its two shares, by e^-g from the smaller (the
    other, where that is 0 or 1), the other arms as in an even mixture; p^c is its projection on the segment.

    Args:
        shares: float (V,), the declared split.
        replaced: float (V,), the split it replaces.
    """
    arms, even = len(shares), (shares + replaced) / 2
    wanted = np.tile(even, (component_count(arms), 1))
    column = 0
    for arm in range(1 if arms == 2 else arms):
        ends = sorted((float(shares[arm]), float(replaced[arm])))
        for g in (sign * g for g in LOG_ODDS_SHIFTS for sign in (1, -1)):
            share = next((s for s in (ends[::-1] if g > 0 else ends) if 0 < s < 1), None)
            if share is not None:
                moved = 1 + share * np.expm1(g)
                wanted[column] *= (1 - share) / moved / (1 - even[arm])
                wanted[column, arm] = share * np.exp(g) / moved
            column += 1
    used = even > 0
    ratios = np.where(used, wanted, 1.0) / np.where(used, nearest(wanted, shares, replaced), 1.0)
    largest = np.maximum(ratios @ shares, ratios @ replaced)  # 1, but for rounding
    return np.asarray(np.where(used, np.log(ratios / largest[:, None]), 0.0).T)


def log_weights(first: int, bins: int) -> Floats:
    """Return ln w_j of `bins` bins, the first of which is number `first` (counted from 0)."""
    j = np.arange(first, first + bins, dtype=np.float64)
    tail = np.log(FIRST_WEIGHT / TAIL_SUM) - 1.1 * np.log(j + 24)
    return np.asarray(np.where(j == 0, np.log(FIRST_WEIGHT), tail))


def log_remaining(first: int, bins: int) -> Floats:
    """Return ln(1 - sum of weights so far) after each of `bins` bins from number `first` on."""
    return np.array(_log_remaining(1 << (first + bins).bit_length())[first : first + bins])


@lru_cache(maxsize=8)
def _log_remaining(bins: int) -> Floats:
    """Return the first values once for all flags: the zeta function costs more than all the rest."""
    from scipy.special import zeta

    return np.asarray(np.log(FIRST_WEIGHT / TAIL_SUM) + np.log(zeta(1.1, np.arange(bins) + 25.0)))


def fold(counts: Floats, table: Floats, start: Floats | None, first: int) -> Floats:
    """Return ln S_c after each bin, float (..., T, C).

    With L the running sum of the log ratios, ln S_c(t) = L(t) + ln sum_{j <= t} w_j e^{-L(j-1)}: one pass.

    Args:
        counts: float (..., T, V).
        table: log ratios, float (V, C).
        start: ln S_c carried into the first bin, float (..., C); None: nothing yet.
        first: number of bins seen before.
    """
    steps = counts @ table
    total = steps.cumsum(axis=-2)
    onset = log_weights(first, counts.shape[-2])[:, None] - (total - steps)
    if start is not None:
        onset[..., 0, :] = np.logaddexp(onset[..., 0, :], start)
    return np.asarray(total + np.logaddexp.accumulate(onset, axis=-2))


def log_bounds(counts: Floats, periods: Sequence[Period]) -> Floats:
    """Return a bound of ln E after each bin, float (..., T), at a third of the cost of ln E.

    It is the largest likelihood ratio since any onset, over every component, or 0: since the weights of
    all onsets sum to 1, neither the mean over components nor that over onsets is larger. One pass:
    M(t) = max(M(t-1), 0) + sum_i x_i(t) ln(s_i^c / s_i).
    """
    parts, start = [], np.zeros((*counts.shape[:-2], 1))
    for begin, end, period in bounds(periods, counts.shape[-2]):
        bins, replaced = counts[..., begin:end, :], period.replaced
        table = log_ratios(period.shares) if replaced is None else mixture_log_ratios(period.shares, replaced)
        steps = bins @ table
        total = steps.cumsum(axis=-2)
        onset = steps - total
        if replaced is None:
            onset[..., 0, :] = np.maximum(onset[..., 0, :], start)
        part = total + np.maximum.accumulate(onset, axis=-2)
        if replaced is not None:
            part = np.maximum(part, start[..., None, :])
        parts.append(part.max(axis=-1))
        start = part[..., -1, :]
    return np.asarray(np.maximum(np.concatenate(parts, axis=-1), 0.0))


def log_sums(
    counts: Floats, periods: Sequence[Period], start: Floats | None = None, first: int = 0
) -> Floats:
    """Return ln S_c after each bin over all periods, float (..., T, C); arguments as in `fold`."""
    parts = []
    for begin, end, period in bounds(periods, counts.shape[-2]):
        bins, seen = counts[..., begin:end, :], first + begin
        if period.replaced is None:
            part = fold(bins, log_ratios(period.shares), start, seen)
        else:
            part = fold(bins, mixture_log_ratios(period.shares, period.replaced), None, seen)
            part = part if start is None else np.logaddexp(part, start[..., None, :])
        parts.append(part)
        start = part[..., -1, :]
    return np.concatenate(parts, axis=-2)


def log_e_values(sums: Floats, first: int = 0) -> Floats:
    """Return ln E after each bin, float (..., T), of `log_sums`."""
    return np.asarray(np.logaddexp(log_mean(sums, axis=-1), log_remaining(first, sums.shape[-2])))
