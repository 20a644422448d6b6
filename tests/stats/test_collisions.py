"""Pairs of flags: the e-value by its definition, and what counts as a collision."""

from itertools import product
from math import exp, isclose, log

import numpy as np
import pytest

from exd_dagster.bins.model import SharedUnits
from exd_dagster.config import FlagId
from exd_dagster.stats.collisions import CollisionVerdict, assignment_collision

A, B, C = (FlagId("", "", name) for name in "abc")
ARMS = ("control", "treatment")


def shared(
    assigned: dict[FlagId, list[int]], *, quarter: int = 0, arms: tuple[str, ...] = ARMS
) -> SharedUnits:
    """Return units that all flags share: number of the arm of each unit, -1 for none."""
    names = tuple((flag, 0, arm) for flag in assigned for arm in arms)
    units, cells = [], []
    for place, numbers in enumerate(assigned.values()):
        for unit, arm in enumerate(numbers):
            if arm >= 0:
                units.append(unit)
                cells.append(place * len(arms) + arm)
    return SharedUnits(np.array(units, np.int64), np.array(cells, np.int64), names, quarter)


def judged(assigned: dict[FlagId, list[int]], comparable=lambda _a, _b: True, **options) -> CollisionVerdict:
    arms = options.get("arms", ARMS)
    return assignment_collision(
        shared(assigned, **options), {flag: [list(arms)] for flag in assigned}, comparable
    )


def one_by_one(rows: list[int], columns: list[int], arms: int) -> float:
    """Return E of columns given rows: each next arm predicted by (seen + 1/2) / (all seen + arms / 2)."""
    seen = np.full((arms, arms), 0.5)
    predicted = 0.0
    for row, column in zip(rows, columns, strict=True):
        predicted += log(seen[row, column] / seen[row].sum())
        seen[row, column] += 1
    counts = np.bincount(columns, minlength=arms)
    likeliest = sum(n * log(n / len(columns)) for n in counts if n)
    return predicted - likeliest


@pytest.mark.parametrize("arms", [2, 3])
def test_the_e_value_is_the_smaller_of_both_predictions_one_unit_after_another(arms: int) -> None:
    random = np.random.default_rng(5)
    a = random.integers(0, arms, 400)
    b = np.where(random.random(400) < 0.8, a, random.integers(0, arms, 400))
    names = ("x", "y", "z")[:arms]
    (pair,) = judged({A: a.tolist(), B: b.tolist()}, arms=names).collisions
    both = min(one_by_one(a.tolist(), b.tolist(), arms), one_by_one(b.tolist(), a.tolist(), arms))
    assert isclose(pair.log_e_value, both - log(2), rel_tol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.05])
def test_the_expected_e_value_of_an_honest_pair_is_at_most_one(share: float) -> None:
    rows = [0, 0, 1, 0, 1, 1, 0, 1, 1]
    expected = 0.0
    for columns in product((0, 1), repeat=len(rows)):
        ones = sum(columns)
        chance = share**ones * (1 - share) ** (len(rows) - ones)
        expected += chance * exp(one_by_one(rows, list(columns), 2))
    assert expected <= 1


def test_a_shared_salt_is_told_with_the_arms_that_never_meet() -> None:
    random = np.random.default_rng(1)
    bucket = random.random(2000)
    found = judged({A: (bucket < 0.5).astype(int).tolist(), B: (bucket < 0.1).astype(int).tolist()})
    assert found.failed
    assert found.sentence == (
        "'a' and 'b' do not divide users independently: of 2,000 shared units 0 are in control of the one "
        f"and treatment of the other, {found.collisions[0].expected:,.0f} expected. Give each flag a salt "
        "of its own, and start the later one afresh."
    )


def test_independent_flags_pass() -> None:
    random = np.random.default_rng(2)
    found = judged({flag: random.integers(0, 2, 5000).tolist() for flag in (A, B, C)})
    assert (found.verdict, found.compared, found.pairs) == ("pass", 3, 3)


def test_units_that_both_flags_force_into_an_arm_are_no_collision() -> None:
    """A tenth of the units are employees, who get treatment everywhere."""
    random = np.random.default_rng(3)
    forced = random.random(20_000) < 0.1
    found = judged({flag: (forced | (random.random(20_000) < 0.5)).astype(int).tolist() for flag in (A, B)})
    assert not found.failed
    assert [pair.flags for pair in found.dependent] == [("a", "b")]
    assert "1 pairs depend weakly" in found.sentence


def test_flags_that_ramp_on_the_same_day_are_independent_within_their_phases() -> None:
    random = np.random.default_rng(4)
    late = random.random(20_000) < 0.5
    names = tuple((flag, phase, arm) for flag in (A, B) for phase in (0, 1) for arm in ARMS)
    cells = [4 * place + 2 * late + (random.random(20_000) < np.where(late, 0.9, 0.1)) for place in (0, 1)]
    units = np.tile(np.arange(20_000), 2)
    found = assignment_collision(
        SharedUnits(units, np.concatenate(cells), names),
        {flag: [list(ARMS), list(ARMS)] for flag in (A, B)},
        lambda _a, _b: True,
    )
    assert (found.verdict, found.dependent) == ("pass", ())


def test_pairs_that_are_declared_dependent_are_not_compared() -> None:
    arms = (np.random.default_rng(6).random(1000) < 0.5).astype(int).tolist()
    assert judged({A: arms, B: arms}).failed
    found = judged({A: arms, B: arms}, lambda a, b: {a, b} != {A, B})
    assert (found.verdict, found.reason) == ("skipped", "no_shared_unit")


def test_nothing_is_said_of_flags_that_share_no_unit_or_have_one_arm() -> None:
    assert judged({}).verdict == "skipped"
    assert judged({A: [0, 1, -1, -1], B: [-1, -1, 0, 1]}).verdict == "skipped"
    one = assignment_collision(
        shared({A: [0, 0], B: [0, 1]}), {A: [["control"]], B: [list(ARMS)]}, lambda *_: True
    )
    assert one.verdict == "skipped"
