"""The plain traffic test holds its level however short the history."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from exd_dagster.notebook.traffic import _compare, _short
from exd_dagster.stats.traffic.traffic import traffic_drop_test

RUNS = 6_000


@pytest.mark.parametrize("history", [3, 7])
def test_false_alarms_keep_to_the_level_of_the_threshold(history):
    rng = np.random.default_rng(history)
    draws = rng.normal(1000, 30, (RUNS, history + 1))
    alarms = sum(_compare(row[-1], row[:-1], 2.0, 0.5).low for row in draws)
    low, high = binom.ppf([0.0005, 0.9995], RUNS, norm.cdf(-2.0))
    assert low <= alarms <= high


def short(*volumes: float, window: int = 7) -> dict:
    return _short(np.array(volumes, dtype=float), window, 3.0, 0.5, traffic_drop_test([]))


def test_history_that_does_not_vary_falls_back_to_the_share_lost():
    assert not short(100, 100, 100, 51)["anomaly_detected"]
    assert short(100, 100, 100, 49)["anomaly_detected"]


def test_low_bins_are_left_out_of_later_histories():
    result = short(100, 104, 98, 101, 99, 20, 21, 19, 20)
    assert result["anomaly_detected"]
    assert result["historical_mean"] == pytest.approx(100.4)


def test_alarm_ends_once_it_lies_outside_the_window():
    recovered = (100, 104, 98, 101, 99, 20, 101, 100, 103)
    assert short(*recovered, window=4)["anomaly_detected"]
    assert not short(*recovered, window=3)["anomaly_detected"]
