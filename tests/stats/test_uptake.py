"""While clients take up a declared change, any mixture of the new split and the one before is as declared."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from math import exp

import numpy as np
import pytest

from exd_dagster.bins.model import Fact, Facts, FlagSegments, Segment
from exd_dagster.config import Phase, Thresholds
from exd_dagster.stats import EvidenceState, audit_flag
from exd_dagster.stats.checks.variant_integrity import variant_integrity
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.methods.mixture import nearest
from exd_dagster.stats.methods.restart import component_count, mixture_log_ratios
from exd_dagster.stats.window import phase_hours, split_window
from exd_dagster.stats.window import tested_counts as counts_of_segments
from tests.stats.build import HALVES, START, bins_of, draw, flag, hours

NINE_TO_ONE = {"control": 0.9, "treatment": 0.1}
PAIRS = [
    ((0.5, 0.5), (0.9, 0.1)),
    ((0.5, 0.5), (1.0, 0.0)),
    ((0.01, 0.99), (0.99, 0.01)),
    ((0.4, 0.4, 0.2), (0.5, 0.5, 0.0)),
    ((1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0)),
    ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)),
    ((0.25, 0.25, 0.25, 0.25), (0.7, 0.1, 0.2, 0.0)),
]


def mixtures(shares, replaced, steps=1001):
    weight = np.linspace(0, 1, steps)[:, None]
    return (1 - weight) * np.array(shares) + weight * np.array(replaced)


@pytest.mark.parametrize(("shares", "replaced"), PAIRS)
def test_no_mixture_of_a_grid_explains_counts_better_than_the_nearest_one(shares, replaced):
    random = np.random.default_rng(1)
    possible = np.add(shares, replaced) > 0
    weights = random.integers(0, 1000, (200, len(shares))) * possible
    found = nearest(weights.astype(float), np.array(shares), np.array(replaced))

    def log_likelihood(split):
        logs = np.log(np.maximum(split, 1e-300))
        return np.where(weights > 0, weights * logs, 0).sum(axis=1)

    best = np.max([log_likelihood(split) for split in mixtures(shares, replaced)], axis=0)
    assert (log_likelihood(found) >= best - 1e-9).all()
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(("shares", "replaced"), PAIRS)
def test_a_unit_bets_at_most_fairly_under_every_mixture_and_gains_outside(shares, replaced):
    ratios = np.exp(mixture_log_ratios(np.array(shares), np.array(replaced)))
    assert ratios.shape == (len(shares), component_count(len(shares)))
    assert (mixtures(shares, replaced) @ ratios <= 1 + 1e-12).all()
    lost = np.append(np.zeros(len(shares) - 1), 1.0)  # every unit is served one arm
    assert (lost @ ratios > 1).any() == (0 < max(shares[-1], replaced[-1]) < 1)


@pytest.mark.parametrize("weights", [(0, 0, 0), (0, 0.5, 1), (1, 1, 1), (0.3, 0.3, 0.3), (1, 0, 0.2)])
@pytest.mark.parametrize("method", ["combined", "sprt"])
def test_the_expected_e_value_is_at_most_one_whatever_split_each_unit_is_served(weights, method):
    """Every way one unit an hour can go before, in three hours of, and after the uptake of a ramp."""
    old, new = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    periods = [Period(0, old), Period(1, new, old), Period(4, new)]
    served = [old, *(w * old + (1 - w) * new for w in weights), new]
    total = 0.0
    for arms in product(range(3), repeat=5):
        counts = np.eye(3)[list(arms)]
        chance = np.prod([split[arm] for split, arm in zip(served, arms, strict=True)])
        total += chance * exp(log_e_values(counts, periods, method=method)[-1])
    assert total <= 1 + 1e-9


def test_what_was_gathered_before_a_change_is_kept_while_it_is_taken_up():
    """Half way between both splits is likely under no component; only the units in between may not count."""
    old, new = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    counts = draw(3, 1000, (40, {"a": 0.89, "b": 0.11})).astype(float)
    between = np.tile([700.0, 300.0], (3, 1))
    with_uptake = log_e_values(np.concatenate([counts, between]), [Period(0, old), Period(40, new, old)])
    assert with_uptake[-1] == pytest.approx(with_uptake[39], abs=0.05)


def test_bin_by_bin_equals_all_bins_at_once_while_a_change_is_taken_up():
    bins = draw(3, 200, (30, NINE_TO_ONE), (3, {"a": 0.6, "b": 0.4}), (3, {"a": 1.0, "b": 0.0}), (30, HALVES))
    state, series = EvidenceState.begin(NINE_TO_ONE), []
    for number, row in enumerate(bins.tolist()):
        if number == 30:
            state = state.next_phase(HALVES, replaced=NINE_TO_ONE)
        if number == 36:
            state = state.next_phase(HALVES)
        state = EvidenceState.from_metadata(state.as_metadata()).update(row)
        series.append(state.log_e_value)
    one, other = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    batch = log_e_values(bins.astype(float), [Period(0, one), Period(30, other, one), Period(36, other)])
    assert series == pytest.approx(batch.tolist(), abs=1e-9)


def late(hourly, before, after, begins, lag, through=20, seed=1):
    """Hourly counts of clients that each follow a change at hour `begins` within `lag` hours of it."""
    random = np.random.default_rng(seed)
    at = random.uniform(0, through, int(hourly * through))
    new = at - begins > random.uniform(0, 1, len(at)) * max(lag, 1e-12)
    draws = random.random(len(at))
    edges = [np.cumsum(list(split.values())) for split in (before, after)]
    arm = np.where(new, np.searchsorted(edges[1], draws), np.searchsorted(edges[0], draws))
    counts = np.zeros((through, len(before)), dtype=int)
    np.add.at(counts, (at.astype(int), np.minimum(arm, len(before) - 1)), 1)
    return counts


CHANGES = {
    "ramp": (NINE_TO_ONE, HALVES),
    "ramp down": (HALVES, NINE_TO_ONE),
    "from 0 %": ({"control": 1.0, "treatment": 0.0}, HALVES),
    "to 0 %": (HALVES, {"control": 1.0, "treatment": 0.0}),
    "to 99/1": (HALVES, {"control": 0.99, "treatment": 0.01}),
    "three arms": ({"a": 0.8, "b": 0.1, "c": 0.1}, {"a": 0.2, "b": 0.4, "c": 0.4}),
    "an arm more": ({"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.3, "b": 0.3, "c": 0.4}),
}


@pytest.mark.parametrize("rerandomized", [False, True])
@pytest.mark.parametrize("begins", [8.0, 8.4, 19.0])
@pytest.mark.parametrize("name", CHANGES)
def test_clients_that_follow_a_change_within_its_uptake_are_no_mismatch(name, begins, rerandomized):
    before, after = CHANGES[name]
    phase = Phase(start=hours(begins), split=after, rerandomized=rerandomized)
    counts = late(20_000, before, after, begins, 1.0)
    bins = bins_of(counts, tuple(before))
    audit = audit_flag(flag(split=before, phases=(phase,)), bins)
    assert not audit.srm.failed, audit.srm.sentence
    assert not audit.sequential_srm.failed, audit.sequential_srm.sentence
    assert not audit.blocking


def test_without_an_uptake_the_same_clients_are_a_mismatch():
    at_once = (Phase(start=hours(8), split=HALVES, uptake="0m"),)
    counts = late(20_000, NINE_TO_ONE, HALVES, 8, 1.0)
    assert audit_flag(flag(split=NINE_TO_ONE, phases=at_once), bins_of(counts)).srm.severity == "ERROR"


def test_clients_later_than_the_uptake_are_a_mismatch_dated_after_it():
    counts = late(20_000, NINE_TO_ONE, HALVES, 8, 4.0)
    ramp = flag(split=NINE_TO_ONE, phases=(Phase(start=hours(8), split=HALVES),))
    found = audit_flag(ramp, bins_of(counts)).sequential_srm
    assert (found.verdict, found.state, found.bad_from) == ("fail", "contained", hours(9))
    patient = flag(split=NINE_TO_ONE, phases=ramp.phases, uptake="4h")
    assert not audit_flag(patient, bins_of(counts)).failed


def test_several_ramps_in_a_day_each_have_an_uptake():
    """The first two within one hour: there, any mixture of three splits is served."""
    one, two, three, four = ({"control": 1 - b, "treatment": b} for b in (0.01, 0.1, 0.25, 0.5))
    counts = late(20_000, three, four, 12, 0.5)
    counts[:6] = draw(2, 20_000, (6, one))
    counts[6:8] = [17_000, 3_000], [15_500, 4_500]
    phases = [Phase(start=hours(at), split=split) for at, split in ((6, two), (6.5, three), (12, four))]
    audit = audit_flag(flag(split=one, phases=phases), bins_of(counts))
    assert (audit.srm.verdict, audit.sequential_srm.verdict) == ("pass", "pass")


@pytest.mark.parametrize("begins", [8.0, 8.5])
def test_an_arm_that_dies_while_a_change_is_taken_up_is_found_in_that_hour(begins):
    phase = Phase(start=hours(begins), split=HALVES)
    counts = draw(3, 5000, (8, NINE_TO_ONE), (1, {"control": 1.0, "treatment": 0.0}))
    found = audit_flag(flag(split=NINE_TO_ONE, phases=(phase,)), bins_of(counts)).sequential_srm
    assert (found.verdict, found.bad_from, found.state) == ("fail", hours(8), "ongoing")
    assert found.change.after == {"control": 1.0, "treatment": 0.0}


def test_a_fault_after_a_healthy_change_is_not_dated_at_the_change():
    skewed = {"control": 0.55, "treatment": 0.45}
    counts = np.concatenate([late(5000, NINE_TO_ONE, HALVES, 8, 0.9), draw(4, 5000, (6, skewed))])
    ramp = flag(split=NINE_TO_ONE, phases=(Phase(start=hours(8), split=HALVES),))
    for verdict in list(audit_flag(ramp, bins_of(counts)))[:2]:
        assert verdict.bad_from == hours(20)
        assert verdict.usable_until >= hours(18)


def test_a_new_iteration_does_not_answer_for_clients_that_are_still_in_the_one_before():
    """The arm that died before is served on for half an hour; the new iteration is healthy."""
    dead = {"control": 1.0, "treatment": 0.0}
    again = (Phase(start=hours(8), split=HALVES, rerandomized=True),)
    audit = audit_flag(flag(phases=again), bins_of(late(5000, dead, HALVES, 8, 0.5)))
    assert (audit.srm.verdict, audit.sequential_srm.verdict) == ("pass", "pass")


def test_the_verdict_says_how_many_hours_a_change_took_and_until_when_clients_may_follow():
    ramp = flag(split=NINE_TO_ONE, phases=(Phase(start=hours(8.5), split=HALVES, uptake="2h"),))
    counts = late(5000, NINE_TO_ONE, HALVES, 8.5, 1.0)
    for verdict in list(audit_flag(ramp, bins_of(counts[:10])))[:2]:
        assert (verdict.uptake_hours, verdict.uptake_until) == (2, hours(10.5))
        assert "clients may take until 2026-03-01 10:30 UTC to follow the change of" in verdict.sentence
    for verdict in list(audit_flag(ramp, bins_of(counts)))[:2]:
        assert (verdict.uptake_hours, verdict.uptake_until) == (3, None)
        assert "clients" not in verdict.sentence
    assert audit_flag(ramp, bins_of(counts)).srm.n == counts.sum() - counts[8:11].sum()


def test_a_phase_with_the_same_split_costs_no_hour():
    same = flag(phases=(Phase(start=hours(8.5), split=HALVES),))
    assert split_window(same, bins_of(draw(1, 100, (20, HALVES)))).steady.all()


def test_what_is_said_of_a_fault_is_said_of_the_phase_that_it_began_in():
    """Its split, and the hours in which every unit was served that split."""
    phases = (Phase(start=hours(10.5), split=HALVES), Phase(start=hours(20), split=NINE_TO_ONE))
    ramp = flag(split=NINE_TO_ONE, phases=phases)
    assert phase_hours(ramp, hours(5), hours(24)) == (ramp.schedule[0], START, hours(10.5))
    assert phase_hours(ramp, hours(10), hours(24)) == (phases[0], hours(10), hours(20))
    assert phase_hours(ramp, hours(14), hours(24)) == (phases[0], hours(12), hours(20))
    assert phase_hours(ramp, hours(14), hours(16)) == (phases[0], hours(12), hours(16))


def test_a_change_on_the_hour_without_uptake_has_the_periods_of_its_phases():
    ramp = flag(split=NINE_TO_ONE, phases=(Phase(start=hours(8), split=HALVES),), uptake=timedelta(0))
    window = split_window(ramp, bins_of(draw(1, 100, (20, HALVES))))
    assert [(s.first, s.shares.tolist(), s.replaced) for s in window.periods] == [
        (0, [0.9, 0.1], None),
        (8, [0.5, 0.5], None),
    ]


def test_hours_in_which_three_splits_may_be_served_are_left_out():
    tenth, third = {"control": 0.9, "treatment": 0.1}, {"control": 0.7, "treatment": 0.3}
    phases = (Phase(start=hours(8), split=third), Phase(start=hours(8.5), split=HALVES))
    window = split_window(flag(split=tenth, phases=phases), bins_of(np.full((20, 2), 50)))
    assert np.flatnonzero(window.counts.sum(axis=1) == 0).tolist() == [8]
    assert np.flatnonzero(~window.steady).tolist() == [8, 9]
    assert window.start == START


def test_of_two_arms_each_direction_bets_against_the_nearer_end():
    ratios = mixture_log_ratios(np.array([0.5, 0.5]), np.array([0.9, 0.1]))
    up, down = 0.9 * np.exp(2) / (0.1 + 0.9 * np.exp(2)), np.exp(-2) / (1 + np.exp(-2))
    assert ratios[:, -2] == pytest.approx(np.log([up / 0.9, (1 - up) / 0.1]), abs=1e-9)
    assert ratios[:, -1] == pytest.approx(np.log([down / 0.5, (1 - down) / 0.5]), abs=1e-9)


def test_a_fault_within_a_long_uptake_is_dated_at_its_first_hour_though_found_later():
    phase = Phase(start=hours(8), split=HALVES, uptake="12h")
    counts = np.array([[54, 6]] * 8 + [[60, 0]] * 6)
    found = audit_flag(flag(split=NINE_TO_ONE, phases=(phase,)), bins_of(counts)).sequential_srm
    assert (found.verdict, found.bad_from) == ("fail", hours(8))
    assert found.detected_at > hours(9)


def test_an_arm_that_was_stopped_may_be_served_within_the_uptake_and_not_after_it():
    stop = Phase(start=hours(8), split={"control": 1.0, "treatment": 0.0})
    served, stopped = {"control": 0.8, "treatment": 0.2}, {"control": 1.0, "treatment": 0.0}
    late_by_an_hour = draw(3, 500, (8, HALVES), (1, served), (5, stopped))
    still = draw(3, 500, (8, HALVES), (6, served))
    healthy = audit_flag(flag(phases=(stop,)), bins_of(late_by_an_hour)).srm
    faulty = audit_flag(flag(phases=(stop,)), bins_of(still)).srm
    assert (healthy.verdict, healthy.zero_share) == ("pass", {})
    assert (faulty.severity, faulty.reason, faulty.bad_from) == ("ERROR", "zero_share_variant", hours(9))
    assert faulty.zero_share == {"treatment": still[9:, 1].sum()}
    reported = variant_integrity(flag(phases=(stop,)), bins_of(still), Thresholds())
    assert (reported.reason, reported.zero_share_units) == ("zero_share_variant", faulty.zero_share)


def test_the_numbers_of_a_verdict_know_the_phases_and_the_uptake():
    ramp = flag(split=NINE_TO_ONE, phases=(Phase(start=hours(8), split=HALVES),))
    before, stale = [[90, 10]] * 8, [[100, 0]]
    now = audit_flag(ramp, bins_of(np.array(before + stale))).sequential_srm
    assert now.confidence_sequence["treatment"] == (0.0, 1.0)  # nothing is known yet of the new split
    later = audit_flag(ramp, bins_of(np.array(before + [[90, 10]] + [[50, 50]] * 9))).sequential_srm
    assert later.expected == pytest.approx({"control": 0.7, "treatment": 0.3})
    dead = np.array([*before, [3000, 0]])
    assert audit_flag(ramp, bins_of(dead)).sequential_srm.change.declared == pytest.approx(NINE_TO_ONE)


def test_units_in_several_variants_of_the_iteration_before_are_not_judged():
    again = flag(phases=(Phase(start=hours(8), split=HALVES, rerandomized=True),))
    seen = Fact(hours(2), "multi_variant_units", "control", 50)
    bins = replace(bins_of(draw(3, 100, (20, HALVES))), facts=Facts.of([seen]))
    assert variant_integrity(flag(), bins, Thresholds()).failed
    assert not variant_integrity(again, bins, Thresholds()).failed
    assert variant_integrity(again, bins, Thresholds()).units == 1100


def test_segments_are_tested_in_the_hours_in_which_the_flag_is():
    """Until clients have followed a new iteration its units are no part of it, in a segment neither."""
    again = flag(phases=(Phase(start=hours(8.5), split=HALVES, rerandomized=True),))
    bins = bins_of(np.full((12, 2), 50))
    units = np.full((1, 4, 2), 5)
    parts = FlagSegments(hours(8), bins.variants, (Segment("browser", "Safari"),), units)
    assert counts_of_segments(again, bins, parts)[0].tolist() == [[0, 0]] * 2 + [[5, 5]] * 2
