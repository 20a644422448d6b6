"""Values computed once with 50-digit arithmetic; every formula holds to 1e-8."""

import numpy as np
import pytest

from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods import dirichlet, restart, sprt
from exd_dagster.stats.methods.chi_square import stratified, upper_tail
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.methods.intervals import confidence_sequence
from exd_dagster.stats.traffic.seasonal import lower_tail

CLOSE = {"abs": 1e-8, "rel": 0}
THIRDS = (0.5, 0.3, 0.2)
RARE = (0.98, 0.01, 0.01)


def counts(*values):
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("units", "treatment", "wanted"),
    [
        ((500, 600), 0.5, 2.428617428505),
        ((5000, 5300), 0.5, 3.066659930593),
        ((0, 100), 0.5, 3.229258111992),
        ((900, 130), 0.1, 2.783087975114),
        ((10000, 10000), 0.5, -16.01281366974),
        ((9600, 400), 0.03, 3.629868058553),
    ],
)
def test_two_arm_sprt(units, treatment, wanted):
    shares = counts(1 - treatment, treatment)
    assert sprt.log_likelihood_ratio(counts(*units), shares, 0.02) == pytest.approx(wanted, **CLOSE)


@pytest.mark.parametrize(
    ("units", "shares", "wanted"),
    [
        ((520, 290, 190), THIRDS, -0.2791773004745),
        ((9800, 150, 50), RARE, 13.68773591122),
        ((9600, 400), (0.97, 0.03), 11.8794783024),
    ],
)
def test_many_arm_sprt(units, shares, wanted):
    logs = counts(*units) @ sprt.many_arm_table(counts(*shares), 0.02)
    assert np.logaddexp.reduce(logs) - np.log(len(logs)) == pytest.approx(wanted, **CLOSE)


@pytest.mark.parametrize(
    ("units", "shares", "each", "mixture"),
    [
        (
            (480, 520),
            (0.5, 0.5),
            (-0.4731252336708, 0.05352818739473, 0.02507668239385, 0.002945680531416),
            -0.07623801722861,
        ),
        (
            (5000, 5300),
            (0.5, 0.5),
            (2.003268230017, 2.770492147901, 1.862908098473, 0.3589653394243),
            2.055853860592,
        ),
        (
            (520, 290, 190),
            THIRDS,
            (-1.640985076045, -0.273833936032, -0.01908831099722, -0.001649880400166),
            -0.310032800136,
        ),
        (
            (9800, 150, 50),
            RARE,
            (21.24351156102, 21.28587663642, 11.97192118254, 2.179219647185),
            20.5718172862,
        ),
    ],
)
def test_dirichlet_mixture(units, shares, each, mixture):
    x, s = counts(*units), counts(*shares)
    found = [float(dirichlet.log_e_value(x, s, k)) for k in dirichlet.CONCENTRATIONS]
    assert found == pytest.approx(each, **CLOSE)
    assert float(dirichlet.log_mixture(x, s)) == pytest.approx(mixture, **CLOSE)


def test_dirichlet_mixture_does_not_overflow():
    found = float(dirichlet.log_mixture(counts(1e7, 0), counts(0.5, 0.5)))
    assert found == pytest.approx(6930879.082611, rel=1e-9)


@pytest.mark.parametrize(
    ("bins", "shares", "restarts", "combined"),
    [
        (
            [(50, 50), (40, 60), (30, 70), (0, 0), (25, 75)],
            (0.5, 0.5),
            (-0.2790177197484, -0.1389615461882, 3.052479309607, 3.052479309607, 12.57022197975),
            (-0.1802774919882, -0.03873313074448, 2.837530158733, 2.837530158733, 11.95312369772),
        ),
        (
            [(50, 30, 20), (60, 25, 15), (70, 20, 10)],
            THIRDS,
            (-0.2650108132111, -0.2102462786712, 2.07193853232),
            (-0.2130422381618, -0.1446434327702, 2.099881851425),
        ),
    ],
)
def test_restart_and_combined(bins, shares, restarts, combined):
    x, periods = counts(*bins), [Period(0, counts(*shares))]
    assert restart.log_e_values(restart.log_sums(x, periods)) == pytest.approx(restarts, **CLOSE)
    assert log_e_values(x, periods) == pytest.approx(combined, **CLOSE)


@pytest.mark.parametrize(
    ("units", "alpha", "low", "high"),
    [
        ((5000, 5300), 0.001, 0.493186, 0.535904),
        ((5000, 5300), 0.05, 0.498221, 0.530885),
        ((50000, 53000), 0.001, 0.506936, 0.522186),
    ],
)
def test_confidence_sequence(units, alpha, low, high):
    ends = confidence_sequence(counts(*units), counts(0.5, 0.5), alpha, (1e4,))
    assert ends[1] == pytest.approx((low, high), abs=1e-6)


def test_stratified_chi_square():
    x = counts((905, 95), (960, 1040))
    statistic, degrees = stratified(x, [Period(0, counts(0.9, 0.1)), Period(1, counts(0.5, 0.5))])
    assert (statistic[1], degrees[1]) == (pytest.approx(2.076271186441, **CLOSE), 1)
    assert float(upper_tail(statistic[1], 1)) == pytest.approx(0.1496052517, **CLOSE)


@pytest.mark.parametrize(
    ("volume", "mean", "dispersion", "wanted"),
    [
        (60, 100, 0.01, 9.768640e-4),
        (100, 200, 0.02, 8.845197e-5),
        (0, 10, 0.02, 1.098848e-4),
        (0, 5, 0.02, 8.518551e-3),
        (4000, 5000, 0.005, 1.571796e-3),
    ],
)
def test_negative_binomial_tail(volume, mean, dispersion, wanted):
    found = lower_tail(counts(volume), counts(mean), counts(dispersion))
    assert float(found[0]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("n", "error"), [(10, 1e-9), (10**4, 1e-9), (10**8, 1e-7), (10**12, 1e-4)])
def test_log_e_value_agrees_with_50_digits(n, error):
    """At 1e12 what is left is the rounding of the declared shares themselves: 1e-17 of every unit."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 50
    for shares in ((0.5, 0.5), THIRDS, RARE):
        drift = int(2 * n**0.5) + 1
        x = [int(n * s) for s in shares[:-1]]
        x[0] += drift
        x.append(max(n - sum(x), 0))
        for k in dirichlet.CONCENTRATIONS:
            a = [mpmath.mpf(k) * mpmath.mpf(s) for s in shares]
            exact = sum(
                mpmath.loggamma(ai + xi) - mpmath.loggamma(ai) - xi * mpmath.log(mpmath.mpf(s))
                for ai, xi, s in zip(a, x, shares, strict=True)
            ) - (mpmath.loggamma(sum(a) + sum(x)) - mpmath.loggamma(sum(a)))
            found = float(dirichlet.log_e_value(counts(*x), counts(*shares), k))
            assert found == pytest.approx(float(exact), abs=error, rel=0), (shares, k)
