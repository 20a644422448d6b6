"""How soon a fault would be found."""

import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import plan_detection
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


@pytest.mark.parametrize(
    ("fault", "rate", "reported"),
    [(SKEWED, 0, "units_per_hour is 0"), ({"a": 0.5, "b": 0.5}, 10, "name the same variants")],
)
def test_unusable_input_is_refused_with_its_value(fault, rate, reported):
    with pytest.raises(InputError, match=reported):
        plan_detection(HALVES, fault, rate)
