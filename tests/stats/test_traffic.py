"""Traffic drops: the seasonal test, and the plain rule."""

import json

import numpy as np
import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import traffic_drop_test
from exd_dagster.stats.traffic import seasonal
from exd_dagster.stats.traffic.seasonal import UNLIKELY, lower_tail, scan
from tests.stats.build import seasonal_units


def everywhere(volumes):
    return np.ones(len(volumes), dtype=bool)


def cut(volumes: np.ndarray, first: int, last: int | None, factor: float) -> np.ndarray:
    changed = volumes.copy()
    changed[first:last] = changed[first:last] * factor
    return changed


def test_a_healthy_rhythm_passes():
    found = traffic_drop_test(seasonal_units(1, 28, 1000))
    assert found.verdict == "pass"
    assert found.expected_volume == pytest.approx(found.latest_volume, rel=0.3)


def test_it_tests_from_hour_240():
    volumes = seasonal_units(1, 12, 1000)
    assert traffic_drop_test(volumes[:240]).reason == "learning"
    assert traffic_drop_test(volumes[:241]).verdict == "pass"
    assert traffic_drop_test(cut(volumes[:241], -1, None, 0.0)).verdict == "fail"


def test_an_outage_warns_after_one_hour_and_blocks_after_three():
    volumes = seasonal_units(1, 28, 1000)
    after_one = traffic_drop_test(cut(volumes, -1, None, 0.0))
    after_three = traffic_drop_test(cut(volumes, -3, None, 0.0))
    assert (after_one.severity, after_one.window) == ("WARN", 1)
    assert (after_three.severity, after_three.state) == ("ERROR", "ongoing")


def test_a_loss_below_the_drop_fraction_never_blocks():
    volumes = cut(seasonal_units(1, 28, 5000), -24, None, 0.6)
    found = traffic_drop_test(volumes)
    assert (found.verdict, found.severity) == ("fail", "WARN")
    assert traffic_drop_test(volumes, drop_fraction=0.3).severity == "ERROR"


def test_an_outage_does_not_become_its_own_baseline():
    volumes = cut(seasonal_units(1, 42, 1000), -14 * 24, None, 0.1)
    found = traffic_drop_test(volumes)
    assert found.severity == "ERROR"
    assert found.latest_volume < 0.2 * found.expected_volume


def test_after_six_weeks_a_new_level_is_the_normal_one():
    volumes = cut(seasonal_units(1, 84, 1000), 28 * 24, None, 0.4)
    assert traffic_drop_test(volumes).verdict == "pass"


def test_hours_not_delivered_are_neither_zero_nor_judged():
    volumes = cut(seasonal_units(1, 28, 1000), -30, -5, 0.0)
    delivered = everywhere(volumes)
    delivered[-30:-5] = False
    assert traffic_drop_test(volumes, delivered=delivered).verdict == "pass"
    delivered[-30:] = False
    assert traffic_drop_test(volumes, delivered=delivered).verdict == "not_checked"


def test_an_hour_depends_on_no_later_hour():
    volumes = seasonal_units(3, 28, 300).astype(float)
    whole = scan(volumes, everywhere(volumes), 1e-4)
    for through in (300, 417, 600):
        part = scan(volumes[:through], everywhere(volumes[:through]), 1e-4)
        assert np.array_equal(part.p, whole.p[:, :through])


@pytest.mark.parametrize("seed", range(6))
def test_judging_some_days_at_once_gives_what_judging_day_by_day_gives(seed, monkeypatch):
    """Later days must learn nothing from hours at fault, though they are expected before those are known."""
    random = np.random.default_rng(seed)
    volumes = seasonal_units(seed, 50, 10 ** random.uniform(1, 4), 0.2).astype(float)
    delivered = everywhere(volumes)
    for first in random.integers(0, len(volumes), 5).tolist():
        volumes[first : first + 30] *= random.choice([0, 0.2, 3])
    delivered[600:690] = False
    some_days = scan(np.floor(volumes), delivered, 1e-4)
    monkeypatch.setattr(seasonal, "AHEAD", seasonal.BLOCK)
    by_day = scan(np.floor(volumes), delivered, 1e-4)
    assert by_day.alarm.any()
    np.testing.assert_array_equal(some_days.alarm, by_day.alarm)
    np.testing.assert_allclose(some_days.p, by_day.p, rtol=1e-6)
    np.testing.assert_allclose(some_days.expected, by_day.expected)


def test_a_volume_that_is_passed_over_is_never_unlikely():
    """Half the mean, and two deviations below the mean: whatever mean and dispersion, p is above."""
    mean, phi = np.meshgrid(np.geomspace(1e-3, 1e9, 400), np.geomspace(1e-6, 1e3, 400))
    least = np.ceil(np.maximum(mean / 2, mean - 2 * np.sqrt(mean + phi * mean**2)))
    assert lower_tail(least, mean, phi).min() > UNLIKELY


def test_windows_that_are_passed_over_change_no_alarm(monkeypatch):
    volumes = np.floor(cut(seasonal_units(5, 40, 300, 0.2).astype(float), 700, 760, 0.3))
    found = scan(volumes, everywhere(volumes), 1e-4)
    monkeypatch.setattr(seasonal, "UNLIKELY", 0.0)
    whole = scan(volumes, everywhere(volumes), 1e-4)
    assert found.alarm.any()
    np.testing.assert_array_equal(found.alarm, whole.alarm)
    np.testing.assert_array_equal(found.p < UNLIKELY, whole.p < UNLIKELY)
    np.testing.assert_array_equal(found.p[found.p < UNLIKELY], whole.p[whole.p < UNLIKELY])


