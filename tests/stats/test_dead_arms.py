"""An arm that gets nothing is reported first, with since when."""

import numpy as np
import pytest

from exd_dagster.audit.trust import trust_verdict
from exd_dagster.config import Phase
from exd_dagster.stats import audit_flag
from exd_dagster.stats.dead_arms import dead_arms
from exd_dagster.stats.window import split_window
from tests.stats.build import bins_of, flag, hours

ALIVE, DEAD, QUIET = [20, 20], [20, 0], [0, 0]
LEVEL = 0.001


def found(*counts, delivered=None, **values):
    bins = bins_of(np.array(counts), delivered=delivered)
    return dead_arms(split_window(flag(**values), bins), LEVEL)


def test_an_arm_is_dead_from_the_first_hour_in_which_only_others_get_units():
    assert found(*[ALIVE] * 30, *[DEAD] * 3) == {"treatment": hours(30)}


def test_hours_in_which_nobody_gets_a_unit_are_not_called_the_arm_s_death():
    assert found(*[ALIVE] * 3, QUIET, QUIET, DEAD) == {"treatment": hours(5)}
    assert found(*[ALIVE] * 3, *[QUIET] * 9) == {}


@pytest.mark.parametrize(("units", "dead"), [(9, False), (10, True)])
def test_an_arm_is_dead_where_getting_none_of_so_many_units_is_below_the_level(units, dead):
    """0.5^9 = 0.00195 and 0.5^10 = 0.00098 lie around the level of 0.001."""
    assert bool(found(ALIVE, [units, 0])) == dead


def test_an_arm_that_gets_a_unit_again_is_alive():
    assert found(*[ALIVE] * 3, *[DEAD] * 9, [20, 1]) == {}


def test_an_arm_whose_declared_share_became_0_is_not_dead():
    stop = Phase(start=hours(10), split={"control": 1.0}, uptake="0m")
    assert found(*[ALIVE] * 10, *[DEAD] * 10, phases=(stop,)) == {}


def test_hours_in_which_a_new_phase_is_taken_up_do_not_count():
    ramp = Phase(start=hours(10), split={"control": 0.9, "treatment": 0.1}, uptake="4h")
    assert found(*[ALIVE] * 10, *[DEAD] * 4, [5, 0], phases=(ramp,)) == {}
    assert found(*[ALIVE] * 10, *[DEAD] * 4, [90, 0], phases=(ramp,)) == {"treatment": hours(14)}


def test_both_sentences_begin_with_the_dead_arm_and_the_one_answer_says_it_once():
    verdicts = audit_flag(flag(), bins_of(np.array([ALIVE] * 30 + [DEAD] * 15)))
    said = "treatment gets no unit since 2026-03-02 06:00 UTC."
    for verdict in (verdicts.srm, verdicts.sequential_srm):
        assert (verdict.now, verdict.sentence.startswith(f"{said} S")) == (said, True)
        assert verdict.dead_arms == {"treatment": hours(30)}
    answer = trust_verdict(tuple(verdicts), "block")
    assert answer.sentence.startswith(f"Not trusted. {said} SRM: ")
    assert answer.sentence.count(said) == 1


def test_a_split_that_passes_says_nothing_of_dead_arms():
    verdicts = audit_flag(flag(), bins_of(np.array([ALIVE] * 30)))
    assert (verdicts.srm.dead_arms, verdicts.srm.now) == ({}, "")
