"""Reports that keep units by chance alone pass, and joins that lose units of one arm are found."""

import numpy as np
import pytest

from exd_dagster.stats.reports.kept import kept_p_value
from exd_dagster.stats.reports.reconcile import Exposed, reconcile
from exd_dagster.stats.srm.looks import look_levels
from tests.calibration.simulate import at_most
from tests.logs import HOUR, START

pytestmark = pytest.mark.calibration

NIGHTS = 14
ARMS = ("control", "treatment", "other")


@pytest.mark.parametrize(
    ("shares", "per_night", "activated", "runs"),
    [((0.5, 0.5), 2000, 0.3, 3000), ((0.9, 0.1), 100, 0.95, 3000), ((0.5, 0.25, 0.25), 500, 0.6, 2000)],
)
def test_a_sample_of_an_honest_assignment_rarely_fails_on_any_night(
    shares, per_night, activated, runs, measured
):
    """Units activate with a delay of days, the same for every arm; the report is compared every night."""
    random, alpha = np.random.default_rng(11), 0.05
    levels = look_levels(NIGHTS * 24, alpha)[23::24]
    failed = 0
    for _ in range(runs):
        arms = random.multinomial(per_night, shares, size=NIGHTS)
        left, exposed, kept = (
            np.zeros(len(shares), int),
            np.zeros(len(shares), int),
            np.zeros(len(shares), int),
        )
        for night in range(NIGHTS):
            active = random.binomial(arms[night], activated)  # half of them at once, the others by and by
            left += active
            now = random.binomial(left, 0.5)
            left, kept, exposed = left - now, kept + now, exposed + arms[night]
            named = [dict(zip(ARMS, units.tolist(), strict=False)) for units in (exposed, kept)]
            if kept_p_value(*named) < levels[night]:
                failed += 1
                break
    rate = failed / runs
    split = "/".join(f"{100 * share:g}" for share in shares)
    measured(
        f"reconcile: false alarm at .05, {NIGHTS} nights, {split}, {100 * activated:g} % kept",
        "<= .05",
        f"{rate:.4f} ({failed} of {runs})",
    )
    assert failed <= at_most(alpha, runs)


@pytest.mark.parametrize(("kept", "target"), [(1.0, 0.99), (0.95, 0.99), (0.8, None), (0.3, None)])
def test_two_percent_of_one_arm_lost_in_a_join_are_found(kept, target, measured):
    """100,000 units after 14 days; of those the report keeps, the join loses 2 % of one arm."""
    random, runs = np.random.default_rng(12), 1000
    level = float(look_levels(14 * 24, 0.001)[-1])
    found = 0
    for _ in range(runs):
        treatment = int(random.binomial(100_000, 0.5))
        units = {"control": 100_000 - treatment, "treatment": treatment}
        held = {
            "control": int(random.binomial(units["control"], kept)),
            "treatment": int(random.binomial(treatment, kept * 0.98)),
        }
        verdict = reconcile(
            Exposed(units=units, since=START, until=START + 14 * 24 * HOUR),
            held,
            expects="sample",
            level=level,
        )
        found += verdict.failed and verdict.headline.startswith("treatment lost")
    measured(
        f"reconcile: 2 % of one arm lost of 100,000 units, a report that keeps {100 * kept:g} %",
        f">= {target}" if target else "(what a sample can show)",
        f"{found / runs:.3f}",
    )
    assert target is None or found / runs >= target
