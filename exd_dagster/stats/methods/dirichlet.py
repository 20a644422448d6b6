r"""The Dirichlet-multinomial e-process: how much likelier the counts are under some other split.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022). With prior
Dirichlet(k s) around the declared shares s,

    E_k = B(k s + x) / B(k s) / prod s_i^x_i,        ln B(a) = sum lnGamma(a_i) - lnGamma(sum a_i),

an e-process of mean 1 under s. Written with Stirling's formula lnGamma(z) = (z - 1/2) ln z - z + ln(2 pi)/2
+ r(z), the large terms cancel on paper instead of in floating point:

    ln E_k = sum (k+n) s_i ((1+d_i) ln(1+d_i) - d_i) - (sum ln(1+d_i) + (V-1) ln((k+n)/k)) / 2
             + sum (r(a_i+x_i) - r(a_i)) - (r(k+n) - r(k)),
    a_i = k s_i,  d_i = (x_i - n s_i) / ((k+n) s_i) = (a_i + x_i) / ((k+n) s_i) - 1.

That keeps the error far below 1e-6 up to n = 1e12.
"""

from collections.abc import Callable, Sequence

import numpy as np

from exd_dagster.stats.inputs import Floats, Period, bounds

CONCENTRATIONS = (1e2, 1e3, 1e4, 1e5)
"""k of the mixture: small k is quick to see large faults, large k small ones."""

FEW = 8
"""Variants that are added one by one."""

SERIES_FROM = 20.0
"""From here on three terms of Stirling's series leave an error below 1e-12."""


def log_e_value(counts: Floats, shares: Floats, concentration: float) -> Floats:
    """Return ln E_k of cumulative counts.

    Args:
        counts: float (..., V), whole; variants of share 0 must be left out.
        shares: float (V,), all above 0, summing to 1.
        concentration: k.

    Returns:
        float (...,).
    """
    k, n = concentration, over_variants(counts)
    total, start = k + n, k * shares
    scale = total[..., None] * shares
    excess = (counts - n[..., None] * shares) / scale
    logs = np.log1p(excess)
    gain = over_variants(scale * ((1 + excess) * logs - excess) - logs / 2)
    rest = over_variants(remainder(start + counts) - remainder(start)) - (remainder(total) - remainder(k))
    return np.asarray(gain - np.log1p(n / k) * (len(shares) - 1) / 2 + rest)


def over_variants(values: Floats) -> Floats:
    """Return the sum over the last axis, which is short: numpy adds slices faster than it reduces them."""
    if not 0 < values.shape[-1] <= FEW:
        return np.asarray(values.sum(axis=-1))
    return np.asarray(sum((values[..., i] for i in range(1, values.shape[-1])), values[..., 0]))


def log_mixture(counts: Floats, shares: Floats, concentrations: Sequence[float] = CONCENTRATIONS) -> Floats:
    """Return ln of the mean of E_k over `concentrations`; still an e-process. Shapes as in `log_e_value`."""
    active = shares > 0
    if active.sum() < 2:
        return np.zeros(counts.shape[:-1])
    counts, shares = counts[..., active], shares[active]
    each = np.stack([log_e_value(counts, shares, k) for k in concentrations])
    return log_mean(each, axis=0)


def log_supremum(counts: Floats, shares: Floats) -> Floats:
    """Return ln of the largest likelihood ratio of any split, sum x ln(x / (n s)): no mixture exceeds it."""
    from scipy.special import xlogy

    active = shares > 0
    counts, shares = counts[..., active], shares[active]
    wanted = np.maximum(over_variants(counts), 1.0)[..., None] * shares
    return over_variants(np.asarray(xlogy(counts, counts / wanted)))


def log_e_values(
    counts: Floats,
    periods: Sequence[Period],
    of: Callable[[Floats, Floats], Floats] = log_mixture,
    start: tuple[Floats, Floats] | None = None,
) -> Floats:
    """Return the mixture after each bin: one factor per phase, counts begun anew and evidence carried.

    Bins in which a declared change is taken up have the factor 1.

    Args:
        counts: float (..., T, V), newly exposed units per bin.
        periods: the declared split of every bin.
        of: the factor of a phase, from its cumulative counts and its split.
        start: where earlier bins were seen, ln E of the phases before the first one, float (...,), and the
            earlier counts of the first one, float (..., V).

    Returns:
        float (..., T).
    """
    result = np.zeros(counts.shape[:-1])
    carried, before = start or (np.zeros(counts.shape[:-2]), np.zeros(counts.shape[:-2] + counts.shape[-1:]))
    for first, end, period in bounds(periods, counts.shape[-2]):
        result[..., first:end] = carried[..., None]
        if period.replaced is None:
            seen = counts[..., first:end, :].cumsum(axis=-2) + (before[..., None, :] if first == 0 else 0.0)
            result[..., first:end] += of(seen, period.shares)
        carried = result[..., end - 1]
    return result


def remainder(z: Floats | float) -> Floats:
    """Return r(z) = lnGamma(z) - ((z - 1/2) ln z - z + ln(2 pi)/2): Stirling's series, exactly below 20."""
    from scipy.special import gammaln

    z = np.asarray(z, dtype=np.float64)
    w = 1 / np.maximum(z, SERIES_FROM)
    series = w * (1 / 12 - w * w * (1 / 360 - w * w / 1260))
    if (z >= SERIES_FROM).all():
        return np.asarray(series)
    small = np.minimum(z, SERIES_FROM)
    exact = gammaln(small) - ((small - 0.5) * np.log(small) - small + 0.9189385332046727)
    return np.where(z >= SERIES_FROM, series, exact)


def log_mean(logs: Floats, axis: int) -> Floats:
    """Return ln of the mean of exp(logs) over an axis, for finite logs of any size.

    ln sum e^x = m + ln sum e^(x - m) with m = max x. Twice as fast as `numpy.logaddexp.reduce`.
    """
    largest = logs.max(axis=axis, keepdims=True)
    total = np.exp(logs - largest).mean(axis=axis)
    return np.asarray(np.log(total) + largest.squeeze(axis))
