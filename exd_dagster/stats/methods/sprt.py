r"""Wald's mixture: evidence for a shift of one arm by +-delta, on the probability scale.

Two arms: LR = (e^{L+} + e^{L-})/2 with L+- = n_t ln((p +- delta)/p) + n_c ln((1-p -+ delta)/(1-p)). More
arms, or an arm too rare for delta: the same for each arm with delta cut to half its share (or half the
rest), the other arms rescaled, averaged over all arms and both directions (Wald 1947, Robbins 1970).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from exd_dagster.errors import InputError
from exd_dagster.stats.inputs import Floats, Period, bounds


def log_ratio_table(shares: Floats, delta: float) -> Floats:
    """Return ln of alternative over declared share, float (V, components), of arms with a share above 0."""
    if len(shares) == 2 and delta < shares.min():
        moved = np.array([delta, -delta])
        return np.log(np.stack([shares + moved, shares - moved], axis=1) / shares[:, None])
    return many_arm_table(shares, delta)


def many_arm_table(shares: Floats, delta: float) -> Floats:
    """Return the same for any number of arms, float (V, 2 V)."""
    columns = []
    for arm, share in enumerate(shares):
        step = min(delta, share / 2, (1 - share) / 2)
        for q in (share + step, share - step):
            column = np.full(len(shares), np.log((1 - q) / (1 - share)))
            column[arm] = np.log(q / share)
            columns.append(column)
    return np.stack(columns, axis=1)


def log_likelihood_ratio(counts: Floats, shares: Floats, delta: float) -> Floats:
    """Return ln LR of cumulative counts, float (...,).

    Args:
        counts: float (..., V).
        shares: float (V,); variants of share 0 are left out.
        delta: shift in share.
    """
    active = shares > 0
    if active.sum() < 2:
        return np.zeros(counts.shape[:-1])
    table = log_ratio_table(shares[active], delta)
    logs = counts[..., active] @ table
    return np.asarray(np.logaddexp.reduce(logs, axis=-1) - np.log(table.shape[1]))


def log_e_values(counts: Floats, periods: Sequence[Period], delta: float) -> Floats:
    """Return ln LR after each bin, one factor per phase; float (..., T) of counts (..., T, V).

    Bins in which a declared change is taken up have the factor 1.
    """
    result = np.zeros(counts.shape[:-1])
    carried = np.zeros(counts.shape[:-2])
    for first, end, period in bounds(periods, counts.shape[-2]):
        result[..., first:end] = carried[..., None]
        if period.replaced is None:
            whole = counts[..., first:end, :].cumsum(axis=-2)
            result[..., first:end] += log_likelihood_ratio(whole, period.shares, delta)
        carried = result[..., end - 1]
    return result


@dataclass(frozen=True, slots=True)
class UnitPath:
    """The two-arm test unit by unit.

    Attributes:
        log_likelihood_ratios: float (n,), ln LR after each unit.
        stopped_index: first unit (from 0) at which LR >= 1/alpha; -1 if none.
    """

    log_likelihood_ratios: Floats
    stopped_index: int


def sprt_by_unit(
    treated: ArrayLike, treatment_share: float = 0.5, *, delta: float = 0.02, alpha: float = 0.01
) -> UnitPath:
    """Run the two-arm test over units in order of first exposure.

    Args:
        treated: 0 or 1 per unit, (n,).
        treatment_share: declared share of treatment.
        delta: shift in share.
        alpha: stops at LR >= 1/alpha.

    Raises:
        InputError: unless 0 < share - delta and share + delta < 1, or for a unit that is neither 0 nor 1.
    """
    p = float(treatment_share)
    if not (delta > 0 and p - delta > 0 and p + delta < 1):
        raise InputError(
            f"treatment_share {p} +- delta {delta} must stay between 0 and 1; choose a smaller delta"
        )
    y = np.asarray(treated, dtype=np.float64)
    if y.ndim != 1 or not np.isin(y, (0.0, 1.0)).all():
        raise InputError("treated must be one axis of 0 (control) and 1 (treatment)")
    up, down = (
        np.cumsum(np.where(y == 1, np.log((p + d) / p), np.log((1 - p - d) / (1 - p))))
        for d in (delta, -delta)
    )
    logs = np.logaddexp(up, down) - np.log(2)
    hits = np.flatnonzero(logs >= -np.log(alpha))
    return UnitPath(logs, int(hits[0]) if len(hits) else -1)
