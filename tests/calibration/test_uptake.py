"""Clients that follow a ramp late: false alarms in and after its uptake, and what is found all the same."""

from math import ceil, floor

import numpy as np
import pytest

from exd_dagster.config import UPTAKE
from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.methods.chi_square import p_values
from exd_dagster.stats.srm.looks import look_levels
from tests.calibration.simulate import HOURS, at_most, draws, first_crossings, flat, from_hour, percentiles

pytestmark = pytest.mark.calibration

OLD, NEW = np.array([0.9, 0.1]), np.array([0.5, 0.5])
THREE = np.array([0.8, 0.1, 0.1]), np.array([0.2, 0.4, 0.4])
DEFAULT = UPTAKE.total_seconds() / 3600


def followed(lag: str, hours: Floats) -> Floats:
    """Return the share of clients that have followed so many hours after a change."""
    if lag == "up to 1 h":
        return np.clip(hours, 0, 1)
    minutes = {"5 min on average": 5, "15 min on average": 15}[lag]
    return 1 - np.exp(-np.maximum(hours, 0) * 60 / minutes)


def served(lag: str, begins: float, old: Floats, new: Floats) -> Floats:
    """Return the mean share of each arm by hour, float (T, V)."""
    minute = (np.arange(HOURS * 60) + 0.5) / 60
    share = followed(lag, minute - begins).reshape(HOURS, 60).mean(axis=1)[:, None]
    return share * new + (1 - share) * old


def ramp(begins: float, uptake: float, old: Floats = OLD, new: Floats = NEW) -> list[Period]:
    first, end = floor(begins), ceil(begins + uptake)
    return [Period(0, old), Period(first, new, old), Period(end, new)]


LATE = {
    "60,000/h, up to 1 h": (60_000, "up to 1 h", 120.5, (OLD, NEW), 8000),
    "5,000/h, up to 1 h": (5_000, "up to 1 h", 120.0, (OLD, NEW), 8000),
    "200/h, up to 1 h": (200, "up to 1 h", 120.75, (OLD, NEW), 8000),
    "60,000/h, 15 min on average": (60_000, "15 min on average", 120.5, (OLD, NEW), 8000),
    "5,000/h, 15 min on average": (5_000, "15 min on average", 120.0, (OLD, NEW), 8000),
    "60,000/h, up to 1 h, back to 10 %": (60_000, "up to 1 h", 120.0, (NEW, OLD), 4000),
    "60,000/h, up to 1 h, from 0 %": (60_000, "up to 1 h", 120.0, (np.array([1.0, 0.0]), NEW), 4000),
    "60,000/h, up to 1 h, 3 arms": (60_000, "up to 1 h", 120.5, THREE, 4000),
}


@pytest.mark.parametrize("case", LATE)
def test_clients_late_within_the_uptake_rarely_fail_a_ramp(case, measured):
    hourly, lag, begins, splits, runs = LATE[case]
    shares, declared = served(lag, begins, *splits), ramp(begins, DEFAULT, *splits)
    false = int(np.isfinite(first_crossings(flat(hourly), shares, declared, runs=runs, seed=41)).sum())
    measured(f"false alarm, uptake of a ramp, {case}", "<= .001", f"{false / runs:.4f} (of {runs})")
    assert false <= at_most(0.001, runs)


def test_half_an_hour_of_uptake_would_not_be_enough(measured):
    """Why the default is an hour: clients with a mean lag of 15 minutes, a ramp at half past."""
    shares = served("15 min on average", 120.5, OLD, NEW)
    found = {}
    for name, uptake in (("none", 0.0), ("30 min", 0.5), ("1 h", 1.0)):
        periods = ramp(120.5, uptake)
        crossings = first_crossings(flat(60_000), shares, periods, runs=300, seed=42)
        found[name] = float(np.isfinite(crossings).mean())
    measured(
        "the same with an uptake of none, 30 min, 1 h, 15 min on average",
        "(why 1 h)",
        ", ".join(f"{share:.2f}" for share in found.values()),
    )
    assert found["30 min"] > 0.5
    assert found["1 h"] <= 0.01


def test_the_repeated_chi_square_rarely_blocks_a_ramp_taken_up_late(measured):
    runs, blocked, levels = 4000, 0, look_levels(HOURS, 0.001)
    shares, declared = served("up to 1 h", 120.5, OLD, NEW), ramp(120.5, DEFAULT)
    for counts in draws(flat(60_000), shares, runs, seed=43):
        counts[:, declared[1].first : declared[2].first] = 0
        for one in counts:
            blocked += bool((p_values(one, declared, 0.001) < levels).any())
    measured("false block of chi-square, uptake of a ramp", "<= .001", f"{blocked / runs:.4f} (of {runs})")
    assert blocked <= at_most(0.001, runs)


def test_a_fault_in_the_hour_after_an_uptake_is_found_as_soon_as_without(measured):
    """50 to 45 % from hour 122 on, in a ramp at hour 120 that is taken up until 122."""
    shares = served("up to 1 h", 120.5, OLD, NEW)
    shares[122:] = 0.55, 0.45
    delays = []
    for declared in (ramp(120.5, DEFAULT), [Period(0, OLD), Period(122, NEW)]):
        rates = flat(1000)
        if len(declared) == 2:  # the same without any uptake: clients change at hour 122
            shares = from_hour(122, OLD, (0.55, 0.45))
        found = first_crossings(rates, shares, declared, runs=1000, seed=44)
        delays.append(percentiles(found[found >= 122] - 121))
    (median, most), (plain_median, plain_most) = delays
    measured(
        "50 to 45 % in the hour after an uptake, 1000/h",
        f"median, 90 % as without: {plain_median:.0f} h, {plain_most:.0f} h",
        f"{median:.0f} h, {most:.0f} h",
    )
    assert (median, most) == (plain_median, plain_most)


@pytest.mark.parametrize(("hourly", "within"), [(100, 2), (5000, 1)])
def test_an_arm_that_dies_with_a_ramp_is_found(hourly, within, measured):
    """Dead from the start of the uptake on: in the same hour where there are many units, else in the next."""
    shares = from_hour(120, OLD, (1.0, 0.0))
    found = first_crossings(flat(hourly), shares, ramp(120.0, DEFAULT), runs=1000, seed=45)
    late = float(np.quantile(found[found >= 120] - 119, 0.99))
    measured(
        f"arm dead from a ramp on, {hourly}/h", f"<= {within} bin{'s' * (within > 1)}", f"{late:.0f} (99 %)"
    )
    assert late <= within
