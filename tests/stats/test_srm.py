"""The chi-square question asked once, as exd asks it."""

import json
from itertools import product
from math import factorial, prod

import numpy as np
import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import srm_test
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.exact import binomial_p_value, exact_p_value
from exd_dagster.stats.srm.looks import first_failed_look, look_levels

HALVES = {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("observed", "shares", "chi_square", "p", "verdict"),
    [
        ((5100, 4900), (0.5, 0.5), 4.0, 0.04550026389635857, "pass"),
        ((5164, 4836), (0.5, 0.5), 10.7584, 0.0010380708664139455, "pass"),
        ((5165, 4835), (0.5, 0.5), 10.89, 0.0009668482847675553, "fail"),
        ((52, 48), (0.5, 0.5), 0.16, 0.6891565167793516, "pass"),
        ((3350, 3270, 3380), (0.33, 0.33, 0.34), 1.147950089126565, 0.5632819118927137, "pass"),
        ((3500, 3200, 3300), (0.33, 0.33, 0.34), 18.092691622103413, 0.00011782079067135072, "fail"),
        ((91008, 90521, 16903), (0.333, 0.333, 0.334), 55228.82535455993, 0.0, "fail"),
    ],
)
def test_exd_reaches_the_same_numbers(observed, shares, chi_square, p, verdict):
    names = "abc"[: len(shares)]
    found = srm_test(dict(zip(names, observed, strict=True)), dict(zip(names, shares, strict=True)))
    assert found.chi_square == pytest.approx(chi_square, rel=1e-12)
    assert found.p_value == pytest.approx(p, rel=1e-9)
    assert (found.verdict, found.code) == (verdict, "T001" if verdict == "fail" else None)


def test_99_units_are_insufficient_and_100_are_enough():
    few, enough = srm_test({"a": 99, "b": 0}, HALVES), srm_test({"a": 50, "b": 50}, HALVES)
    assert (few.verdict, few.code, few.sentence) == ("insufficient", "T002", "Too few units yet: 99 of 100.")
    assert enough.verdict == "pass"


def test_a_p_value_far_in_the_tail_is_not_rounded_to_zero():
    found = srm_test({"a": 5446, "b": 4554}, HALVES)
    assert found.p_value == pytest.approx(4.66e-19, rel=0.01)


def test_a_missing_variant_counts_as_zero_and_is_tested():
    found = srm_test({"a": 1000}, HALVES)
    assert (found.verdict, found.observed) == ("fail", {"a": 1000, "b": 0})


def test_variants_are_matched_by_name_not_by_order():
    assert srm_test({"b": 1000, "a": 9000}, {"a": 0.9, "b": 0.1}).verdict == "pass"


def test_an_undeclared_variant_is_named_and_left_out_of_the_statistic():
    found = srm_test({"a": 5000, "b": 5000, "stray": 50}, HALVES)
    assert (found.verdict, found.severity, found.undeclared) == ("fail", "ERROR", {"stray": 50})
    assert (found.n, found.chi_square) == (10_000, 0.0)


def test_a_variant_declared_with_0_percent_that_is_served_fails_and_is_not_called_undeclared():
    found = srm_test({"a": 5000, "b": 5000, "off": 100}, HALVES | {"off": 0.0})
    assert (found.undeclared, found.zero_share) == ({}, {"off": 100})
    assert (found.severity, found.reason) == ("ERROR", "zero_share_variant")
    assert found.sentence.startswith("Declared with 0 %, variant off got 100 units (0.99 %)")


def test_a_level_shared_over_looks_turns_a_failure_into_a_warning():
    once, repeated = (
        srm_test({"a": 5165, "b": 4835}, HALVES),
        srm_test({"a": 5165, "b": 4835}, HALVES, looks=6),
    )
    assert (once.severity, repeated.severity, repeated.verdict) == ("ERROR", "WARN", "fail")


def test_raw_evaluations_are_refused_without_their_design_effect():
    with pytest.raises(InputError, match="sum_squares"):
        srm_test({"a": 5100, "b": 4900}, HALVES, counted="evaluations")


def test_the_design_effect_divides_the_statistic():
    found = srm_test({"a": 5500, "b": 4500}, HALVES, sum_squares=100_000)
    assert (found.design_effect, found.chi_square) == (10.0, pytest.approx(10.0))
    assert found.method == "design_effect"


