"""Traffic by arm and segment: one part gone while the rest holds, and nothing else."""

import json

import numpy as np
import pytest

from exd_dagster.bins.model import FlagSegments, Segment, no_segments
from exd_dagster.config import Phase
from exd_dagster.plots.segments import parts_plot
from exd_dagster.stats.segments.traffic import segment_traffic
from tests.stats.build import START, bins_of, flag, hours, seasonal_units

DAYS = 21
SHARES = {"Chrome": 0.6, "Safari": 0.3, "Firefox": 0.1}


def traffic(seed=3, *, days=DAYS, gone=None, arm=None, whole=None, dimension="browser", shares=SHARES):
    """Return bins and segments of a seasonal flag; (value, hours) of what is gone at the end."""
    random, total = np.random.default_rng(seed), seasonal_units(seed, days, 800)
    if whole:
        total[-whole:] = total[-whole:] // 20
    parts = random.multinomial(total, list(shares.values()))
    if gone:
        parts[-gone[1] :, list(shares).index(gone[0])] = 0
    counts = np.stack([part := random.binomial(parts, 0.5), parts - part], axis=2)
    units = counts.sum(axis=1)
    if arm:
        units[-arm:, 1] = 0
    names = tuple(Segment(dimension, name) for name in shares)
    bins = bins_of(counts.sum(axis=1), units=units)
    return bins, FlagSegments(START, bins.variants, names, np.moveaxis(counts, 1, 0))


def test_a_platform_that_is_gone_while_the_rest_holds_is_named_since_when():
    verdict = segment_traffic(flag(), *traffic(gone=("Safari", 6)))
    assert (verdict.verdict, verdict.severity, verdict.state) == ("fail", "WARN", "ongoing")
    assert (verdict.part, verdict.failing) == ("browser = Safari", ("browser = Safari",))
    assert verdict.bad_from == hours(24 * DAYS - 6)
    assert verdict.sentence.startswith("browser = Safari: traffic fell to 0 % of its share")
    json.dumps(verdict.as_metadata(), allow_nan=False)


def test_the_failing_part_is_the_first_row_and_the_others_keep_their_share_within_what_chance_allows():
    first, *others = segment_traffic(flag(), *traffic(gone=("Safari", 6))).rows
    assert (first.part, first.failed, first.units, first.kept) == ("browser = Safari", True, 0, 0)
    assert (first.bad_from, first.bad_until) == (hours(24 * DAYS - 6), None)
    assert {row.part for row in others} == {
        *("variant = control", "variant = treatment", "browser = Chrome", "browser = Firefox")
    }
    assert not any(row.failed for row in others)
    healthy = segment_traffic(flag(), *traffic()).rows
    assert len(healthy) == 5
    assert all(row.low <= row.kept <= row.high for row in healthy)
    assert all(0.5 < row.low < 1 < row.high < 1.5 for row in healthy)


def test_an_arm_whose_returning_units_are_gone_is_named_though_new_units_are_split_as_declared():
    verdict = segment_traffic(flag(), *traffic(arm=3))
    assert (verdict.verdict, verdict.part) == ("fail", "variant = treatment")


@pytest.mark.parametrize("seed", range(3))
def test_what_happens_to_the_whole_flag_is_no_news_of_a_part(seed):
    verdict = segment_traffic(flag(), *traffic(seed, whole=12))
    assert (verdict.verdict, verdict.parts_tested) == ("pass", 5)


def test_versions_are_left_out_since_releases_move_them():
    verdict = segment_traffic(flag(), *traffic(gone=("Safari", 6), dimension="sdk_version"))
    assert (verdict.verdict, verdict.parts_tested) == ("pass", 2)


def test_a_declared_change_of_the_split_is_no_fall_of_an_arm():
    bins, segments = traffic()
    units = bins.units.copy()
    total = units[-20:].sum(axis=1)
    units[-20:, 1] = total // 10
    units[-20:, 0] = total - units[-20:, 1]
    bins = bins_of(bins.new_units, units=units)
    phases = (Phase(start=hours(24 * DAYS - 20), split={"control": 0.9, "treatment": 0.1}),)
    assert segment_traffic(flag(phases=phases), bins, segments).verdict == "pass"
    assert segment_traffic(flag(), bins, segments).part == "variant = treatment"


