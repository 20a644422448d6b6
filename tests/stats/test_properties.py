"""Properties of the tests that hold for every input."""

import json
from dataclasses import replace
from itertools import product
from math import exp, factorial, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exd_dagster.stats import (
    EvidenceState,
    audit_flag,
    sequential_srm_test,
    sprt_by_unit,
    srm_test,
    traffic_drop_test,
)
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.methods.dirichlet import log_e_values as dirichlet_series
from tests.stats.build import HALVES, bins_of, flag

MANY = settings(max_examples=60)
counts = st.integers(0, 10**6)
three_arms = st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=30)
weights = st.tuples(*[st.integers(1, 1000)] * 3)
NAMES = ("a", "b", "c")


def shares_of(weight: tuple[int, ...]) -> dict[str, float]:
    return {name: w / sum(weight) for name, w in zip(NAMES, weight, strict=True)}


@pytest.mark.parametrize("method", ["combined", "sprt"])
@pytest.mark.parametrize("cuts", [(6,), (3, 3), (1, 2, 3)])
def test_the_expected_e_value_of_a_healthy_flag_is_one(method, cuts):
    """Every way 6 units can fall into 3 arms, in bins of the given sizes."""
    shares = (0.5, 0.3, 0.2)

    def outcomes(n):
        return [x for x in product(range(n + 1), repeat=3) if sum(x) == n]

    def chance(x):
        return (
            factorial(sum(x)) / prod(map(factorial, x)) * prod(s**i for s, i in zip(shares, x, strict=True))
        )

    total = 0.0
    for bins in product(*[outcomes(n) for n in cuts]):
        series = log_e_values(np.array(bins, float), [Period(0, np.array(shares))], method=method)
        total += prod(chance(x) for x in bins) * exp(series[-1])
    assert total == pytest.approx(1, abs=1e-9)


@MANY
@given(three_arms, weights)
def test_renaming_variants_renames_results(bins, weight):
    rolled = [row[1:] + row[:1] for row in bins]
    one = sequential_srm_test(bins, shares_of(weight))
    other = sequential_srm_test(
        rolled, dict(zip(NAMES, shares_of(weight[1:] + weight[:1]).values(), strict=True))
    )
    assert other.log_e_values == pytest.approx(one.log_e_values, rel=1e-9, abs=1e-9)
    total = [sum(column) for column in zip(*bins, strict=True)]
    here = srm_test(dict(zip(NAMES, total, strict=True)), shares_of(weight))
    there = srm_test(dict(zip(NAMES, total[1:] + total[:1], strict=True)), shares_of(weight[1:] + weight[:1]))
    assert (here.verdict, here.n) == (there.verdict, there.n)
    if here.n:
        assert here.p_value == pytest.approx(there.p_value, rel=1e-6, abs=1e-300)


@MANY
@given(three_arms, weights, st.data())
def test_splitting_a_bin_changes_nothing_at_its_end(bins, weight, data):
    """For the Dirichlet-multinomial part: only the cumulative counts matter."""
    first = [tuple(data.draw(st.integers(0, x)) for x in row) for row in bins]
    halves = [part for row, head in zip(bins, first, strict=True) for part in (head, np.subtract(row, head))]
    periods = [Period(0, np.array(list(shares_of(weight).values())))]
    whole = dirichlet_series(np.array(bins, float), periods)
    split = dirichlet_series(np.array(halves, float), periods)
    assert split[1::2] == pytest.approx(whole, rel=1e-9, abs=1e-9)


@MANY
@given(st.lists(st.tuples(counts, counts), min_size=0, max_size=40))
def test_doubling_evaluations_changes_no_verdict(rows):
    bins = bins_of(np.array(rows, dtype=np.int64).reshape(-1, 2))
    doubled = replace(bins, evaluations=2 * bins.evaluations)
    assert audit_flag(flag(), doubled) == audit_flag(flag(), bins)


