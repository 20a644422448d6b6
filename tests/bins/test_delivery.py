"""Hours that were not delivered are reported from hours in which flags fell."""

import numpy as np
import pytest

from exd_dagster.bins.store.reading.delivery import delivered_hours
from exd_dagster.config import Phase
from tests.bins.conftest import HOUR, START, flag, update
from tests.bins.conftest import log as rows

DAYS = 14
CYCLE = 100 + 80 * np.sin(np.arange(24) / 24 * 2 * np.pi)


def log(flags: int, scale: float = 10.0, seed: int = 1) -> np.ndarray:
    """Return records by flag and hour, (flags, 24 * DAYS), with a daily cycle."""
    rng = np.random.default_rng(seed)
    return rng.poisson(scale * np.tile(CYCLE, DAYS) * np.ones((flags, 1)))


def delivered(records: np.ndarray) -> set[int]:
    by_flag = {number: dict(enumerate(row.tolist())) for number, row in enumerate(records)}
    totals = {hour: int(count) for hour, count in enumerate(records.sum(axis=0)) if count}

    def volumes(hours):
        return {flag: {h: c[h] for h in hours if h in c} for flag, c in by_flag.items()}

    return delivered_hours(totals, volumes)


def lost(records: np.ndarray) -> set[int]:
    return set(range(records.shape[1])) - delivered(records)


@pytest.mark.parametrize("flags", [1, 2, 3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_every_hour_of_a_whole_log_was_delivered(flags, seed):
    assert not lost(log(flags, seed=seed))


@pytest.mark.parametrize("flags", [1, 2, 3, 20])
def test_hours_that_hold_only_records_of_fast_clocks_were_not_delivered(flags):
    records = log(flags)
    records[:, -6:] = np.random.default_rng(2).binomial(records[:, -6:], 0.02)
    assert lost(records) == set(range(24 * DAYS - 6, 24 * DAYS))


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7])
def test_hour_in_which_the_loader_stopped_was_not_delivered(part):
    records = log(4)
    records[:, -6:] = np.random.default_rng(2).binomial(records[:, -6:], 0.02)
    records[:, -7] = np.random.default_rng(3).binomial(records[:, -7], part)
    assert min(lost(records)) == 24 * DAYS - 7


@pytest.mark.parametrize("end", [24 * DAYS, 24 * DAYS - 14])
def test_nights_with_a_few_records_of_fast_clocks_were_not_delivered_between_or_after_gaps(end):
    """Too few records are expected of a night to tell it by itself."""
    night = np.isin(np.arange(24 * DAYS) % 24, range(6))
    records = np.where(night, np.random.default_rng(4).poisson(5, (1, 24 * DAYS)), log(1))
    stopped = 24 * DAYS - 30
    records[:, stopped:] = np.random.default_rng(2).binomial(records[:, stopped:], 0.02)
    records[:, stopped:][:, night[stopped:]] = 1
    records[:, -1] += 1
    assert lost(records[:, :end]) == set(range(stopped, end))


def test_a_quiet_night_after_a_gap_was_delivered_if_it_has_what_it_expects():
    night = np.isin(np.arange(24 * DAYS) % 24, range(6))
    records = np.where(night, np.random.default_rng(4).poisson(5, (1, 24 * DAYS)), log(1))
    records[:, 24 * DAYS - 28 : 24 * DAYS - 24] = 0
    assert lost(records) - set(np.flatnonzero(records[0] == 0)) == set()


@pytest.mark.parametrize(("down", "missed"), [(4, {200}), (3, set())])
def test_an_hour_is_missed_when_four_of_five_flags_are_down_together(down, missed):
    records = log(5)
    records[:down, 200] //= 20
    assert lost(records) == missed


def test_half_of_the_files_of_an_hour_are_missed_in_a_fleet():
    records = log(5)
    records[:, 200:203] = records[:, 200:203] * 0.4
    assert {200, 201, 202} <= lost(records) <= set(range(199, 204))


def test_outage_of_one_flag_in_a_fleet_is_its_own_however_large_it_is():
    records = log(5)
    records[0] *= 50
    records[0, -12:] = 0
    assert not lost(records)


def test_half_of_the_traffic_of_the_only_flag_is_not_taken_for_the_loader():
    records = log(1)
    records[:, -12:] = records[:, -12:] * 0.45
    assert not lost(records)


def test_small_log_tells_nothing():
    assert delivered(log(1, scale=0.01)) == {h for h, n in enumerate(log(1, scale=0.01)[0]) if n}


def test_single_record_after_the_end_of_a_log_delivers_its_last_hour():
    records = np.hstack([log(2), np.zeros((2, 4), dtype=int)])
    records[0, -1] = 1
    assert max(delivered(records)) == 24 * DAYS - 1


def test_log_of_a_few_hours_has_nothing_to_expect():
    records = log(2)[:, :6]
    assert delivered(np.hstack([records, [[0, 1], [0, 0]]])) == {0, 1, 2, 3, 4, 5, 7}


def test_weekend_is_not_missed_once_a_week_is_known():
    records = log(3)
    weekend = np.isin(np.arange(24 * DAYS) // 24 % 7, (5, 6))
    records[:, weekend] = records[:, weekend] // 4
    assert not {hour for hour in lost(records) if hour >= 168}


def test_reading_says_which_hours_were_not_delivered_and_what_lies_ahead(store):
    """Three days of 30 records an hour, then three hours that hold one record of a fast clock each."""
    whole = [(hour + unit / 40, f"{hour}-{unit}", "control") for hour in range(72) for unit in range(30)]
    ahead = [(hour + 0.5, f"fast-{hour}", "control") for hour in (72, 73, 75)]
    report = update(store, rows(*whole, *ahead), hours=(0, 80))
    assert report.read_from == START
    assert report.undelivered == (START + 72 * HOUR, START + 73 * HOUR)
    assert report.records_ahead == 3
    assert store.read(flag()).delivered.tolist() == [True] * 72 + [False] * 2


def falling(units: int, hours: int) -> list[tuple[float, str, str]]:
    """Return three days of 60 records an hour, then so many."""
    return [
        (hour + unit / 70, f"{hour}-{unit}", "control")
        for hour in range(hours)
        for unit in range(60 if hour < 72 else units)
    ]


def cut_to(coverage: float | None):
    phase = Phase(start=START + 72 * HOUR, split={"control": 0.5, "treatment": 0.5}, coverage=coverage)
    return flag(coverage=1.0, phases=[phase])


@pytest.mark.parametrize(("coverage", "delivers"), [(0.05, True), (None, False)])
def test_a_declared_cut_of_the_only_flag_is_no_fault_of_the_loader(store, coverage, delivers):
    report = update(store, rows(*falling(3, 80)), cut_to(coverage), hours=(0, 80))
    assert bool(report.undelivered) is not delivers
    assert store.read(cut_to(coverage)).delivered[-3:].all() == delivers


def test_a_loader_that_stops_after_a_declared_cut_is_still_told(store):
    """The last hour before the gap has less than before the cut, so it is taken for incomplete."""
    late = [(hour + 0.5, f"fast-{hour}", "control") for hour in (75, 76, 77, 79)]
    report = update(store, rows(*falling(20, 75), *late), cut_to(0.33), hours=(0, 80))
    assert report.undelivered == tuple(START + hour * HOUR for hour in (74, 75, 76, 77))
