"""Likely causes, each with its numbers."""

import json

import numpy as np
import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import likely_causes
from tests.stats.build import HALVES


def units(seed: int, sizes: dict[str, int], broken: str | None = None) -> dict[str, dict[str, int]]:
    random = np.random.default_rng(seed)
    shares = {name: (0.55, 0.45) if name == broken else (0.5, 0.5) for name in sizes}
    return {
        name: dict(zip(HALVES, random.multinomial(n, shares[name]).tolist(), strict=True))
        for name, n in sizes.items()
    }


def test_the_broken_segment_comes_first_and_explains_the_imbalance():
    segments = {
        "browser": units(1, {"chrome": 200_000, "safari": 168_000, "old": 32_000}, broken="old"),
        "os": units(2, {"mac": 200_000, "linux": 200_000}),
    }
    causes = likely_causes(segments, HALVES)
    assert (causes[0].dimension, causes[0].value) == ("browser", "old")
    assert causes[0].explained > 0.8
    assert causes[0].share == pytest.approx(0.45, abs=0.01)
    assert causes[0].sentence.startswith("browser = old: treatment 45 %, elsewhere 50.1 % (8 % of units")
    json.dumps([cause.as_metadata() for cause in causes], allow_nan=False)


def test_a_segment_as_declared_is_no_cause_when_the_rest_is_off():
    segments = {"os": units(1, {"mac": 100_000, "linux": 100_000}, broken="mac")}
    assert [cause.value for cause in likely_causes(segments, HALVES)] == ["mac"]


def test_healthy_segments_are_not_reported():
    assert likely_causes({"os": units(1, {"mac": 9_000, "linux": 8_000})}, HALVES) == []


def test_the_parts_of_one_dimension_sum_to_the_whole():
    segments = {"os": units(1, {"a": 50_000, "b": 50_000, "c": 9_000}, broken="a")}
    causes = likely_causes(segments, HALVES, level=0.999999, limit=99)
    assert 0.9 < sum(cause.explained for cause in causes) < 1.1


def test_nothing_to_compare_is_no_cause():
    assert likely_causes({}, HALVES) == []
    assert likely_causes({"os": {}}, HALVES) == []
    assert likely_causes({"os": {"mac": {"control": 10}}}, HALVES) == []


def test_an_unusable_count_is_named():
    with pytest.raises(InputError, match="os\\[mac\\]\\[control\\]"):
        likely_causes({"os": {"mac": {"control": -1}}}, HALVES)
