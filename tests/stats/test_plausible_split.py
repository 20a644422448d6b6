"""A split suggested from counts that may hold a fault is the one that held before it."""

import numpy as np
import pytest

from exd_dagster.stats.srm.plausible_split import plausible_split, round_split
from tests.stats.build import draw

EVEN = {"a": 0.5, "b": 0.5}


def looked(*parts, hourly=60, seed=5):
    return plausible_split(draw(seed, hourly, *parts).astype(float), list(parts[0][1]))


@pytest.mark.parametrize(
    ("parts", "split"),
    [
        (((200, EVEN), (60, {"a": 1, "b": 0})), EVEN),
        (((60, {"a": 1, "b": 0}), (200, EVEN)), EVEN),
        (((150, EVEN), (150, {"a": 0.95, "b": 0.05})), EVEN),
        (((48, {"a": 0.9, "b": 0.1}), (96, EVEN), (48, {"a": 0, "b": 1})), EVEN),
        (((100, {"a": 0.8, "b": 0.2}), (100, {"a": 0.2, "b": 0.8})), {"a": 0.8, "b": 0.2}),
        (((300, {"a": 0.99, "b": 0.01}),), {"a": 0.99, "b": 0.01}),
        (((300, {"a": 2 / 3, "b": 1 / 3}),), {"a": 0.6667, "b": 0.3333}),
        (
            ((100, dict.fromkeys("abc", 1 / 3)), (80, {"a": 0.5, "b": 0.5, "c": 0})),
            {"a": 0.3334, "b": 0.3333, "c": 0.3333},
        ),
        (((200, {"a": 0.8, "b": 0.1, "c": 0.1}),), {"a": 0.8, "b": 0.1, "c": 0.1}),
    ],
)
def test_the_split_is_taken_from_the_hours_in_which_it_held(parts, split):
    found = looked(*parts)
    assert found.split == split
    assert found.usual


def test_an_arm_that_died_is_named_with_its_first_hour_of_silence():
    found = looked((200, EVEN), (60, {"a": 1, "b": 0}))
    assert (found.absent, found.late) == ({"b": 200}, {})
    assert [(a, b) for a, b, _ in found.periods] == [(0, 200), (200, 260)]


def test_an_arm_that_started_late_is_named_with_its_first_hour():
    found = looked((60, {"a": 1, "b": 0}), (200, EVEN))
    assert (found.absent, found.late) == ({}, {"b": 60})


def test_an_outage_of_every_arm_changes_nothing():
    counts = draw(5, 60, (100, EVEN)).astype(float)
    counts[40:60] = 0
    found = plausible_split(counts, ["a", "b"])
    assert (found.split, found.absent, len(found.periods)) == (EVEN, {}, 1)


def test_a_stray_variant_is_left_out_and_named():
    found = looked((200, {"a": 0.4975, "b": 0.4975, "c": 0.005}))
    assert found.split == EVEN
    assert found.rare["c"] == pytest.approx(0.005, abs=0.002)


def test_an_arm_that_died_early_is_not_taken_for_a_stray_variant():
    found = looked((4, EVEN), (600, {"a": 1, "b": 0}))
    assert (found.split, found.rare, list(found.absent)) == (EVEN, {}, ["b"])


def test_five_units_suggest_an_even_split():
    assert plausible_split(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]]), ["a", "b"]).split == EVEN


def test_a_split_that_nobody_declares_is_said_to_be_one():
    found = looked((300, {"a": 0.58, "b": 0.42}), hourly=400)
    assert (found.split, found.usual) == ({"a": 0.58, "b": 0.42}, False)


@pytest.mark.parametrize(
    ("shares", "suggested"),
    [
        ({"a": 0.52, "b": 0.48}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.34, "b": 0.33, "c": 0.33}, {"a": 0.3334, "b": 0.3333, "c": 0.3333}),
        ({"a": 0.951, "b": 0.049}, {"a": 0.95, "b": 0.05}),
    ],
)
def test_a_split_near_a_usual_one_is_suggested_as_that(shares, suggested):
    assert round_split(shares) == (suggested, True)


def test_a_healthy_split_is_rarely_cut():
    """300 logs of 200 hours: at most 1 % are cut."""
    cut = [len(looked((200, {"a": 0.7, "b": 0.3}), seed=seed).periods) > 1 for seed in range(300)]
    assert sum(cut) <= 3