def test_before_hour_240_only_the_absence_of_all_units_is_reported():
    volumes = seasonal_units(1, 5, 1000)
    assert traffic_drop_test(cut(volumes, -3, None, 0.1)).reason == "learning"
    gone = traffic_drop_test(cut(volumes, -3, None, 0.0))
    assert (gone.reason, gone.severity, gone.first_bad) == ("no_data", "ERROR", len(volumes) - 3)


def test_a_quiet_flag_is_not_reported_as_absent():
    volumes = np.random.default_rng(1).poisson(0.4, 100)
    assert traffic_drop_test(volumes).verdict == "insufficient"


def test_alarms_count_only_in_the_judged_bins():
    volumes = cut(seasonal_units(1, 28, 1000), -100, -95, 0.0)
    size = len(volumes)
    assert traffic_drop_test(volumes).verdict == "pass"
    judged = traffic_drop_test(volumes, judged=(size - 110, size - 90))
    assert (judged.severity, judged.state) == ("WARN", "contained")
    assert (judged.first_bad, judged.last_bad) == (size - 100, size - 96)


def test_the_plain_rule_gives_the_known_numbers():
    found = traffic_drop_test([100, 110, 90, 105, 95, 100, 102, 60], method="zscore")
    assert found.expected_volume == pytest.approx(100.285714, abs=1e-6)
    assert found.z_score == pytest.approx(-6.198676, abs=1e-6)
    assert found.verdict == "fail"


@pytest.mark.parametrize(
    ("volumes", "verdict", "z"),
    [
        ([5], "pass", 0.0),
        ([5, 0], "pass", 0.0),
        ([5, 5, 2], "fail", 0.0),
        ([5, 5, 3], "pass", 0.0),
        ([0, 0, 0], "pass", 0.0),
        ([4, 6, 5], "pass", 0.0),
    ],
)
def test_the_plain_rule_at_its_edges(volumes, verdict, z):
    found = traffic_drop_test(volumes, method="zscore")
    assert (found.verdict, found.z_score) == (verdict, z)


def test_the_plain_rule_with_one_bin_of_history_has_no_deviation():
    found = traffic_drop_test([9, 9, 9, 0], method="zscore", window=1)
    assert (found.verdict, found.z_score) == ("pass", None)


@pytest.mark.parametrize("method", ["seasonal", "zscore"])
@pytest.mark.parametrize("volumes", [[], [0], [7], np.zeros(500), np.full(500, 10**9)])
def test_any_series_gives_a_verdict_in_strict_json(method, volumes):
    json.dumps(traffic_drop_test(volumes, method=method).as_metadata(), allow_nan=False)


@pytest.mark.parametrize(
    ("volumes", "options", "reported"),
    [
        ([1, -1], {}, "volumes\\[1\\] is -1"),
        ([1, float("inf")], {}, "volumes\\[1\\] is inf"),
        ([[1]], {}, "1 axes"),
        ([1], {"method": "zscor"}, "Did you mean 'zscore'"),
        ([1], {"alarm_level": 2}, "alarm_level is 2"),
        ([1], {"drop_fraction": 0}, "drop_fraction is 0"),
        ([1], {"window": 0}, "window is 0"),
        ([1], {"delivered": [True, False]}, "delivered has shape"),
    ],
)
def test_unusable_input_is_refused_with_its_value(volumes, options, reported):
    with pytest.raises(InputError, match=reported):
        traffic_drop_test(volumes, **options)


def test_a_rush_of_traffic_does_not_hide_the_drop_that_follows():
    volumes = seasonal_units(1, 28, 1000)
    volumes[-72:-48] *= 6
    assert traffic_drop_test(cut(volumes, -3, None, 0.0)).severity == "ERROR"
    assert traffic_drop_test(cut(volumes, -12, None, 0.2)).severity == "ERROR"


def test_silent_weeks_before_a_launch_do_not_blind_the_test():
    volumes = seasonal_units(1, 42, 1000)
    volumes[: 7 * 24] = 0
    assert traffic_drop_test(volumes[: 21 * 24]).verdict == "pass"
    assert traffic_drop_test(cut(volumes[: 25 * 24], -6, None, 0.1)).severity == "ERROR"


def test_an_outage_just_before_hours_that_were_not_delivered_is_still_ongoing():
    volumes = cut(seasonal_units(1, 28, 1000), -8, None, 0.0)
    delivered = everywhere(volumes)
    delivered[-4:] = False
    found = traffic_drop_test(volumes, delivered=delivered)
    assert (found.severity, found.state) == ("ERROR", "ongoing")


def test_learning_begins_with_the_first_unit():
    volumes = seasonal_units(1, 20, 1000)
    volumes[: 15 * 24] = 0
    found = traffic_drop_test(volumes)
    assert (found.reason, found.tests_from) == ("learning", 15 * 24 + 240)


def test_a_flag_without_any_unit_is_not_reported_as_healthy():
    assert traffic_drop_test(np.zeros(500)).verdict == "insufficient"


def test_a_drop_is_seen_right_after_five_weeks_in_which_nothing_was_delivered():
    volumes = seasonal_units(1, 90, 500)
    delivered = everywhere(volumes)
    delivered[49 * 24 : 84 * 24] = False
    assert not scan(volumes, delivered, 1e-4).alarm[84 * 24 :].any()
    assert scan(cut(volumes, 84 * 24, None, 0.1), delivered, 1e-4).alarm[84 * 24]
