"""Bins and flags made by hand for the tests of the statistics."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

import numpy as np

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HALVES = {"control": 0.5, "treatment": 0.5}


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


def flag(**values) -> FlagAudit:
    return FlagAudit(**{"key": "checkout", "start": START, "split": HALVES} | values)


def bins_of(
    new_units: np.ndarray,
    variants: Sequence[str] = ("control", "treatment"),
    *,
    units: np.ndarray | None = None,
    delivered: np.ndarray | None = None,
    start: datetime = START,
) -> FlagBins:
    new = np.asarray(new_units, dtype=np.int64).reshape(-1, len(variants))
    active = new if units is None else np.asarray(units, dtype=np.int64)
    return FlagBins(
        flag=flag().id,
        variants=tuple(variants),
        start=start,
        new_units=new,
        units=active,
        evaluations=active,
        delivered=np.ones(len(new), dtype=bool) if delivered is None else delivered,
    )


def draw(seed: int, hourly: int, *parts: tuple[int, Mapping[str, float]]) -> np.ndarray:
    """Multinomial counts: for each (hours, split), `hourly` units an hour."""
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.multinomial(hourly, list(split.values()), size=length) for length, split in parts]
    )


def seasonal_units(seed: int, days: int, hourly: float, noise: float = 0.05) -> np.ndarray:
    """Hourly volumes with a daily and a weekly rhythm, peak 5 x trough, and log-normal noise."""
    random = np.random.default_rng(seed)
    hour = np.arange(days * 24)
    rhythm = 1 + (2 / 3) * np.sin(2 * np.pi * (hour % 24) / 24)
    weekend = np.where(hour // 24 % 7 >= 5, 0.7, 1.0)
    return random.poisson(hourly * rhythm * weekend * random.lognormal(0, noise, len(hour)))
