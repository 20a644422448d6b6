"""Healthy and faulty flags, drawn by the thousand, and what the tests say of them."""

from collections.abc import Iterator, Sequence

import numpy as np

from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.methods.combined import log_e_values

HOURS = 14 * 24
CHUNK = 100


def flat(hourly: float, hours: int = HOURS) -> Floats:
    return np.full(hours, float(hourly))


def daily_cycle(hourly: float, hours: int = HOURS) -> Floats:
    """Peak five times trough, and fewer new units every day."""
    hour = np.arange(hours)
    return hourly * (1 + (2 / 3) * np.sin(2 * np.pi * hour / 24)) * 0.93 ** (hour / 24)


def draws(rates: Floats, served: Floats, runs: int, seed: int) -> Iterator[Floats]:
    """Yield counts (chunk, T, V): Poisson units an hour, shared out as `served`, (V,) or (T, V)."""
    random = np.random.default_rng(seed)
    means = rates[:, None] * np.broadcast_to(served, (len(rates), np.shape(served)[-1]))
    for begin in range(0, runs, CHUNK):
        yield random.poisson(means, size=(min(CHUNK, runs - begin), *means.shape)).astype(np.float64)


def first_crossings(
    rates: Floats,
    served: Floats,
    declared: Floats | Sequence[Period],
    *,
    runs: int,
    seed: int,
    alpha: float = 0.001,
) -> Floats:
    """Return the first hour (from 0) at whose end the combined test fails, float (runs,); inf if none."""
    periods = [Period(0, declared)] if isinstance(declared, np.ndarray) else list(declared)
    found = []
    for counts in draws(rates, served, runs, seed):
        alarms = log_e_values(counts, periods) >= -np.log(alpha)
        found.append(np.where(alarms.any(axis=1), alarms.argmax(axis=1), np.inf))
    return np.concatenate(found)


def from_hour(hour: int, before: Sequence[float], after: Sequence[float], hours: int = HOURS) -> Floats:
    """Return served shares (T, V) that change at `hour`."""
    return np.where((np.arange(hours) < hour)[:, None], np.array(before), np.array(after))


def at_most(probability: float, trials: int) -> int:
    """Return how many of `trials` a probability no larger may show: its mean plus 3.1 standard errors."""
    mean = probability * trials
    return int(mean + 3.1 * np.sqrt(mean * (1 - probability)))


def percentiles(values: Floats) -> Floats:
    """Return the median and the 90th centile of values that may be infinite."""
    ordered = np.sort(values)
    return ordered[[int(np.ceil(share * len(ordered))) - 1 for share in (0.5, 0.9)]]
