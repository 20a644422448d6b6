"""Segment SRM: the evidence is that of a brute force, and the verdict names what broke."""

import json

import numpy as np
import pytest

from exd_dagster.bins.model import ADMITTED
from exd_dagster.config import Phase, Thresholds
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks.segment_srm import SEGMENT_SRM
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.segments.evidence import HEAD, gather, log_weights
from exd_dagster.stats.segments.segment_srm import segment_srm
from tests.stats.build import bins_of, flag, hours
from tests.stats.segments import brute_evidence, drawn, segmented

HALVES = [Period(0, np.array([0.5, 0.5]))]


def one_broken(lost=0.5, hour=100, length=160, small=100, **more):
    """A flag of 900 honest units an hour, and of a small browser that loses part of treatment."""
    return segmented(
        browser={"Chrome": drawn(1, length, 900), "Safari": drawn(2, length, small, broken=(hour, lost))},
        **more,
    )


@pytest.mark.parametrize("seed", range(3))
def test_evidence_weights_and_admission_are_those_of_a_brute_force(seed):
    """Values that come later, that stay too small and that are not named, in two dimensions."""
    late, none = drawn(seed, 30, 20), np.zeros((30, 2), dtype=int)
    late[:12] = 0
    parts = {
        "a": drawn(seed + 10, 30, 40),
        "late": late,
        "rare": drawn(seed + 20, 30, 1),
        "(other)": none + 1,
    }
    whole = sum(parts.values())
    os = {"x": np.minimum(drawn(seed + 30, 30, 20), whole)}
    os["y"] = whole - os["x"]
    _, segments = segmented(browser=parts, os=os)
    found = gather(segments.segments, segments.new_units.astype(float), HALVES)
    wanted = brute_evidence(segments, ADMITTED, HEAD)
    assert [str(segment) for segment in found.segments] == list(wanted)
    assert {"browser = (other)", "browser = late"} <= set(wanted)
    assert "browser = rare" not in wanted
    for i, (bin_, weight, e_values) in enumerate(wanted.values()):
        assert found.admitted[i] == bin_
        np.testing.assert_allclose(np.exp(found.log_weights[i]), weight, rtol=1e-9)
        np.testing.assert_allclose(np.exp(found.log_e_values[i]), e_values, rtol=1e-7)


def test_weights_sum_to_less_than_1_however_many_segments():
    assert 0.99 < np.exp(log_weights(10_000)).sum() < 1


def test_a_segment_that_broke_is_named_with_hour_split_and_what_it_touches():
    verdict = segment_srm(flag(), *one_broken(os={"all": sum(parts for parts in _both())}))
    assert (verdict.verdict, verdict.severity, verdict.state) == ("fail", "WARN", "ongoing")
    assert verdict.segment == "browser = Safari"
    assert verdict.usable_without == ("browser = Safari",)
    assert abs((verdict.bad_from - hours(100)).total_seconds()) <= 4 * 3600
    assert verdict.bad_from <= verdict.detected_at <= hours(110)
    assert verdict.share == pytest.approx(1 / 3, abs=0.02)
    assert verdict.outside_share == pytest.approx(0.5, abs=0.01)
    assert verdict.unit_share == pytest.approx(75 / 975, abs=0.005)
    assert verdict.sentence.startswith("Only browser = Safari: treatment 33")
    assert verdict.sentence.endswith("usable without browser = Safari.")
    json.dumps(verdict.as_metadata(), allow_nan=False)


def _both():
    return drawn(1, 160, 900), drawn(2, 160, 100, broken=(100, 0.5))


def test_the_level_is_that_of_the_thresholds():
    """Evidence of some 10^5 to 1 fails at 1 in 1,000 and not at 1 in 10^9."""
    bins, segments = one_broken(length=106)
    found = segment_srm(flag(), bins, segments).max_log_e_value
    assert np.log(1e3) < found < np.log(1e9)
    for alpha, answer in ((1e-3, "fail"), (1e-9, "pass")):
        levels = Thresholds(segment_srm={"alpha": alpha})
        (verdict,) = audit_flag(flag(), bins, levels, checks=[SEGMENT_SRM], segments=segments)
        assert (verdict.verdict, verdict.alpha) == (answer, alpha)


def test_a_healthy_flag_passes_and_says_how_many_segments_were_tested():
    verdict = segment_srm(flag(), *one_broken(lost=0))
    assert (verdict.verdict, verdict.reason, verdict.segments_tested) == ("pass", "split_as_declared", 2)
    assert [row.value for row in verdict.rows] == ["Chrome", "Safari"]
    assert all(row.low <= 0.5 <= row.high for row in verdict.rows)


def test_the_whole_flag_off_is_not_said_to_be_one_segment():
    counts = {name: drawn(i, 200, 300, 0.45) for i, name in enumerate(("Chrome", "Firefox", "Safari"))}
    verdict = segment_srm(flag(), *segmented(browser=counts))
    assert (verdict.verdict, verdict.reason) == ("fail", "mismatch_beyond_segment")
    assert verdict.usable_without == ()
    assert "the rest of the flag is off too" in verdict.sentence


def test_a_value_that_came_with_the_fault_of_the_whole_flag_is_no_segment_at_fault():
    """A release at hour 100, when an arm dies for everybody: few units of the release before remain."""
    earlier, later = drawn(1, 160, 500), drawn(2, 160, 500, broken=(0, 1.0))
    earlier[100:], later[:100] = 0, 0
    earlier[100:108] = [[1, 1]] * 8
    verdict = segment_srm(flag(), *segmented(manifest_version={"43": earlier, "44": later}))
    assert (verdict.verdict, verdict.usable_without) == ("fail", ())
    assert "too small to tell" in verdict.sentence
    assert verdict.usable_until == verdict.bad_from == hours(100)


