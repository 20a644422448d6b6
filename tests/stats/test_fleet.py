"""Many flags at once."""

from math import log

import numpy as np
import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import discovered, source_outage, traffic_drop_test
from tests.stats.build import seasonal_units


def test_e_bh_reports_the_known_example():
    e_values = {"a": 2, "b": 5000, "c": 1, "d": 900, "e": 30}
    assert discovered({flag: log(e) for flag, e in e_values.items()}) == ["b", "d"]


def test_one_strong_flag_among_many_needs_more_evidence():
    fleet = {f"healthy_{i}": 0.0 for i in range(499)}
    assert discovered(fleet | {"faulty": log(9_999)}) == []
    assert discovered(fleet | {"faulty": log(10_000)}) == ["faulty"]


def test_no_flag_is_discovered_among_none():
    assert discovered({}) == []


def test_an_infinite_e_value_is_discovered():
    assert discovered({"a": np.inf, "b": 0.0}) == ["a"]


def test_a_level_outside_0_to_1_is_refused():
    with pytest.raises(InputError, match="level is 5"):
        discovered({"a": 0.0}, level=5)


def verdicts(down: int, watched: int):
    volumes = seasonal_units(1, 28, 1000)
    dead = volumes.copy()
    dead[-3:] = 0
    healthy, failing = traffic_drop_test(volumes), traffic_drop_test(dead)
    return {f"flag_{i:02}": failing if i < down else healthy for i in range(watched)}


def test_many_flags_down_together_are_one_fault_of_the_source():
    outage = source_outage(verdicts(4, 20))
    assert outage.flags == ("flag_00", "flag_01", "flag_02", "flag_03")
    assert outage.sentence == "4 of 20 flags lost traffic together: check the source first."


@pytest.mark.parametrize(("down", "watched"), [(3, 20), (2, 2), (0, 5)])
def test_few_flags_down_are_their_own_faults(down, watched):
    assert source_outage(verdicts(down, watched)) is None