def test_hours_before_the_newest_split_say_nothing_of_an_arm():
    """An arm was raised from 10 % to 50 % a fortnight ago: its share of the weeks before is no baseline."""
    bins, segments = traffic(days=28)
    units, total = bins.units.copy(), bins.units.sum(axis=1)
    early = slice(0, 24 * 12)
    units[early, 1] = total[early] // 10
    units[early, 0] = total[early] - units[early, 1]
    units[-6:, 1] = units[-6:, 1] // 4  # far below half, and above a tenth
    bins = bins_of(bins.new_units, units=units)
    phases = (Phase(start=hours(24 * 12), split={"control": 0.5, "treatment": 0.5}),)
    even = flag(split={"control": 0.9, "treatment": 0.1}, phases=phases)
    assert segment_traffic(even, bins, segments).part == "variant = treatment"


def test_a_value_that_another_one_replaces_fades_and_is_no_fault():
    """A release that is replaced loses a quarter of its share every day, from the third week on."""
    random, day = np.random.default_rng(2), np.arange(24 * 28) // 24
    share = 0.6 * 0.75 ** np.maximum(day - 18, 0)
    units = seasonal_units(5, 28, 800)
    old = random.binomial(units, share)
    counts = np.stack([np.stack([part // 2, part - part // 2], axis=1) for part in (old, units - old)])
    names = (Segment("app_version", "1.0"), Segment("app_version", "2.0"))
    bins = bins_of(counts.sum(axis=0))
    for night in range(18, 29):
        verdict = segment_traffic(
            flag(), bins.between(START, hours(24 * night)), FlagSegments(START, bins.variants, names, counts)
        )
        assert "app_version = 1.0" not in verdict.failing


@pytest.mark.parametrize("days", [1, 3, 6])
def test_an_outage_of_days_goes_on_failing(days):
    verdict = segment_traffic(flag(), *traffic(days=28, gone=("Safari", 24 * days)))
    assert (verdict.verdict, verdict.state, verdict.part) == ("fail", "ongoing", "browser = Safari")


def arm_alarms(day: int, night: int, part: int, flags: int = 20) -> int:
    """Return of how many healthy flags an arm fails at any hour, beside one that sleeps from 0 to 6."""
    random, length, alarms = np.random.default_rng(1), 24 * DAYS, 0
    for _ in range(flags):
        other = random.poisson(np.where(np.arange(length) % 24 < 6, night, day))
        units = np.stack([random.poisson(part, length), other], axis=1)
        bins = bins_of(units)
        found = segment_traffic(flag(), bins, no_segments(bins), judged=(START, bins.audited_through))
        alarms += "variant = control" in found.failing
    return alarms


def test_a_rest_of_few_units_widens_what_chance_allows():
    """By night the rest has some ten units, whose chance the days, of 800, do not show."""
    assert arm_alarms(day=800, night=12, part=1000) <= 1


def test_hours_in_which_the_rest_has_hardly_a_unit_are_not_compared_with_it():
    assert arm_alarms(day=2000, night=4, part=20_000, flags=40) <= 1


def test_before_hour_240_it_learns_and_a_flag_of_one_part_is_skipped():
    assert segment_traffic(flag(), *traffic(days=10)).verdict == "insufficient"
    bins, segments = traffic(shares={"all": 1.0})
    assert segment_traffic(flag(split={"treatment": 1.0}), bins, segments).verdict == "skipped"


@pytest.mark.parametrize("share", [0.0003, 0.0006, 0.001, 0.002])
@pytest.mark.parametrize("days", [11, 12, 14])
def test_a_part_of_which_too_few_hours_tell_its_variation_has_no_row(share, days):
    """A picture and strict JSON know no NaN; a row without an interval would end the audit of its flag."""
    shares = {"Chrome": 1 - share, "Safari": share}
    verdict = segment_traffic(flag(), *traffic(days=days, shares=shares))
    assert all(np.isfinite([row.kept, row.low, row.high]).all() for row in verdict.rows)
    json.dumps(verdict.as_metadata(), allow_nan=False)
    parts_plot(verdict)
