"""The one path from bins to verdicts."""

import json
from datetime import timedelta

import numpy as np
import pytest

from exd_dagster.config import Phase, Thresholds
from exd_dagster.errors import InputError
from exd_dagster.stats import audit_flag
from tests.stats.build import HALVES, START, bins_of, draw, flag, hours, seasonal_units

SKEWED = {"control": 0.55, "treatment": 0.45}


def split_evenly(volumes: np.ndarray, seed: int = 3) -> np.ndarray:
    treated = np.random.default_rng(seed).binomial(volumes, 0.5)
    return np.stack([volumes - treated, treated], axis=1)


def strict(value) -> str:
    return json.dumps(value, allow_nan=False)


def test_a_healthy_flag_passes_all_three():
    audit = audit_flag(flag(), bins_of(split_evenly(seasonal_units(1, 21, 2000))))
    assert [verdict.verdict for verdict in audit] == ["pass", "pass", "pass"]
    assert audit.failed == audit.blocking == ()


def test_every_verdict_is_strict_json_and_says_how_far_it_looked():
    for new_units in (
        split_evenly(seasonal_units(1, 21, 2000)),
        np.zeros((30, 2)),
        draw(1, 1000, (48, SKEWED)),
    ):
        bins = bins_of(new_units)
        for verdict in audit_flag(flag(), bins):
            strict(verdict.as_metadata())
            assert verdict.audited_through == bins.audited_through
            assert verdict.sentence


def test_srm_metadata_has_the_result_names_of_exd():
    metadata = audit_flag(flag(), bins_of(draw(1, 1000, (48, HALVES)))).srm.as_metadata()
    wanted = {"expected", "observed", "n", "chi_square", "p_value", "verdict", "threshold"}
    assert wanted <= metadata.keys()
    assert metadata["expected"] == HALVES
    assert metadata["n"] == 48_000


def test_a_split_that_breaks_is_ongoing_and_dated():
    audit = audit_flag(flag(), bins_of(draw(5, 1000, (120, HALVES), (24, SKEWED))))
    for verdict in (audit.srm, audit.sequential_srm):
        assert (verdict.verdict, verdict.severity, verdict.state) == ("fail", "ERROR", "ongoing")
        assert abs(verdict.bad_from - hours(120)) <= timedelta(hours=1)
        assert verdict.usable_until <= verdict.bad_from == verdict.change_point
        assert verdict.iteration_start == START
        assert verdict.bad_until is None
    assert audit.srm.code == "T001"


def test_a_split_that_heals_is_contained():
    new_units = draw(5, 1000, (120, HALVES), (24, SKEWED), (200, HALVES))
    verdict = audit_flag(flag(), bins_of(new_units)).sequential_srm
    assert (verdict.verdict, verdict.state) == ("fail", "contained")
    assert abs(verdict.bad_until - hours(144)) <= timedelta(hours=1)


def test_dilution_never_lifts_a_failure():
    new_units = draw(5, 1000, (12, SKEWED), (1200, HALVES))
    verdict = audit_flag(flag(), bins_of(new_units)).srm
    assert verdict.p_value > 0.001
    assert (verdict.verdict, verdict.severity) == ("fail", "ERROR")
    assert verdict.failed_p_value < verdict.blocking_level


def test_chi_square_between_its_level_and_the_looks_level_only_warns():
    new_units = np.zeros((30 * 24, 2))
    new_units[-1] = 5165, 4835  # p = .00097 on day 30, whose level is 1e-6
    verdict = audit_flag(flag(), bins_of(new_units)).srm
    assert (verdict.verdict, verdict.severity, verdict.code) == ("fail", "WARN", "T001")


def test_the_answer_does_not_depend_on_how_often_it_was_asked():
    bins = bins_of(draw(9, 500, (60, HALVES), (30, SKEWED)))
    for through in (24, 48, 90):
        audit_flag(flag(), bins.between(START, hours(through)))
    assert audit_flag(flag(), bins).srm == audit_flag(flag(), bins).srm


def test_a_rerandomised_phase_starts_anew():
    new_units = draw(5, 1000, (48, SKEWED), (48, HALVES))
    fresh = flag(phases=(Phase(start=hours(48), split=HALVES, rerandomized=True),))
    audit = audit_flag(fresh, bins_of(new_units))
    assert (audit.srm.verdict, audit.sequential_srm.verdict) == ("pass", "pass")
    assert audit.srm.n == 47_000  # the hour in which clients follow is no part of it


def test_a_ramp_is_tested_phase_by_phase():
    nine_to_one = {"control": 0.9, "treatment": 0.1}
    ramp = flag(split=nine_to_one, phases=(Phase(start=hours(48), split=HALVES),))
    healthy = audit_flag(ramp, bins_of(draw(5, 1000, (48, nine_to_one), (48, HALVES))))
    assert (healthy.srm.verdict, healthy.sequential_srm.verdict) == ("pass", "pass")
    forgotten = audit_flag(ramp, bins_of(draw(5, 1000, (96, nine_to_one))))
    assert forgotten.sequential_srm.bad_from == hours(48)
    assert forgotten.srm.severity == "ERROR"


