"""Segments of healthy flags rarely fail, and those that break are found soon and named.

Every unit has a value in every dimension, so segments of different dimensions share units.
"""

from functools import cache

import numpy as np
import pytest

from exd_dagster.bins.model import FlagSegments, Segment
from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.segments.evidence import gather
from exd_dagster.stats.segments.segment_srm import ALPHA, segment_srm
from tests.calibration.simulate import at_most, daily_cycle, percentiles
from tests.stats.build import START, bins_of, flag

pytestmark = pytest.mark.calibration

HALVES = np.array([0.5, 0.5])
NIGHTS = 30
FAULT = 5 * 24
RUNS = 40


def sizes(values: int) -> Floats:
    """Return shares of the values of a dimension: few large ones and a tail."""
    rank = np.arange(1, values + 1) ** -1.2
    return rank / rank.sum()


def divided(random, counts, *dimensions: Floats) -> tuple[list[Segment], Floats]:
    """Divide units (T, 2) by dimensions; shares are (values,) or (T, values)."""
    segments, parts = [], []
    for d, shares in enumerate(dimensions):
        by_hour = np.broadcast_to(shares, (len(counts), np.shape(shares)[-1]))
        parts.append(np.moveaxis(random.multinomial(counts, by_hour[:, None]), 2, 0))
        segments += [Segment(f"d{d}", f"v{v}") for v in range(by_hour.shape[1])]
    return segments, np.concatenate(parts).astype(np.float64)


def arriving(values: int) -> Floats:
    """Return shares (T, values) of a dimension of which a new value takes over every three nights."""
    age = np.arange(NIGHTS * 24)[:, None] / 72 - np.arange(values)
    weight = np.where(age >= 0, np.exp(-np.abs(age - 1)), 0.0)
    return weight / weight.sum(axis=1, keepdims=True)


HEALTHY = {  # segments: dimensions, hourly units, flags
    8: ([sizes(3), sizes(5)], 100, 600),
    40: ([sizes(3), sizes(5), sizes(8), sizes(12), arriving(12)], 1000, 150),
    200: ([sizes(40)] * 4 + [arriving(10), sizes(30)], 3000, 25),
}


@pytest.mark.parametrize("segments", HEALTHY)
def test_a_segment_of_a_healthy_flag_hardly_ever_fails(segments, measured):
    """At alpha .001, and at .1, where chance would show sooner that the bound does not hold."""
    dimensions, hourly, flags = HEALTHY[segments]
    random = np.random.default_rng(segments)
    rates = daily_cycle(hourly, NIGHTS * 24)[:, None] * HALVES
    largest, admitted = [], []
    for _ in range(flags):
        named, counts = divided(random, random.poisson(rates), *dimensions)
        found = gather(named, counts, [Period(0, HALVES)])
        largest.append(found.weighted.max())
        admitted.append(len(found.segments))
    failed = {alpha: int((np.array(largest) >= -np.log(alpha)).sum()) for alpha in (ALPHA, 0.1)}
    measured(
        f"any of {segments} segments of a healthy flag fails in {NIGHTS} nights, {flags} flags",
        "at alpha .001 and .1: that share at most",
        f"{failed[ALPHA]} and {failed[0.1]} flags ({np.mean(admitted):.0f} segments tested)",
    )
    assert all(count <= at_most(alpha, flags) for alpha, count in failed.items())
    assert np.mean(admitted) > 0.8 * segments


BROKEN = {  # share of the segment, share of treatment lost there, hourly units: hours to detection
    (0.10, 0.5, 1000): 8,
    (0.05, 0.5, 1000): 14,
    (0.10, 1.0, 1000): 2,
    (0.10, 0.5, 200): 32,
    (0.02, 0.5, 5000): 8,
}


