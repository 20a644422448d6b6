"""The anytime-valid tests, their state, and what they say of a fault."""

import json

import numpy as np
import pytest

from exd_dagster.errors import InputError
from exd_dagster.stats import EvidenceState, sequential_srm_test, sprt_by_unit
from exd_dagster.stats.inputs import Period
from exd_dagster.stats.methods.combined import log_e_values
from tests.stats.build import HALVES, draw

SKEWED = {"control": 0.55, "treatment": 0.45}


def fold(state: EvidenceState, bins) -> tuple[EvidenceState, list[float]]:
    series = []
    for row in np.asarray(bins).tolist():
        state = state.update(row)
        series.append(state.log_e_value)
    return state, series


@pytest.mark.parametrize(
    "split",
    [HALVES, {"a": 0.99, "b": 0.01}, {"a": 0.5, "b": 0.3, "c": 0.2}, dict.fromkeys("abcdefghij", 0.1)],
)
def test_bin_by_bin_equals_all_bins_at_once(split):
    bins = draw(3, 200, (60, split))
    bins[10:14] = 0
    state, series = fold(EvidenceState.begin(split), bins)
    batch = sequential_srm_test(bins, split)
    assert series == pytest.approx(batch.log_e_values, abs=1e-9)
    assert state.max_log_e_value == pytest.approx(batch.max_log_e_value, abs=1e-9)


def test_bin_by_bin_equals_all_bins_at_once_across_phases():
    nine_to_one = {"control": 0.9, "treatment": 0.1}
    bins = draw(3, 200, (30, nine_to_one), (30, HALVES))
    state, before = fold(EvidenceState.begin(nine_to_one), bins[:30])
    _, after = fold(state.next_phase(HALVES), bins[30:])
    batch = sequential_srm_test(bins, [(0, nine_to_one), (30, HALVES)])
    assert before + after == pytest.approx(batch.log_e_values, abs=1e-9)


def test_a_stored_state_continues_where_it_stopped():
    bins = draw(3, 200, (40, HALVES))
    state, _ = fold(EvidenceState.begin(HALVES), bins[:20])
    text = json.dumps(state.as_metadata(), allow_nan=False)
    restored = EvidenceState.from_metadata(json.loads(text))
    assert len(text) < 1500
    assert fold(restored, bins[20:])[1] == fold(state, bins[20:])[1]
    begun = EvidenceState.from_metadata(json.loads(json.dumps(EvidenceState.begin(HALVES).as_metadata())))
    assert fold(begun, bins)[1] == fold(EvidenceState.begin(HALVES), bins)[1]


def test_late_data_is_replayed_from_the_bin_it_changes():
    bins = draw(3, 200, (40, HALVES))
    kept = [EvidenceState.begin(HALVES)]
    for row in bins.tolist():
        kept.append(kept[-1].update(row))
    bins[25, 0] += 7
    _, replayed = fold(kept[25], bins[25:])
    assert replayed[-1] == pytest.approx(sequential_srm_test(bins, HALVES).log_e_value, abs=1e-9)


def test_the_change_point_names_the_bin_and_both_splits():
    found = sequential_srm_test(draw(2, 1000, (120, HALVES), (20, SKEWED)), HALVES)
    change = found.change
    assert found.change_point == change.bin
    assert change.earliest <= 120 <= change.latest
    assert abs(change.bin - 120) <= 1
    assert change.before["treatment"] == pytest.approx(0.5, abs=0.005)
    assert change.after["treatment"] == pytest.approx(0.45, abs=0.01)
    assert found.state == "ongoing"
    assert found.first_crossing >= 120


def test_a_second_fault_after_a_healed_one_is_ongoing():
    bins = draw(2, 1000, (48, HALVES), (24, SKEWED), (72, HALVES), (24, SKEWED))
    found = sequential_srm_test(bins, HALVES)
    assert found.state == "ongoing"
    assert abs(found.change_point - 48) <= 1


def test_the_confidence_sequence_covers_the_share_and_shrinks():
    found = sequential_srm_test(draw(2, 1000, (120, HALVES)), HALVES)
    early = sequential_srm_test(draw(2, 1000, (120, HALVES))[:5], HALVES)
    low, high = found.confidence_sequence["treatment"]
    assert low < 0.5 < high
    assert high - low < early.confidence_sequence["treatment"][1] - early.confidence_sequence["treatment"][0]


