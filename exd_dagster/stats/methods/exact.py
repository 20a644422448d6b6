"""Exact goodness-of-fit tests for expected counts too small for chi-square."""

from itertools import combinations
from math import comb, lgamma, log

import numpy as np

from exd_dagster.stats.inputs import Floats

MOST_OUTCOMES = 200_000
"""Up to this many outcomes the multinomial is enumerated; above, each arm is tested exactly by itself."""

TIE = 1e-9
"""Outcomes whose probability differs by less than this factor count as equally likely."""


def exact_p_value(observed: Floats, shares: Floats) -> float:
    """Return the probability, under `shares`, of a count vector no likelier than the observed one.

    Two arms: the binomial test. More: the multinomial test by enumeration; where there are more than
    200,000 outcomes, Bonferroni over the arms' binomial tests, which never understates p.

    Args:
        observed: float (V,), whole counts.
        shares: float (V,), all above 0, summing to 1.
    """
    n, arms = int(observed.sum()), len(observed)
    if arms == 2:
        return binomial_p_value(int(observed[0]), n, float(shares[0]))
    if comb(n + arms - 1, arms - 1) <= MOST_OUTCOMES:
        return _multinomial_p_value(observed, shares)
    return min(
        1.0, arms * min(binomial_p_value(int(x), n, float(q)) for x, q in zip(observed, shares, strict=True))
    )


def binomial_p_value(x: int, n: int, share: float) -> float:
    """Return P(pmf(Y) <= pmf(x)) for Y ~ Binomial(n, share): both tails, by bisection for the far one."""
    mode = min(int((n + 1) * share), n)
    if x == mode:
        return 1.0
    bound = _log_pmf(x, n, share) + TIE
    below, above = (x, n + 1) if x < mode else (-1, x)
    # The pmf falls away from the mode on both sides: bisect for the first outcome of the far tail.
    if x < mode:
        low, high = mode, n + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _log_pmf(middle, n, share) <= bound else (middle + 1, high)
        above = low
    else:
        low, high = -1, mode
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if _log_pmf(middle, n, share) <= bound else (low, middle - 1)
        below = low
    return min(1.0, _lower_tail(below, n, share) + _upper_tail(above, n, share))


def _log_pmf(x: int, n: int, share: float) -> float:
    if x < 0 or x > n:
        return float("-inf")
    return lgamma(n + 1) - lgamma(x + 1) - lgamma(n - x + 1) + x * log(share) + (n - x) * log(1 - share)


def _lower_tail(x: int, n: int, share: float) -> float:
    from scipy.special import betainc

    if x < 0:
        return 0.0
    return 1.0 if x >= n else float(betainc(n - x, x + 1, 1 - share))


def _upper_tail(x: int, n: int, share: float) -> float:
    from scipy.special import betainc

    if x > n:
        return 0.0
    return 1.0 if x <= 0 else float(betainc(x, n - x + 1, share))


def _multinomial_p_value(observed: Floats, shares: Floats) -> float:
    from scipy.special import gammaln

    outcomes = _compositions(int(observed.sum()), len(observed))
    constant = lgamma(observed.sum() + 1)

    def log_pmf(counts: Floats) -> Floats:
        return np.asarray(constant - gammaln(counts + 1).sum(axis=-1) + counts @ np.log(shares))

    chances = log_pmf(outcomes)
    return min(1.0, float(np.exp(chances[chances <= log_pmf(observed) + TIE]).sum()))


def _compositions(total: int, parts: int) -> Floats:
    """Every way to share `total` among `parts`, by stars and bars: float (outcomes, parts)."""
    bars = np.fromiter(
        (bar for chosen in combinations(range(total + parts - 1), parts - 1) for bar in chosen),
        dtype=np.int64,
    ).reshape(-1, parts - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, total + parts - 1)))
    return np.asarray(np.diff(edges, axis=1) - 1, dtype=np.float64)
