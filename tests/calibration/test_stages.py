"""Stages of a healthy flag rarely fail, and the first stage that breaks is the one that is named."""

import numpy as np
import pytest

from exd_dagster.config import FlagAudit
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks.stage_srm import STAGE_SRM
from tests.calibration.simulate import at_most
from tests.stats.build import START, bins_of

pytestmark = pytest.mark.calibration

SPLIT = {"control": 0.5, "treatment": 0.5}
STAGES = {name: [name] for name in ("assigned", "exposed", "activated")}
FLAG = FlagAudit(key="f", start=START, split=SPLIT, stages=STAGES)
HOURS = 14 * 24


def stages_of(random, kept) -> dict[str, np.ndarray]:
    """Return units by hour and arm at each stage; of each stage's units of an arm a share goes on."""
    units = random.multinomial(random.poisson(200, HOURS), list(SPLIT.values()))
    found = {}
    for stage, shares in kept.items():
        units = random.binomial(units, shares)
        found[stage] = units
    return found


def judged(units):
    bins = {stage: bins_of(counts) for stage, counts in units.items()}
    exposed = bins.pop("exposed")
    (verdict,) = audit_flag(FLAG, exposed, checks=[STAGE_SRM], stages=bins)
    return verdict


def test_no_stage_of_a_healthy_flag_fails(measured):
    random, runs = np.random.default_rng(31), 1000
    kept = {"assigned": [1, 1], "exposed": [0.7, 0.7], "activated": [0.2, 0.2]}
    failed = sum(judged(stages_of(random, kept)).failed for _ in range(runs))
    measured("stage_srm: false alarm, 3 stages, 14 d x 336 looks", "<= .001", f"{failed} of {runs}")
    assert failed <= at_most(0.001, runs)


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("assigned", {"assigned": [1, 0.9], "exposed": [0.7, 0.7], "activated": [0.5, 0.5]}),
        ("exposed", {"assigned": [1, 1], "exposed": [0.7, 0.63], "activated": [0.5, 0.5]}),
        ("activated", {"assigned": [1, 1], "exposed": [0.7, 0.7], "activated": [0.5, 0.45]}),
    ],
)
def test_the_first_stage_that_breaks_is_named(stage, kept, measured):
    random, runs = np.random.default_rng(32), 100
    named = sum(judged(stages_of(random, kept)).stage == stage for _ in range(runs))
    figure = f"stage_srm: 10 % of treatment lost at {stage}, 200/h, 14 d: that stage named"
    measured(figure, ">= .95", f"{named} of {runs}")
    assert named >= 95
