"""The bound that leaves segments out of the evaluation is never below the evidence: no verdict differs."""

import numpy as np
import pytest

from exd_dagster.bins.model import Segment
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.combined import log_bounds, log_e_values
from exd_dagster.stats.methods.dirichlet import over_variants
from exd_dagster.stats.segments.evidence import gather

TWO, THREE = np.array([0.5, 0.5]), np.array([0.6, 0.3, 0.1])
SCHEDULES = {
    "one split": [Period(0, TWO)],
    "three arms": [Period(0, THREE)],
    "a ramp taken up": [
        *(Period(0, np.array([0.9, 0.1])), Period(40, TWO, replaced=np.array([0.9, 0.1]))),
        Period(52, TWO),
    ],
    "an arm that starts later": [Period(0, np.array([0.7, 0.3, 0.0])), Period(30, THREE)],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rate", [0.3, 20, 4000])
def test_the_bound_is_never_below_the_evidence(schedule: str, rate: float) -> None:
    random, periods = np.random.default_rng(4), SCHEDULES[schedule]
    served = np.repeat([periods[-1].shares], 120, axis=0)
    for begin, period in zip([p.first for p in periods], periods, strict=True):
        served[begin:] = period.shares
    faulty = served.copy()
    faulty[70:, 0] /= 2
    parts = [random.poisson(shares * rate, size=(6, *shares.shape)) for shares in (served, faulty)]
    counts = np.concatenate(parts).astype(float)
    exact, bound = log_e_values(counts, periods), log_bounds(counts, periods)
    assert (bound >= exact - 1e-9).all()
    assert (bound[:, -1] < exact[:, -1] + 15).all()


def test_segments_that_could_fail_are_evaluated_and_the_crossings_are_those_of_all() -> None:
    random = np.random.default_rng(8)
    counts = random.poisson(15, size=(60, 200, 2)).astype(float)
    counts[7, 120:, 1] = random.poisson(6, size=80)
    names = [Segment("d", f"v{i}", 0) for i in range(60)]
    whole, some = (gather(names, counts, [Period(0, TWO)], alpha, 5) for alpha in (None, 0.001))
    evaluated = np.isfinite(some.log_e_values[:, -1])
    assert 6 <= evaluated.sum() < 30
    assert (whole.crossings(0.001) == some.crossings(0.001)).all()
    assert (whole.crossings(0.001) < 200).sum() == 1
    assert np.array_equal(whole.log_e_values[evaluated], some.log_e_values[evaluated])


@pytest.mark.parametrize("variants", [1, 2, 5, 40])
def test_a_sum_over_variants_is_numpys(variants: int) -> None:
    values = np.random.default_rng(1).normal(size=(3, 7, variants))
    assert over_variants(values) == pytest.approx(values.sum(axis=-1), rel=1e-12)
