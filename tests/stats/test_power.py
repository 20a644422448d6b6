"""How soon a fault would be found."""

import numpy as np
import pytest

from exd_dagster.bins.model import Segment
from exd_dagster.errors import InputError
from exd_dagster.stats import plan_detection
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.segments.evidence import gather
from tests.stats.build import HALVES

SKEWED = {"control": 0.55, "treatment": 0.45}


def test_a_mid_flight_loss_of_a_tenth_is_found_within_six_hours():
    plan = plan_detection(HALVES, SKEWED, 1000, healthy_hours=120)
    assert plan.median_hours <= plan.hours <= 6
    assert plan.units == 1000 * plan.hours


def test_a_dead_arm_is_found_in_one_hour():
    assert plan_detection(HALVES, {"control": 1.0, "treatment": 0.0}, 100).hours == 1


def test_a_fault_too_small_for_the_traffic_is_said_to_be_so():
    plan = plan_detection(HALVES, {"control": 0.501, "treatment": 0.499}, 10, longest_hours=48)
    assert plan.hours is None
    assert plan.sentence == "Not found with probability 0.9 within 2 days at this traffic."


def test_the_same_question_has_the_same_answer():
    assert plan_detection(HALVES, SKEWED, 300) == plan_detection(HALVES, SKEWED, 300)


def test_a_fault_of_a_segment_is_found_as_soon_as_the_segments_of_simulated_flags_are():
    """The plan for 20 segments against `gather` on 60 flags whose last of 20 segments breaks at hour 72."""
    dead = {"control": 2 / 3, "treatment": 1 / 3}
    plan = plan_detection(HALVES, dead, 1000, segment_share=0.05, segments=20, healthy_hours=72)
    random, delays = np.random.default_rng(7), []
    even = np.array([0.5, 0.5])
    others = np.arange(19, 0, -1) + 40.0
    for _ in range(60):
        fault = np.where(np.arange(150)[:, None] < 72, even, [2 / 3, 1 / 3]) * 50
        broken = random.poisson(fault)
        rest = random.poisson(others[:, None, None] / others.sum() * 950 * even, (19, 150, 2))
        names = [Segment("d", f"v{i}") for i in range(20)]
        counts = np.concatenate([rest, broken[None]]).astype(float)
        found = gather(names, counts, [Period(0, even)])
        delays.append(found.crossings(0.001).min() + 1 - 72)
    assert plan.median_hours == pytest.approx(np.median(delays), rel=0.25)
    assert plan.hours == pytest.approx(np.quantile(delays, 0.9), rel=0.3)


def test_a_segment_is_found_long_before_the_whole_flag():
    """The table of the documentation: half of treatment is lost in 10 % of 1,000 units an hour at day 5."""
    plan = plan_detection(
        HALVES, {"control": 2 / 3, "treatment": 1 / 3}, 1000, segment_share=0.1, healthy_hours=120
    )
    assert plan.median_hours <= 8
    assert plan.whole_flag_hours > 5 * plan.hours
    assert plan.sentence.endswith(f"does not show it with that probability for {plan.whole_flag_hours} h.")


def test_a_segment_is_tested_from_its_first_50_units_on():
    """A dead arm of a segment of 10 units an hour is clear after 2 hours, and waits for its admission."""
    dead = {"control": 1.0, "treatment": 0.0}
    assert plan_detection(HALVES, dead, 1000, segment_share=0.01, segments=1).hours >= 5


@pytest.mark.parametrize("wrong", [{"segment_share": 0.0}, {"segment_share": 1.5}, {"segments": 0}])
def test_a_segment_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="segment_share is above 0"):
        plan_detection(HALVES, SKEWED, 100, **wrong)


@pytest.mark.parametrize(
    ("fault", "rate", "reported"),
    [(SKEWED, 0, "units_per_hour is 0"), ({"a": 0.5, "b": 0.5}, 10, "name the same variants")],
)
def test_unusable_input_is_refused_with_its_value(fault, rate, reported):
    with pytest.raises(InputError, match=reported):
        plan_detection(HALVES, fault, rate)