def test_effect_is_in_percentage_points_with_its_interval():
    found = srm_test({"a": 5200, "b": 4800}, HALVES)
    low, high = found.effect_interval["a"]
    assert found.effect["a"] == pytest.approx(2.0)
    assert 0.9 < low < 2.0 < high < 3.1


def test_small_expected_counts_take_the_exact_test():
    """15 units of 14 : 1 look like SRM to chi-square; exactly, 100 units of 96 : 4 at 98 : 2 do not."""
    found = srm_test({"a": 96, "b": 4}, {"a": 0.98, "b": 0.02})
    assert found.method == "exact"
    assert found.p_value == pytest.approx(0.1409, abs=1e-3)


@pytest.mark.parametrize(("n", "share"), [(7, 0.5), (12, 0.03), (40, 0.1), (90, 0.31)])
def test_the_binomial_test_agrees_with_scipy(n, share):
    from scipy.stats import binomtest

    for x in range(n + 1):
        assert binomial_p_value(x, n, share) == pytest.approx(binomtest(x, n, share).pvalue, rel=1e-7)


def test_the_multinomial_test_is_the_sum_over_every_outcome_as_unlikely():
    shares, observed = (0.6, 0.3, 0.1), (2, 4, 4)

    def chance(x):
        ways = factorial(10) / prod(factorial(i) for i in x)
        return ways * prod(s**i for s, i in zip(shares, x, strict=True))

    outcomes = [x for x in product(range(11), repeat=3) if sum(x) == 10]
    wanted = sum(chance(x) for x in outcomes if chance(x) <= chance(observed) * (1 + 1e-9))
    assert exact_p_value(np.array(observed, float), np.array(shares)) == pytest.approx(wanted, rel=1e-9)


def test_many_arms_are_tested_exactly_arm_by_arm():
    shares = np.full(12, 1 / 12)
    observed = np.zeros(12)
    observed[0] = 30
    assert exact_p_value(observed, shares) == pytest.approx(12 * (1 / 12) ** 30, rel=1e-6)


def test_the_levels_of_all_daily_looks_sum_to_alpha():
    levels = look_levels(24 * 1000, 0.001)
    assert levels[23::24].sum() == pytest.approx(0.001 * (1 - 1 / 1001))
    assert levels[24] == pytest.approx(0.001 / 6 / 24)


def test_no_look_is_taken_below_the_minimum_sample():
    counts = np.array([[40.0, 0.0], [40.0, 0.0], [40.0, 0.0]])
    look = first_failed_look(counts, [Period(0, np.array([0.5, 0.5]))], alpha=0.001, min_sample_size=100)
    assert look.bin == 2


@pytest.mark.parametrize(
    ("observed", "expected", "options", "reported"),
    [
        ({"a": -1, "b": 5}, HALVES, {}, "observed\\['a'\\].* is -1"),
        ({"a": 1.5, "b": 5}, HALVES, {}, "is 1.5"),
        ({"a": float("nan"), "b": 5}, HALVES, {}, "is nan"),
        ({"a": "many", "b": 5}, HALVES, {}, "many"),
        ({"a": 1, "b": 5}, {"a": 0.5, "b": 0.4}, {}, "sum to 0.9"),
        ({"a": 1, "b": 5}, {"a": 1.5, "b": -0.5}, {}, "-0.5"),
        ({"a": 1, "b": 5}, {}, {}, "no variant"),
        ({"a": 1, "b": 5}, HALVES, {"significance_level": 1.0}, "significance_level is 1.0"),
        ({"a": 1, "b": 5}, HALVES, {"looks": 0}, "looks is 0"),
        ({"a": 1, "b": 5}, HALVES, {"sum_squares": 2.0}, "sum_squares is 2.0"),
    ],
)
def test_unusable_input_is_refused_with_its_value(observed, expected, options, reported):
    with pytest.raises(InputError, match=reported):
        srm_test(observed, expected, **options)


def test_nothing_observed_is_a_verdict_and_strict_json():
    found = srm_test({}, HALVES)
    assert found.verdict == "insufficient"
    json.dumps(found.as_metadata(), allow_nan=False)