def broken(random, share: float, lost: float, hourly: float, hours: int) -> tuple[list[Segment], Floats]:
    """Draw a flag of 8 dimensions of 5 values of which d0 = v0 loses units of treatment from day 5 on."""
    kept = np.where(np.arange(hours)[:, None] < FAULT, [1.0, 1.0], [1.0, 1 - lost])
    bad, good = (
        random.poisson(hourly * share * HALVES * kept),
        random.poisson(hourly * (1 - share) * HALVES, (hours, 2)),
    )
    segments, counts = divided(random, good, sizes(4))
    others, parts = divided(random, good + bad, *[sizes(5)] * 7)
    names = [Segment("d0", "v0"), *(Segment("d0", f"v{v + 1}") for v in range(len(segments)))]
    names += [Segment(f"d{int(each.dimension[1:]) + 1}", each.value) for each in others]
    return names, np.concatenate([bad[None], counts, parts])


@cache
def detected(share: float, lost: float, hourly: float) -> tuple[Floats, int]:
    """Return hours to detection in every run (inf: never in 9 days), and how often the right one is named."""
    random, delays, named = np.random.default_rng(15), [], 0
    for _ in range(RUNS):
        segments, counts = broken(random, share, lost, hourly, 9 * 24)
        first = gather(segments, counts, [Period(0, HALVES)]).crossings(ALPHA).min()
        delays.append(first + 1 - FAULT if first < counts.shape[1] else np.inf)
        if np.isfinite(delays[-1]):
            seen = counts[:, : first + 1].astype(np.int64)
            whole = seen[:5].sum(axis=0)
            verdict = segment_srm(
                flag(), bins_of(whole), FlagSegments(START, ("control", "treatment"), tuple(segments), seen)
            )
            named += verdict.segment == "d0 = v0" and verdict.usable_without == ("d0 = v0",)
    return np.array(delays), named


def oracle_delay(share: float, lost: float, hourly: float) -> float:
    """Return the median delay of a Shiryaev-Roberts test that knows segment, size and split of the fault.

    R(t) = (1 + R(t-1)) L(t) for the likelihood ratio L of an hour; R(t) - t is a martingale of mean 0 on a
    healthy flag, so that R exceeds A within T hours with probability at most T / A (Shiryaev, 1963;
    Roberts, 1966):
    A = T / alpha for the same alpha over the same 30 nights.
    """
    random, delays = np.random.default_rng(16), []
    faulty = np.array([1.0, 1 - lost]) / (2 - lost)
    for _ in range(400):
        kept = np.where(np.arange(9 * 24)[:, None] < FAULT, [1.0, 1.0], [1.0, 1 - lost])
        counts = random.poisson(hourly * share * HALVES * kept)
        ratios = counts @ np.log(np.maximum(faulty, 1e-9) / HALVES)
        log_r, threshold = -np.inf, np.log(NIGHTS * 24 / ALPHA)
        for hour, ratio in enumerate(ratios):
            log_r = np.logaddexp(0.0, log_r) + ratio
            if log_r >= threshold:
                delays.append(hour + 1 - FAULT)
                break
        else:
            delays.append(np.inf)
    return float(percentiles(np.array(delays))[0])


@pytest.mark.parametrize("fault", BROKEN, ids=str)
def test_a_broken_segment_is_found_soon_with_40_tested(fault, measured):
    share, lost, hourly = fault
    delays, _ = detected(*fault)
    oracle = oracle_delay(*fault)
    median, late = percentiles(delays)
    measured(
        f"a {share:.0%} segment loses {lost:.0%} of treatment at {hourly}/h, 40 segments tested",
        f"median <= {BROKEN[fault]} h",
        f"{median:.0f} h, 90 % {late:.0f} h; an oracle {oracle:.0f} h",
    )
    assert median <= BROKEN[fault]
    assert oracle <= median


def test_the_named_segment_is_the_planted_one(measured):
    """And the flag is said to be usable without that one alone."""
    found = [detected(*fault) for fault in BROKEN]
    caught = sum(int(np.isfinite(delays).sum()) for delays, _ in found)
    share = sum(named for _, named in found) / caught
    measured(
        "the named segment is the planted one, when it is detected", ">= .95", f"{share:.3f} of {caught}"
    )
    assert share >= 0.95