@MANY
@given(st.lists(st.tuples(counts, counts, counts), max_size=60), st.lists(st.booleans(), max_size=60))
def test_every_audit_is_strict_json(rows, delivered):
    new_units = np.array(rows, dtype=np.int64).reshape(-1, 3)
    known = np.array((delivered + [True] * len(rows))[: len(rows)], dtype=bool)
    bins = bins_of(new_units, ("control", "treatment", "stray"), delivered=known)
    for verdict in audit_flag(flag(), bins):
        json.dumps(verdict.as_metadata(), allow_nan=False)
        assert verdict.sentence


@settings(max_examples=25)
@given(st.lists(st.integers(0, 10**5), min_size=240, max_size=400), st.integers(0, 2**32))
def test_every_traffic_verdict_is_strict_json(volumes, seed):
    delivered = np.random.default_rng(seed).random(len(volumes)) < 0.9
    found = traffic_drop_test(volumes, delivered=delivered)
    json.dumps(found.as_metadata(), allow_nan=False)


@MANY
@given(st.lists(st.tuples(counts, counts), min_size=2, max_size=20))
def test_the_chi_square_check_fails_for_good(rows):
    """Once a look has failed, no later bin lifts the failure."""
    bins = bins_of(np.array(rows, dtype=np.int64))
    failed = False
    for through in bins.hours[1:]:
        severity = audit_flag(flag(), bins.between(bins.start, through)).srm.severity
        assert not failed or severity == "ERROR"
        failed = severity == "ERROR"


def test_shares_that_differ_by_rounding_are_the_same_split():
    bins = [[333, 333, 334]] * 5
    thirds = sequential_srm_test(bins, dict.fromkeys(NAMES, 1 / 3))
    rounded = sequential_srm_test(bins, {"a": 0.3333, "b": 0.3333, "c": 0.3334})
    assert thirds.verdict == rounded.verdict == "pass"
    assert HALVES == {"control": 0.5, "treatment": 0.5}


@MANY
@given(st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=12), st.randoms())
def test_the_order_of_units_within_a_bin_does_not_matter(bins, random):
    """Unit by unit or bin by bin, shuffled or not: at the end of each bin the evidence is the same."""
    ends = np.cumsum([len(units) for units in bins])
    tallies = [[len(units) - sum(units), sum(units)] for units in bins]
    by_bin = np.array(sequential_srm_test(tallies, HALVES, method="sprt").log_e_values or [0.0])
    for units in bins:
        random.shuffle(units)
    by_unit = np.append(0.0, sprt_by_unit([unit for units in bins for unit in units]).log_likelihood_ratios)
    if ends[-1]:
        assert by_bin == pytest.approx(by_unit[ends], rel=1e-9, abs=1e-9)


def test_the_expected_e_value_is_one_across_phases():
    """Every way 3 + 3 units can fall into 3 arms when in between the split changes and drops an arm."""
    splits = [(0.5, 0.3, 0.2), (0.4, 0.6, 0.0)]
    periods = [Period(i, np.array(split)) for i, split in enumerate(splits)]
    outcomes = [x for x in product(range(4), repeat=3) if sum(x) == 3]
    total = 0.0
    for bins in product(outcomes, repeat=2):
        chances = [
            factorial(3) / prod(map(factorial, x)) * prod(s**i for s, i in zip(split, x, strict=True))
            for x, split in zip(bins, splits, strict=True)
        ]
        if prod(chances):
            total += prod(chances) * exp(log_e_values(np.array(bins, float), periods)[-1])
    assert total == pytest.approx(1, abs=1e-9)


@MANY
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=12), st.integers(0, 2**32))
def test_a_state_updated_bin_by_bin_equals_the_batch_for_any_split(weight, seed):
    """Arms from one in a million up."""
    split = {str(i): w / sum(weight) for i, w in enumerate(weight)}
    bins = np.random.default_rng(seed).multinomial(2000, list(split.values()), size=8)
    state, series = EvidenceState.begin(split), []
    for row in bins.tolist():
        state = state.update(row)
        series.append(state.log_e_value)
    batch = sequential_srm_test(bins, split)
    assert np.isfinite(batch.log_e_values).all()
    assert series == pytest.approx(batch.log_e_values, abs=1e-8)
