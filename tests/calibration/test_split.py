"""Split tests on simulated hours: false alarms, and how soon a fault is found."""

import numpy as np
import pytest
from scipy.special import chdtrc, chdtri
from scipy.stats import false_discovery_control

from exd_dagster.stats.fleet import e_bh
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods import sprt
from exd_dagster.stats.methods.change_point import find_change
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.srm.looks import look_levels
from tests.calibration.simulate import (
    HOURS,
    at_most,
    daily_cycle,
    draws,
    first_crossings,
    flat,
    from_hour,
    percentiles,
)

pytestmark = pytest.mark.calibration

HALVES = np.array([0.5, 0.5])
NINE_TO_ONE = np.array([0.9, 0.1])
RAMP = [Period(0, NINE_TO_ONE), Period(120, HALVES)]

HEALTHY = {
    "2 arms": (flat(500), HALVES, HALVES, 8000),
    "2 arms, 20 an hour": (flat(20), HALVES, HALVES, 8000),
    "2 arms, daily cycle": (daily_cycle(500), HALVES, HALVES, 8000),
    "90/10": (flat(500), NINE_TO_ONE, NINE_TO_ONE, 8000),
    "3 arms": (flat(500), np.full(3, 1 / 3), np.full(3, 1 / 3), 4000),
    "98/1/1": (flat(500), np.array([0.98, 0.01, 0.01]), np.array([0.98, 0.01, 0.01]), 4000),
    "5 arms": (flat(500), np.full(5, 0.2), np.full(5, 0.2), 2000),
    "10 arms": (flat(500), np.full(10, 0.1), np.full(10, 0.1), 1500),
    "ramp 10 to 50 %": (flat(500), from_hour(120, NINE_TO_ONE, HALVES), RAMP, 8000),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_healthy_splits_rarely_fail(case, measured):
    rates, served, declared, runs = HEALTHY[case]
    false = int(np.isfinite(first_crossings(rates, served, declared, runs=runs, seed=11)).sum())
    measured(f"false alarm, 14 d x 336 looks, {case}", "<= .001", f"{false / runs:.4f} ({false} of {runs})")
    assert false <= at_most(0.001, runs)


def test_the_repeated_chi_square_rarely_blocks(measured):
    """The closes of all days spend alpha, their other hours alpha again: 2 alpha bounds what is measured."""
    runs, early, late, uncorrected = 60_000, 0, 0, 0
    bound, once = chdtri(1, look_levels(24 * 30, 0.001)), chdtri(1, 0.001)
    for counts in draws(flat(500, 24 * 30), HALVES, runs, seed=12):
        total = counts.cumsum(axis=1)
        distance = (total[..., 0] - total[..., 1]) ** 2 / total.sum(axis=2)
        failed = distance > bound
        uncorrected += int((distance[:, : 24 * 14] > once).any(axis=1).sum())
        early += int(failed[:, : 24 * 14].any(axis=1).sum())
        late += int(failed.any(axis=1).sum())
    for days, false in ((14, early), (30, late)):
        measured(f"false block of chi-square, {days} d hourly", "<= .001", f"{false / runs:.5f}")
        assert false <= at_most(0.001, runs)
    measured("the same at a fixed .001, 14 d", "(what paying for looks avoids)", f"{uncorrected / runs:.4f}")
    assert uncorrected > 10 * early


@pytest.mark.parametrize(("share", "target"), [(0.51, 50_000), (0.52, 13_500), (0.55, 3_500)])
def test_units_until_a_fault_from_the_start_is_found(share, target, measured):
    found = first_crossings(flat(100, 1500), np.array([share, 1 - share]), HALVES, runs=400, seed=13)
    median, most = (100 * (percentiles(found) + 1)).tolist()
    measured(f"{share} from the start, units", f"median <= {target:,}", f"{median:,.0f} (90 %: {most:,.0f})")
    assert median <= target


def test_a_small_fault_is_found_within_336000_units(measured):
    found = first_crossings(flat(1000), np.array([0.505, 0.495]), HALVES, runs=2000, seed=14)
    power = float(np.isfinite(found).mean())
    measured(".505 at 336,000 units", "power >= .90", f"{power:.3f}")
    assert power >= 0.90


def delays(rates, before, after, declared, runs, seed):
    """Hours from the onset at hour 120 to the alarm; runs that alarmed before it are left out."""
    found = first_crossings(rates, from_hour(120, before, after), declared, runs=runs, seed=seed)
    return found[found >= 120] - 119


def test_a_loss_of_a_tenth_mid_flight_is_found_in_hours(measured):
    median, most = percentiles(delays(flat(1000), HALVES, (0.55, 0.45), HALVES, 2000, 15))
    measured("50 to 45 % from day 5, 1000/h", "median <= 4 h, 90 % <= 6 h", f"{median:.0f} h, {most:.0f} h")
    assert median <= 4
    assert most <= 6


def test_the_sprt_is_slower_and_blind_to_small_shifts(measured):
    """Not a claim of ours: what the documentation says of `method="sprt"`."""

    def crossings(served, seed):
        found = []
        for counts in draws(flat(1000), served, 500, seed):
            alarms = sprt.log_e_values(counts, [Period(0, HALVES)], 0.02) >= np.log(100)
            found.append(np.where(alarms.any(axis=1), alarms.argmax(axis=1), np.inf))
        return np.concatenate(found)

    late = crossings(from_hour(120, HALVES, (0.55, 0.45)), 20)
    median, _ = percentiles(late[late >= 120] - 119)
    power = float(np.isfinite(crossings(np.array([0.505, 0.495]), 20)).mean())
    measured(
        "sprt: 50 to 45 % from day 5; .505 at 336,000", "(the default: above)", f"{median:.0f} h; {power:.2f}"
    )
    assert median > 24
    assert power < 0.2


def test_chi_square_with_its_looks_paid_for_needs_longer(measured):
    bound, found = chdtri(1, look_levels(HOURS, 0.001)), []
    for counts in draws(flat(1000), from_hour(120, HALVES, (0.55, 0.45)), 500, 21):
        total = counts.cumsum(axis=1)
        failed = (total[..., 0] - total[..., 1]) ** 2 > bound * total.sum(axis=2)
        found.append(np.where(failed.any(axis=1), failed.argmax(axis=1), np.inf))
    late = np.concatenate(found)
    median, _ = percentiles(late[late >= 120] - 119)
    measured("chi-square: 50 to 45 % from day 5, 1000/h", "(the sequential test: 4 h)", f"{median:.0f} h")
    assert median > 12


@pytest.mark.parametrize("arms", [2, 3])
def test_a_dead_arm_is_found_in_one_bin(arms, measured):
    declared = np.full(arms, 1 / arms)
    dead = np.append(np.full(arms - 1, 1 / (arms - 1)), 0.0)
    found = delays(flat(100), declared, dead, declared, 1000, 16)
    measured(f"one of {arms} arms dead, 100/h", "1 bin", f"{np.quantile(found, 0.99):.0f} bin (99 %)")
    assert np.quantile(found, 0.99) == 1


def test_half_of_a_rare_arm_missing_is_found(measured):
    declared = np.array([0.99, 0.01])
    median, most = percentiles(delays(flat(1000), declared, (0.995, 0.005), declared, 1000, 17))
    measured("99/1 to 0.5 % from day 5, 1000/h", "median <= 14 h", f"{median:.0f} h (90 %: {most:.0f} h)")
    assert median <= 14


@pytest.mark.parametrize(("share", "hours_after"), [(0.45, 0), (0.45, 48), (0.48, 0)])
def test_the_change_point_interval_covers_the_true_hour(share, hours_after, measured):
    """At the alarm itself (0), and two days later."""
    covered = 0
    runs, periods = 400, [Period(0, HALVES)]
    served = from_hour(120, HALVES, (1 - share, share))
    for counts in draws(flat(1000), served, runs, seed=18):
        alarms = log_e_values(counts, periods) >= -np.log(0.001)
        for one, alarm in zip(counts, alarms, strict=True):
            detected = int(alarm.argmax())
            change = find_change(one[: detected + 1 + hours_after], periods, "ct", detected)
            covered += change.earliest <= 120 <= change.latest
    measured(
        f"change point of {share} covered, {hours_after} h after the alarm", ">= .90", f"{covered / runs:.3f}"
    )
    assert covered / runs >= 0.90


def test_a_fleet_of_500_keeps_its_false_discovery_rate(measured):
    """14 nights, 1 % faulty at .49, 20,000 new units a night, 100 repetitions; any night counts."""
    repetitions, flags, faulty = 100, 500, 5
    share = np.full(flags, 0.5)
    share[:faulty] = 0.49
    random = np.random.default_rng(19)
    proportions, found_all, naive = [], 0, []
    for _ in range(repetitions):
        treated = random.binomial(20_000, share[:, None], size=(flags, 14)).astype(float)
        counts = np.stack([treated, 20_000 - treated], axis=2)
        evidence = log_e_values(counts, [Period(0, HALVES)])
        distance = (2 * treated.cumsum(axis=1) - 20_000 * np.arange(1, 15)) ** 2 / (20_000 * np.arange(1, 15))
        nightly = np.any([false_discovery_control(p) <= 0.05 for p in chdtrc(1, distance).T], axis=0)
        naive.append(nightly[faulty:].sum() / max(nightly.sum(), 1))
        reported = np.any([e_bh(evidence[:, night]) for night in range(14)], axis=0)
        proportions.append(reported[faulty:].sum() / max(reported.sum(), 1))
        found_all += int(reported[:faulty].sum())
    rate, power = float(np.mean(proportions)), found_all / (repetitions * faulty)
    measured("500 flags x 14 nights, 1 % faulty, e-BH", "FDR <= .05, power 1", f"{rate:.4f}, {power:.3f}")
    measured("the same, BH on nightly p-values", "(what e-BH avoids)", f"{np.mean(naive):.2f}")
    assert np.mean(naive) > 0.1
    assert rate <= 0.05
    assert power == 1.0