def test_an_hour_in_whose_middle_the_split_changed_is_left_out():
    nine_to_one = {"control": 0.9, "treatment": 0.1}
    ramp = flag(split=nine_to_one, phases=(Phase(start=hours(48.5), split=HALVES),), uptake="0m")
    audit = audit_flag(ramp, bins_of(draw(5, 1000, (49, nine_to_one), (47, HALVES))))
    assert audit.srm.verdict == "pass"
    assert audit.srm.n == 95_000


def test_a_few_stray_units_warn_and_many_block():
    variants = ("control", "treatment", "beta")
    clean = np.hstack([draw(5, 1000, (48, HALVES)), np.zeros((48, 1), dtype=int)])
    few, many = clean.copy(), clean.copy()
    few[30, 2], many[30, 2] = 9, 200
    warned = audit_flag(flag(), bins_of(few, variants)).srm
    blocked = audit_flag(flag(), bins_of(many, variants)).srm
    assert (warned.reason, warned.severity) == ("undeclared_variant", "WARN")
    assert (blocked.reason, blocked.severity, blocked.bad_from) == ("undeclared_variant", "ERROR", hours(30))
    assert "beta" in blocked.sentence


def test_a_dead_arm_is_found_in_one_hour():
    new_units = draw(5, 100, (120, HALVES))
    new_units[-1] = 100, 0
    verdict = audit_flag(flag(), bins_of(new_units)).sequential_srm
    assert (verdict.verdict, verdict.bad_from) == ("fail", hours(119))


@pytest.mark.parametrize("split", [{"on": 1.0}, {"on": 1.0, "off": 0.0}])
def test_one_variant_with_every_unit_is_skipped(split):
    audit = audit_flag(flag(split=split), bins_of(draw(5, 100, (48, {"on": 1.0})), ("on",)))
    assert [verdict.verdict for verdict in audit][:2] == ["skipped", "skipped"]


def test_without_a_declared_split_only_traffic_is_tested():
    audit = audit_flag(flag(split=None), bins_of(split_evenly(seasonal_units(1, 21, 2000))))
    assert [verdict.verdict for verdict in audit] == ["skipped", "skipped", "pass"]
    assert audit.srm.reason == "no_split_declared"


def test_hours_that_were_never_delivered_are_not_checked():
    nothing = bins_of(np.zeros((48, 2)), delivered=np.zeros(48, dtype=bool))
    assert [verdict.verdict for verdict in audit_flag(flag(), nothing)] == ["not_checked"] * 3
    empty = bins_of(np.zeros((0, 2)))
    assert [verdict.reason for verdict in audit_flag(flag(), empty)] == ["no_closed_hour"] * 3


def test_too_few_units_says_how_many_and_when():
    verdict = audit_flag(flag(), bins_of(np.array([[1, 1]] * 20))).srm
    assert (verdict.verdict, verdict.code) == ("insufficient", "T002")
    assert verdict.sentence == "Too few units yet: 40 of 100; at this rate enough by 2026-03-03 03:00 UTC."


def test_learning_says_its_day_and_when_it_will_speak():
    verdict = audit_flag(flag(), bins_of(split_evenly(seasonal_units(1, 8, 2000)))).traffic_drop
    assert verdict.verdict == "insufficient"
    assert verdict.sentence == "Learning: day 9 of 10; tests from 2026-03-11 00:00 UTC."


def test_after_its_end_a_flag_is_not_expected_to_have_traffic():
    volumes = seasonal_units(1, 21, 2000)
    volumes[-12:] = 0
    audit = audit_flag(flag(end=hours(20 * 24 + 12)), bins_of(split_evenly(volumes)))
    assert audit.traffic_drop.verdict == "pass"
    assert audit.traffic_drop.audited_through == hours(20 * 24 + 12)


def test_a_drop_that_lasts_blocks_and_one_that_recovered_warns():
    volumes = seasonal_units(1, 21, 2000)
    lasting, recovered = volumes.copy(), volumes.copy()
    lasting[-6:] = lasting[-6:] // 5
    recovered[-14:-8] = 0
    now = audit_flag(flag(), bins_of(split_evenly(lasting))).traffic_drop
    then = audit_flag(flag(), bins_of(split_evenly(recovered))).traffic_drop
    assert (now.severity, now.state, now.bad_from) == ("ERROR", "ongoing", hours(21 * 24 - 6))
    assert (then.severity, then.state) == ("WARN", "contained")
    assert (then.bad_from, then.bad_until) == (hours(21 * 24 - 14), hours(21 * 24 - 8))


