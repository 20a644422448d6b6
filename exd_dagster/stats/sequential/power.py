"""Detection time: the combined test run on simulated hours of the flag, or of one of its segments.

Seeded, so the same input has the same result. If a fault needs longer than `longest_hours`, the
result says so.

A segment is tested by `segment_srm` from its first `ADMITTED` units on, at alpha times its weight. The weight
falls with the order in which segments are admitted: the plan takes that of the last of `segments`, so that a
segment admitted earlier is found no later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from exd_dagster.bins.model import ADMITTED
from exd_dagster.config.arguments import checked_arguments
from exd_dagster.errors import InputError
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Booleans, Floats, Period, checked_level, checked_split
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.segments.evidence import log_weights
from exd_dagster.stats.verdict import StrictJson

RUNS = 200
SEED = 20260301


@dataclass(frozen=True, slots=True)
class DetectionPlan(StrictJson):
    """When a fault would be found.

    Attributes:
        hours: hours until it is found with probability `power`; None: longer than was simulated.
        median_hours: until it is found in half the cases; None likewise.
        units: newly exposed units within `hours`.
        power: wanted probability.
        units_per_hour: newly exposed units per hour.
        sentence: one sentence.
        whole_flag_hours: of a segment's fault, until the split of the whole flag fails with probability
            `power`; None: longer than was simulated, or the fault is of the whole flag.
    """

    hours: int | None
    median_hours: int | None
    units: int | None
    power: float
    units_per_hour: float
    sentence: str
    whole_flag_hours: int | None = None


@checked_arguments("units_per_hour", "power", "alpha", "healthy_hours", "longest_hours", "segment_share")
def plan_detection(
    split: Mapping[str, float],
    fault: Mapping[str, float],
    units_per_hour: float,
    *,
    power: float = 0.9,
    alpha: float = 0.001,
    healthy_hours: int = 0,
    longest_hours: int = 24 * 56,
    segment_share: float = 1.0,
    segments: int = 40,
) -> DetectionPlan:
    """Return in how many hours a fault is detected: by the sequential test, or in a segment by `segment_srm`.

    Args:
        split: declared share by variant.
        fault: share by variant that would be served instead.
        units_per_hour: newly exposed units per hour, over all variants.
        power: probability with which the fault is to be found.
        alpha: level of the test.
        healthy_hours: hours served as declared before the fault begins.
        longest_hours: longest simulated time.
        segment_share: share of the units that the fault is limited to; 1: all.
        segments: number of segments tested, over all dimensions.

    Raises:
        InputError: for an unusable split, level, rate or segment, or a fault over other variants.
    """
    declared, served = checked_split(split), checked_split(fault)
    if set(served) != set(declared):
        raise InputError(f"fault names {sorted(served)}, split {sorted(declared)}; name the same variants")
    checked_level(power, "power")
    checked_level(alpha, "alpha")
    if not (isfinite(units_per_hour) and units_per_hour > 0):
        raise InputError(f"units_per_hour is {units_per_hour}; give newly exposed units per hour, above 0")
    if healthy_hours < 0 or longest_hours < 1:
        raise InputError("healthy_hours is 0 or more, longest_hours 1 or more")
    if not 0 < segment_share <= 1 or segments < 1:
        raise InputError("segment_share is above 0 and at most 1, segments 1 or more")
    shares = np.array(list(declared.values()))
    other = np.array([served[name] for name in declared])
    span, rate = (healthy_hours, longest_hours, power), float(units_per_hour)
    mixed = segment_share * other + (1 - segment_share) * shares
    delays = _delays(shares, mixed, rate, alpha, 0, *span)
    whole = None
    if segment_share < 1:
        whole = _quantile(delays, power)
        weighted = alpha * float(np.exp(log_weights(segments)[-1]))
        delays = _delays(shares, other, rate * segment_share, weighted, ADMITTED, *span)
    hours, median = _quantile(delays, power), _quantile(delays, 0.5)
    units = None if hours is None else round(hours * rate)
    sentence = _sentence(hours, median, power, rate, longest_hours)
    if segment_share < 1:
        alone = f"within {longest_hours // 24} days" if whole is None else f"for {whole} h"
        sentence += f" The split of the whole flag does not show it with that probability {alone}."
    return DetectionPlan(hours, median, units, power, rate, sentence, whole)


def _sentence(hours: int | None, median: int | None, power: float, rate: float, longest: int) -> str:
    if hours is None:
        return f"Not found with probability {power:g} within {longest // 24} days at this traffic."
    n = words.number(hours * rate)
    return f"Found with probability {power:g} within {hours} h ({n} units); half the time within {median} h."


def _delays(
    shares: Floats,
    fault: Floats,
    rate: float,
    alpha: float,
    admitted: int,
    healthy: int,
    longest: int,
    power: float,
) -> Floats:
    """Return the hours from onset to the alarm in each run, inf where it did not come in time."""
    # Alarms count from the hour on by which so many units are `admitted`. The horizon doubles until enough
    # runs have alarmed.
    horizon = min(48, longest)
    while True:
        random = np.random.default_rng(SEED)
        served = np.where((np.arange(healthy + horizon) < healthy)[:, None], shares, fault)
        chunks = [_chunk(random, served * rate, shares, alpha, admitted) for _ in range(4)]
        alarms = np.concatenate(chunks)[:, healthy:]
        delays = np.where(alarms.any(axis=1), alarms.argmax(axis=1) + 1.0, np.inf)
        if horizon == longest or np.isfinite(delays).mean() >= power:
            return delays
        horizon = min(2 * horizon, longest)


def _chunk(
    random: np.random.Generator, means: Floats, shares: Floats, alpha: float, admitted: int
) -> Booleans:
    counts = random.poisson(means, size=(RUNS // 4, *means.shape)).astype(np.float64)
    failed = log_e_values(counts, [Period(0, shares)]) >= -np.log(alpha)
    return np.asarray(failed & (counts.sum(axis=2).cumsum(axis=1) >= admitted))


def _quantile(delays: Floats, share: float) -> int | None:
    hours = np.sort(delays)[ceil(share * len(delays)) - 1]
    return int(hours) if np.isfinite(hours) else None
