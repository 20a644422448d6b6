"""Detection time: the combined test run on simulated hours of the flag.

Seeded, so the same input has the same result. If a fault needs longer than `longest_hours`, the
result says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from exd_dagster.errors import InputError
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Floats, Stretch, checked_level, checked_split
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.verdict import Json, plain

RUNS = 200
SEED = 20260301


@dataclass(frozen=True, slots=True)
class DetectionPlan:
    """When a fault would be found.

    Attributes:
        hours: hours until it is found with probability `power`; None: longer than was simulated.
        median_hours: until it is found in half the cases; None likewise.
        units: newly exposed units within `hours`.
        power: wanted probability.
        units_per_hour: newly exposed units per hour.
        sentence: one sentence.
    """

    hours: int | None
    median_hours: int | None
    units: int | None
    power: float
    units_per_hour: float
    sentence: str

    def as_metadata(self) -> dict[str, Json]:
        """Return every field as strict JSON."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


def plan_detection(
    split: Mapping[str, float],
    fault: Mapping[str, float],
    units_per_hour: float,
    *,
    power: float = 0.9,
    alpha: float = 0.001,
    healthy_hours: int = 0,
    longest_hours: int = 24 * 56,
) -> DetectionPlan:
    """Return in how many hours the sequential test detects a fault.

    Args:
        split: declared share by variant.
        fault: share by variant that would be served instead.
        units_per_hour: newly exposed units per hour, over all variants.
        power: probability with which the fault is to be found.
        alpha: level of the test.
        healthy_hours: hours served as declared before the fault begins.
        longest_hours: longest simulated time.

    Raises:
        InputError: for an unusable split, level or rate, or a fault over other variants.
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
    shares = np.array(list(declared.values()))
    other = np.array([served[name] for name in declared])
    delays = _delays(shares, other, units_per_hour, alpha, healthy_hours, longest_hours, power)
    hours, median = _quantile(delays, power), _quantile(delays, 0.5)
    if hours is None:
        sentence = f"Not found with probability {power:g} within {longest_hours // 24} days at this traffic."
    else:
        n = words.number(hours * units_per_hour)
        sentence = (
            f"Found with probability {power:g} within {hours} h ({n} units); half the time within {median} h."
        )
    units = None if hours is None else round(hours * units_per_hour)
    return DetectionPlan(hours, median, units, power, float(units_per_hour), sentence)


def _delays(
    shares: Floats, fault: Floats, rate: float, alpha: float, healthy: int, longest: int, power: float
) -> Floats:
    """Return the hours from onset to the alarm in each run, inf where it did not come in time.

    The horizon doubles until enough runs have alarmed.
    """
    horizon = min(48, longest)
    while True:
        random = np.random.default_rng(SEED)
        served = np.where((np.arange(healthy + horizon) < healthy)[:, None], shares, fault)
        delays = np.concatenate([_chunk(random, served * rate, shares, alpha, healthy) for _ in range(4)])
        if horizon == longest or np.isfinite(delays).mean() >= power:
            return delays
        horizon = min(2 * horizon, longest)


def _chunk(random: np.random.Generator, means: Floats, shares: Floats, alpha: float, healthy: int) -> Floats:
    counts = random.poisson(means, size=(RUNS // 4, *means.shape)).astype(np.float64)
    alarms = (log_e_values(counts, [Stretch(0, shares)]) >= -np.log(alpha))[:, healthy:]
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1) + 1.0, np.inf)


def _quantile(delays: Floats, share: float) -> int | None:
    hours = np.sort(delays)[ceil(share * len(delays)) - 1]
    return int(hours) if np.isfinite(hours) else None
