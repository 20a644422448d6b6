"""Every check of healthy flags, as shipped and all together: how many are blocked, and how many warn.

Flags of 20 to 2,000 new units an hour by day and night, quieter on weekends, with noise that lasts for hours;
units return, and are divided by six dimensions of 3 to 40 values, of one of which new values take over.
"""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from exd_dagster.bins.model import HOUR, FlagBins, FlagSegments, Segment
from exd_dagster.config import Thresholds
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks import CHECKS
from exd_dagster.stats.checks.srm import SRM
from exd_dagster.stats.inputs import Floats
from exd_dagster.stats.segments.traffic import segment_traffic
from tests.calibration.simulate import daily_cycle, percentiles
from tests.calibration.test_segments import HALVES, NIGHTS, arriving, divided, sizes
from tests.stats.build import START, bins_of, flag

pytestmark = pytest.mark.calibration

FLAGS = 300
HOURS = NIGHTS * 24
RATES = (20, 100, 500, 2000)
DIMENSIONS = (sizes(3), sizes(5), sizes(8), arriving(12), sizes(20), sizes(40))
RETURNING = 0.004
"""Share of the known units that come again in an hour."""


def lasting_noise(random: np.random.Generator) -> Floats:
    """Return factors around 1: an autoregressive process with a standard deviation of 5 % and .8 an hour."""
    noise = np.zeros(HOURS)
    steps = random.normal(0, 0.05 * np.sqrt(1 - 0.8**2), HOURS)
    for hour in range(1, HOURS):
        noise[hour] = 0.8 * noise[hour - 1] + steps[hour]
    return np.exp(noise)


def month(random: np.random.Generator, hourly: float) -> tuple[FlagBins, FlagSegments]:
    """Draw a healthy flag of 30 nights."""
    rhythm = daily_cycle(1, HOURS) / 0.93 ** (np.arange(HOURS) / 24) * lasting_noise(random)
    rhythm *= np.where(np.arange(HOURS) // 24 % 7 >= 5, 0.7, 1.0)
    new = random.poisson((hourly * rhythm * 0.93 ** (np.arange(HOURS) / 24))[:, None] * HALVES)
    known = np.vstack([np.zeros((1, 2)), new.cumsum(axis=0)[:-1]])
    units = new + random.poisson(known * RETURNING * rhythm[:, None])
    named, counts = divided(random, new, *DIMENSIONS)
    names = ("control", "treatment")
    bins = FlagBins(flag().id, names, START, new, units, units, np.ones(HOURS, dtype=bool))
    return bins, FlagSegments(START, names, tuple(named), counts.astype(np.int64))


@cache
def told() -> tuple[Counter[str], Counter[str], list[bool]]:
    """Return failures by check of either severity, and per flag whether anything blocked it.

    The verdict of the last night holds what any hour before it has shown; `srm` is asked every night.
    """
    random, levels = np.random.default_rng(300), Thresholds()
    warned: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    blocked = []
    for number in range(FLAGS):
        bins, segments = month(random, RATES[number % len(RATES)])
        whole = (START, bins.audited_through)
        checks = [check for check in CHECKS.values() if check is not SRM]
        found = list(audit_flag(flag(), bins, levels, judged=whole, checks=checks, segments=segments))
        nights = [bins.between(START, START + HOUR * 24 * night) for night in range(1, NIGHTS + 1)]
        looks = [audit_flag(flag(), night, levels, checks=[SRM]).srm for night in nights]
        found.append(max(looks, key=lambda verdict: ("", None, "WARN", "ERROR").index(verdict.severity)))
        for verdict in found:
            if verdict.failed:
                many = getattr(verdict, "failing", ()) or (verdict.check,)
                (failed if verdict.severity == "ERROR" else warned)[verdict.check] += len(many)
        blocked.append(any(verdict.severity == "ERROR" for verdict in found))
    return warned, failed, blocked


def test_hardly_a_healthy_flag_is_blocked(measured):
    _, failed, blocked = told()
    measured(
        f"{FLAGS} healthy flags, {NIGHTS} nights, 6 dimensions: blocked by any check",
        "<= 1.5",
        f"{sum(blocked)} ({dict(failed)})",
    )
    assert sum(blocked) <= 1.5


def test_few_warnings_of_healthy_flags_reach_people(measured):
    """Every failing check, and of `segment_traffic` every arm and segment it names, is a warning."""
    warned, _, _ = told()
    measured(
        f"{FLAGS} healthy flags, {NIGHTS} nights, 6 dimensions: warnings a flag-month",
        "<= .3",
        f"{sum(warned.values()) / FLAGS:.3f} ({dict(warned)})",
    )
    assert sum(warned.values()) / FLAGS <= 0.3


def test_traffic_of_a_segment_is_rarely_said_to_be_gone(measured):
    """14 parts at a / 14 each: as few as of the whole flag, of which .12 in 14 days are allowed."""
    warned, failed, _ = told()
    found = (warned["segment_traffic"] + failed["segment_traffic"]) / FLAGS
    measured("parts whose traffic is falsely said to be gone, a flag-month", "<= .2", f"{found:.3f}")
    assert found <= 0.2


LOST = {(500, 1.0): 3, (500, 0.5): 24, (2000, 0.5): 6}
"""Newly exposed units an hour of the flag, and what a tenth of it loses: median hours to detection."""


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_traffic_of_a_segment_that_is_gone_is_found_soon(fault, measured):
    """It is lost at noon of day 20, while the rest of the flag holds."""
    hourly, lost = fault
    random, begins, delays = np.random.default_rng(5), 24 * 20 + 12, []
    for _ in range(20):
        rhythm = daily_cycle(hourly, HOURS) / 0.93 ** (np.arange(HOURS) / 24) * lasting_noise(random)
        kept = np.where(np.arange(HOURS) < begins, 1.0, 1 - lost)
        parts = [random.poisson((rhythm * share)[:, None] * HALVES) for share in (0.1 * kept, 0.9)]
        names = (Segment("browser", "Safari"), Segment("browser", "Chrome"))
        counts, delay = np.array(parts), np.inf
        bins = bins_of(counts.sum(axis=0))
        for hour in (*range(1, 13), 18, 24, 30, 36):
            seen = bins.between(START, START + HOUR * (begins + hour))
            segments = FlagSegments(START, bins.variants, names, counts)
            if "browser = Safari" in segment_traffic(flag(), seen, segments).failing:
                delay = hour
                break
        delays.append(delay)
    median, late = percentiles(np.array(delays))
    measured(
        f"a tenth of a flag of {hourly}/h loses {lost:.0%} of its traffic",
        f"median <= {LOST[fault]} h",
        f"{median:.0f} h, 90 % {late:.0f} h",
    )
    assert median <= LOST[fault]