def test_a_rest_that_is_small_suffices_where_the_fault_would_show_in_it():
    """Of the release before, as many units remain as tell a dead arm from a live one."""
    earlier, later = drawn(1, 160, 500), drawn(2, 160, 500, broken=(0, 1.0))
    earlier[100:], later[:100] = [[2, 2]], 0
    verdict = segment_srm(flag(), *segmented(manifest_version={"43": earlier, "44": later}))
    assert verdict.usable_without == ("manifest_version = 44",)


def test_two_broken_values_of_a_dimension_are_left_out_together():
    parts = {"Chrome": drawn(1, 160, 900)}
    parts |= {name: drawn(i, 160, 100, broken=(90, 0.6)) for i, name in enumerate(("Safari", "Edge"), 5)}
    verdict = segment_srm(flag(), *segmented(browser=parts))
    assert set(verdict.usable_without) == {"browser = Safari", "browser = Edge"}


def test_many_broken_values_are_counted_and_the_strongest_named():
    parts = {"Chrome": drawn(1, 160, 3000)}
    parts |= {f"v{i}": drawn(i + 5, 160, 100, broken=(60, 0.5 + i / 20)) for i in range(6)}
    verdict = segment_srm(flag(), *segmented(browser=parts))
    assert len(verdict.usable_without) == 6
    assert verdict.sentence.endswith("and 3 more.")


def test_the_cause_is_named_and_not_what_only_holds_it():
    """All of Safari runs on iOS, and half of iOS is Safari."""
    chrome, safari = drawn(1, 160, 800), drawn(2, 160, 100, broken=(100, 0.8))
    other = drawn(3, 160, 100)
    browser = {"Chrome": chrome + other, "Safari": safari}
    verdict = segment_srm(flag(), *segmented(os={"iOS": safari + other, "rest": chrome}, browser=browser))
    assert verdict.segment == "browser = Safari"
    assert "os = iOS" in verdict.failing


def test_the_rest_that_fails_beside_a_value_is_not_taken_off_twice():
    """The rest of a dimension holds the first units of values that were admitted later."""
    parts = {"Chrome": drawn(1, 160, 900), "(other)": drawn(2, 160, 300, broken=(5, 0.9))}
    parts["late"] = drawn(3, 160, 20, broken=(0, 0.9))
    with np.errstate(all="raise", under="ignore"):
        verdict = segment_srm(flag(), *segmented(browser=parts))
    assert {"browser = (other)", "browser = late"} <= set(verdict.failing)
    assert verdict.reason == "mismatch_beyond_segment"


def test_a_fault_that_is_past_is_contained_and_stays_found():
    broken = drawn(2, 200, 100, broken=(60, 0.7))
    broken[100:] = drawn(4, 100, 100)
    verdict = segment_srm(flag(), *segmented(browser={"Chrome": drawn(1, 200, 900), "Safari": broken}))
    assert (verdict.verdict, verdict.state) == ("fail", "contained")
    assert abs((verdict.bad_until - hours(100)).total_seconds()) <= 4 * 3600


def test_a_declared_change_of_the_split_is_no_fault():
    phases = (Phase(start=hours(80), split={"control": 0.2, "treatment": 0.8}),)
    parts = {
        name: np.concatenate([drawn(i, 80, 200), drawn(i + 9, 80, 200, 0.8)])
        for i, name in enumerate(("Chrome", "Safari"))
    }
    bins, segments = segmented(browser=parts)
    assert segment_srm(flag(phases=phases), bins, segments).verdict == "pass"
    assert segment_srm(flag(), bins, segments).verdict == "fail"


def test_a_fault_before_the_iteration_is_forgotten():
    phases = (Phase(start=hours(120), split={"control": 0.5, "treatment": 0.5}, rerandomized=True),)
    parts = {"Chrome": drawn(1, 200, 500), "Safari": drawn(2, 200, 100, broken=(50, 0.7))}
    parts["Safari"][120:] = drawn(3, 80, 100)
    bins, segments = segmented(browser=parts)
    assert segment_srm(flag(phases=phases), bins, segments).verdict == "pass"
    assert segment_srm(flag(), bins, segments).verdict == "fail"


@pytest.mark.parametrize(
    ("audit", "parts", "answer"),
    [
        (flag(split=None), {"browser": {"a": drawn(1, 9, 9)}}, ("skipped", "no_split")),
        (flag(split={"control": 1.0}), {"browser": {"a": drawn(1, 9, 9)}}, ("skipped", "no_split")),
        (flag(), {"browser": {"a": drawn(1, 9, 9), "b": drawn(1, 9, 2)}}, ("insufficient", "few_units")),
        (flag(), {"browser": {"all": drawn(1, 99, 90)}}, ("insufficient", "few_units")),
    ],
)
def test_what_cannot_be_tested_says_why(audit, parts, answer):
    verdict = segment_srm(audit, *segmented(**parts))
    assert (verdict.verdict, verdict.reason) == answer


def test_a_flag_without_dimensions_is_skipped():
    bins, segments = segmented(browser={"a": drawn(1, 9, 9)})
    none = segments.between(hours(0), hours(9))
    none = type(none)(none.start, none.variants, (), none.new_units[:0])
    assert segment_srm(flag(), bins_of(bins.new_units), none).reason == "no_dimension"
