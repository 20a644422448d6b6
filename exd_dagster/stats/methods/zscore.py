"""The plain rule: the newest bin against the mean and standard deviation of the bins before it."""

from dataclasses import dataclass

import numpy as np

from exd_dagster.stats.inputs import Floats


@dataclass(frozen=True, slots=True)
class ZScore:
    """The newest bin against its history.

    Attributes:
        anomaly: True when z < -z_threshold; where the history does not vary, when volume < (1 - drop) x mean.
        latest: newest volume.
        mean: of the history; None without any.
        deviation: standard deviation (ddof 1); 0 under 3 bins; None where it is undefined (one bin of
            history).
        z: (latest - mean) / deviation; 0 where the deviation is 0, None where it is undefined.
    """

    anomaly: bool
    latest: float
    mean: float
    deviation: float | None
    z: float | None


def zscore(
    volumes: Floats, *, window: int = 7, z_threshold: float = 3.0, drop_fraction: float = 0.5
) -> ZScore:
    """Test the newest of `volumes`, float (T,), against up to `window` bins before it; under 3 passes."""
    if not len(volumes):
        return ZScore(False, 0.0, 0.0, 0.0, 0.0)
    latest, before = float(volumes[-1]), volumes[:-1]
    if len(volumes) < 3:
        return ZScore(False, latest, float(before.mean()) if len(before) else 0.0, 0.0, 0.0)
    history = before[-window:]
    mean = float(history.mean())
    if len(history) < 2:
        return ZScore(False, latest, mean, None, None)
    deviation = float(np.std(history, ddof=1))
    if deviation == 0:
        return ZScore(latest < mean * (1 - drop_fraction), latest, mean, 0.0, 0.0)
    z = (latest - mean) / deviation
    return ZScore(z < -z_threshold, latest, mean, deviation, z)
