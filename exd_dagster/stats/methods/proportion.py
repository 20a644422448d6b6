"""An exact interval for a share of few cases."""


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