def test_the_anytime_p_value_never_rises():
    bins = draw(2, 1000, (30, SKEWED))
    values = [sequential_srm_test(bins[:t], HALVES).anytime_p_value for t in range(1, 30)]
    assert values == sorted(values, reverse=True)


def test_trillions_of_units_stay_finite():
    found = sequential_srm_test([[5e11, 5e11], [6e11, 4e11]], HALVES)
    assert np.isfinite(found.log_e_values).all()
    assert found.verdict == "fail"


def test_units_of_a_variant_without_a_share_are_not_tested():
    bins = np.hstack([draw(2, 1000, (30, HALVES)), np.full((30, 1), 50)])
    with_off = sequential_srm_test(bins, HALVES | {"off": 0.0})
    assert with_off.verdict == "pass"


@pytest.mark.parametrize("treated", [0, 1])
def test_the_unit_by_unit_test_stops_at_the_known_index(treated):
    path = sprt_by_unit([treated] * 200)
    assert path.stopped_index == 135
    assert path.log_likelihood_ratios[135] == pytest.approx(4.640889, abs=1e-6)
    assert path.log_likelihood_ratios[134] == pytest.approx(4.601669, abs=1e-6)


def test_sprt_of_bins_equals_sprt_of_units_at_every_bin_end():
    random = np.random.default_rng(4)
    treated = random.random(3000) < 0.52
    edges = np.arange(100, 3001, 100)
    ones = np.add.reduceat(treated.astype(int), edges - 100)
    found = sequential_srm_test(np.stack([100 - ones, ones], axis=1), HALVES, method="sprt")
    units = sprt_by_unit(treated).log_likelihood_ratios[edges - 1]
    assert found.log_e_values == pytest.approx(units.tolist(), rel=1e-9)


def test_log_e_values_of_many_flags_at_once_are_those_of_each():
    flags = np.stack([draw(seed, 300, (50, HALVES)) for seed in range(5)]).astype(float)
    periods = [Period(0, np.array([0.5, 0.5]))]
    together = log_e_values(flags, periods)
    for i, one in enumerate(flags):
        assert together[i] == pytest.approx(log_e_values(one, periods), abs=1e-12)


@pytest.mark.parametrize(
    ("bins", "expected", "options", "reported"),
    [
        ([[1, -2]], HALVES, {}, "new_units\\[0\\]\\[1\\] is -2"),
        ([[1, 0.5]], HALVES, {}, "is 0.5"),
        ([[1, float("nan")]], HALVES, {}, "is nan"),
        ([[1, 2, 3]], HALVES, {}, "3 columns, expected names 2"),
        ([1, 2], HALVES, {}, "2 axes"),
        ([[1, 2]], {"a": 0.7, "b": 0.7}, {}, "sum to 1.4"),
        ([[1, 2]], HALVES, {"method": "wald"}, "method 'wald' is not known"),
        ([[1, 2]], HALVES, {"alpha": 0}, "alpha is 0"),
        ([[1, 2]], HALVES, {"delta": 0.7}, "delta is 0.7"),
        ([[1, 2]], [(3, HALVES)], {}, "begin with bin 0"),
    ],
)
def test_unusable_input_is_refused_with_its_value(bins, expected, options, reported):
    with pytest.raises(InputError, match=reported):
        sequential_srm_test(bins, expected, **options)


@pytest.mark.parametrize("bins", [[], [[0, 0]], [[1, 0]]])
def test_empty_and_single_bins_give_a_verdict(bins):
    found = sequential_srm_test(bins, HALVES)
    assert found.verdict in ("insufficient", "pass")
    json.dumps(found.as_metadata(), allow_nan=False)


def test_the_sprt_refuses_a_shift_beyond_the_share():
    with pytest.raises(InputError, match="treatment_share"):
        sprt_by_unit([0, 1], 0.01)


def test_a_fault_in_an_earlier_phase_is_reported_against_that_phase():
    nine_to_one, eight_to_two = {"control": 0.9, "treatment": 0.1}, {"control": 0.8, "treatment": 0.2}
    bins = draw(2, 1000, (24, nine_to_one), (24, eight_to_two), (200, HALVES))
    found = sequential_srm_test(bins, [(0, nine_to_one), (48, HALVES)])
    assert found.state == "contained"
    assert found.change.declared == pytest.approx(nine_to_one)
    assert "10 % declared" in found.sentence


def test_no_bins_of_a_ramp_are_a_verdict():
    assert sequential_srm_test([], [(0, {"a": 0.9, "b": 0.1}), (5, {"a": 0.5, "b": 0.5})]).n == 0