def test_an_alarm_outside_the_judged_hours_is_not_reported_again():
    volumes = seasonal_units(1, 21, 2000)
    volumes[-100:-94] = 0
    bins = bins_of(split_evenly(volumes))
    assert audit_flag(flag(), bins).traffic_drop.verdict == "pass"
    asked = audit_flag(flag(), bins, judged=(hours(21 * 24 - 110), hours(21 * 24 - 90))).traffic_drop
    assert (asked.severity, asked.state) == ("WARN", "contained")


def test_thresholds_are_obeyed():
    strict_size = Thresholds(srm={"min_sample_size": 10**6})
    assert audit_flag(flag(), bins_of(draw(5, 100, (48, SKEWED))), strict_size).srm.verdict == "insufficient"
    sprt = Thresholds(sequential_srm={"method": "sprt"})
    verdict = audit_flag(flag(), bins_of(draw(5, 1000, (48, SKEWED))), sprt).sequential_srm
    assert (verdict.method, verdict.alpha, verdict.verdict) == ("sprt", 0.01, "fail")


def test_a_verdict_speaks_up_to_the_last_delivered_hour():
    delivered = np.ones(60, dtype=bool)
    delivered[-10:] = False
    audit = audit_flag(flag(), bins_of(draw(5, 100, (60, HALVES)), delivered=delivered))
    assert {verdict.audited_through for verdict in audit} == {hours(50)}


def test_before_the_first_unit_the_declared_split_is_shown():
    srm = audit_flag(flag(), bins_of(np.zeros((5, 2)))).srm
    assert (srm.verdict, srm.n, srm.expected) == ("not_checked", 0, HALVES)


def test_a_failure_says_when_it_was_detected():
    audit = audit_flag(flag(), bins_of(draw(5, 1000, (120, HALVES), (24, SKEWED))))
    for verdict in (audit.srm, audit.sequential_srm):
        assert hours(120) < verdict.detected_at <= hours(144)


def test_dilution_does_not_lift_an_undeclared_variant():
    new_units = np.hstack([draw(5, 1000, (1000, HALVES)), np.zeros((1000, 1), dtype=int)])
    new_units[2, 2] = 200
    verdict = audit_flag(flag(), bins_of(new_units, ("control", "treatment", "beta"))).srm
    assert (verdict.reason, verdict.severity, verdict.state) == ("undeclared_variant", "ERROR", "contained")


@pytest.mark.parametrize(("hours_ago", "state"), [(24, "ongoing"), (25, "contained")])
def test_an_undeclared_variant_is_still_served_when_it_was_seen_in_the_last_24_hours(hours_ago, state):
    new_units = np.hstack([draw(5, 1000, (100, HALVES)), np.zeros((100, 1), dtype=int)])
    new_units[-hours_ago, 2] = 5000
    assert audit_flag(flag(), bins_of(new_units, ("control", "treatment", "beta"))).srm.state == state


def test_an_undeclared_variant_blocks_though_the_split_only_warns():
    new_units = np.zeros((30 * 24, 3))
    new_units[-1] = 5165, 4835, 400
    verdict = audit_flag(flag(), bins_of(new_units, ("control", "treatment", "beta"))).srm
    assert (verdict.reason, verdict.severity) == ("undeclared_variant", "ERROR")


@pytest.mark.parametrize(
    ("judged", "reported"),
    [
        ((START.replace(tzinfo=None), hours(5)), "no UTC offset"),
        ((hours(5), hours(5)), "is not before end"),
    ],
)
def test_judged_hours_without_offset_or_in_reverse_are_refused(judged, reported):
    with pytest.raises(InputError, match=reported):
        audit_flag(flag(), bins_of(draw(5, 100, (48, HALVES))), judged=judged)


def test_after_its_end_a_flag_is_judged_by_its_last_day():
    bins = bins_of(split_evenly(seasonal_units(1, 21, 2000)))
    ended = flag(end=hours(20 * 24))
    later = (hours(20 * 24), hours(21 * 24))
    assert audit_flag(ended, bins, judged=later).traffic_drop.verdict == "pass"


def test_hours_past_the_watermark_are_not_checked():
    bins = bins_of(split_evenly(seasonal_units(1, 21, 2000)))
    judged = (hours(21 * 24), hours(22 * 24))
    assert audit_flag(flag(), bins, judged=judged).traffic_drop.verdict == "not_checked"


def test_a_ramp_whose_rarest_arm_expects_too_few_units_is_not_judged_yet():
    """One unit where .3 is expected looks like SRM to chi-square, and is none."""
    first, second = {"a": 0.5, "b": 0.499, "c": 0.001}, {"a": 0.5, "b": 0.4995, "c": 0.0005}
    new_units = np.zeros((48, 3))
    new_units[0], new_units[30] = (100, 100, 3), (150, 150, 0)
    ramp = flag(split=first, phases=(Phase(start=hours(24), split=second),))
    verdict = audit_flag(ramp, bins_of(new_units, ("a", "b", "c"))).srm
    assert (verdict.verdict, verdict.code) == ("insufficient", "T002")
    assert verdict.sentence == "Too few units yet: c expects 0.4, a ramp needs 5 of each."
