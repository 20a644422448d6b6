"""A flag judged night by night, from what was carried, has the verdicts of the whole computation."""

from dataclasses import replace
from datetime import timedelta
from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exd_dagster.bins.model import FlagBins, FlagSegments, Segment
from exd_dagster.config import Event, FlagAudit, Phase, Thresholds
from exd_dagster.stats.audit import FlagVerdicts, audit_flag
from exd_dagster.stats.carried import SETTLED, Carried
from exd_dagster.stats.checks import CHECKS
from tests.stats.build import START, bins_of, flag, hours, seasonal_units

DAY = 24
SPLIT = {"control": 0.5, "treatment": 0.5}


def history(seed: int, days: int, hourly: float = 60.0) -> FlagBins:
    """Bins with a rhythm, first exposures that fade, and active units."""
    random = np.random.default_rng(seed)
    active = np.stack([seasonal_units(seed + i, days, hourly) for i in (1, 2)], axis=1)
    return bins_of(random.binomial(active, 0.4), units=active)


def by_browser(bins: FlagBins) -> FlagSegments:
    """The first exposures of bins by browser; a new one comes on the twentieth day."""
    hour = np.arange(len(bins))[:, None]
    first = bins.new_units * (50 + hour * 7 % 20) // 100
    new = (bins.new_units - first) * (20 + hour * 3 % 10) // 100 * (hour >= 20 * DAY)
    counts = np.stack([first, new, bins.new_units - first - new])
    names = tuple(Segment("browser", name) for name in ("Chrome", "New", "Safari"))
    return FlagSegments(bins.start, bins.variants, names, counts)


def judged(
    audited: FlagAudit, bins: FlagBins, carried: Carried | None = None, levels: Thresholds | None = None
) -> FlagVerdicts:
    """Judge bins by all checks; a browser of a first exposure depends on its hour and variant alone."""
    return audit_flag(
        audited,
        bins,
        levels or Thresholds(),
        checks=list(CHECKS.values()),
        segments=by_browser(bins),
        carried=carried,
    )


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def assert_same(carried: FlagVerdicts, whole: FlagVerdicts) -> None:
    for found, wanted in zip(carried, whole, strict=True):
        one, other = found.as_metadata(), wanted.as_metadata()
        differing = {key: (one[key], other[key]) for key in other if not same(one[key], other[key])}
        assert not differing, (found.check, differing)


def with_fault(bins: FlagBins, kind: str, first: int, length: int) -> FlagBins:
    """Bins with one arm, or everything, lost in some hours, or hours that did not land."""
    span = slice(first, first + length)
    new, active, delivered = bins.new_units.copy(), bins.units.copy(), bins.delivered.copy()
    if kind == "split":
        new[span, 1] //= 2
    if kind == "traffic":
        new[span] //= 10
        active[span] //= 10
    if kind == "arm":
        active[span, 1] //= 10
    if kind == "gap":
        new[span], active[span], delivered[span] = 0, 0, False
    return replace(bins, new_units=new, units=active, evaluations=active, delivered=delivered)


def phases(first: int, second: int) -> list[Phase]:
    return [
        Phase(start=START, split={"control": 0.9, "treatment": 0.1}),
        Phase(start=hours(first), split=SPLIT),
        Phase(start=hours(second), split={"control": 0.4, "treatment": 0.6}),
    ]


FLAGS = st.sampled_from(["plain", "phases", "event", "clock"])


def declared(kind: str, changed: int) -> FlagAudit:
    if kind == "phases":
        return FlagAudit(key="checkout", start=START, phases=phases(15 * DAY + 5, changed * DAY + 7))
    if kind == "event":
        day = hours(changed * DAY)
        return flag(events=[Event(start=day, end=day + timedelta(hours=20), note="sale")])
    if kind == "clock":
        return flag(timezone="Europe/Berlin")
    return flag()


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    hourly=st.sampled_from([1.5, 12.0, 60.0]),
    kind=FLAGS,
    changed=st.integers(22, 45),
    fault=st.sampled_from(["none", "none", "split", "traffic", "arm", "gap"]),
    at=st.integers(14 * DAY, 55 * DAY),
    length=st.integers(1, 60),
    nights=st.lists(st.integers(1, 12), min_size=2, max_size=8),
    late=st.integers(1, 40 * DAY),
)
def test_any_division_into_nights_gives_the_verdicts_of_the_whole(
    seed, hourly, kind, changed, fault, at, length, nights, late
):
    """With faults, gaps, phases and their uptake, events, clock changes, and records that come late."""
    audited, bins = declared(kind, changed), with_fault(history(seed, 60, hourly), fault, at, length)
    before = replace(bins, new_units=bins.new_units.copy())
    before.new_units[late] = 0  # of this hour the records come before the last night
    known, day = {}, 9
    for night, days in enumerate(nights):
        day = min(day + days, 60)
        log = bins if night == len(nights) - 1 else before
        tonight = log.between(log.start, hours(day * DAY - night))
        carried = Carried(known)
        assert_same(judged(audited, tonight, carried), judged(audited, tonight))
        known = {**known, **carried.saved}


def saved(audited: FlagAudit, bins: FlagBins) -> Carried:
    first = Carried()
    judged(audited, bins, first)
    return Carried(first.saved)


@pytest.fixture(scope="module")
def bins() -> FlagBins:
    return history(7, 50)


def test_a_healthy_flag_goes_on_from_every_state(bins):
    """From those of the split, of traffic, of two arms, of three browsers and their traffic."""
    carried = saved(flag(), bins.between(bins.start, hours(49 * DAY)))
    assert len(carried.known) >= 8
    judged(flag(), bins, carried)
    assert carried.used == carried.known.keys() == carried.saved.keys()


def test_a_night_in_which_no_day_has_settled_saves_nothing(bins):
    carried = saved(flag(), bins)
    judged(flag(), bins, carried)
    assert not carried.saved


def test_bins_laid_out_in_memory_by_variant_go_on_from_those_by_hour(bins):
    """As the store returns them; a test may make them either way."""
    columns = {name: np.asfortranarray(getattr(bins, name)) for name in ("new_units", "units", "evaluations")}
    carried, by_variant = saved(flag(), bins.between(bins.start, hours(49 * DAY))), replace(bins, **columns)
    assert_same(judged(flag(), by_variant, carried), judged(flag(), bins))
    assert carried.used == carried.known.keys()


def test_a_record_in_an_hour_that_was_carried_is_counted(bins):
    carried = saved(flag(), bins)
    later = replace(bins, new_units=bins.new_units.copy(), units=bins.units.copy())
    later.new_units[100, 0] += 1
    later.units[100, 0] += 1
    whole = judged(flag(), later)
    assert_same(judged(flag(), later, carried), whole)
    assert not any(name in carried.used for name in ("sequential_srm", "traffic_drop hours"))


def test_a_record_in_an_hour_that_is_not_settled_leaves_the_states_of_use(bins):
    carried = saved(flag(), bins)
    later = replace(bins, units=bins.units.copy())
    later.units[len(bins) - SETTLED, 0] += 1
    assert_same(judged(flag(), later, carried), judged(flag(), later))
    assert "traffic_drop hours" in carried.used


@pytest.mark.parametrize(
    ("levels", "unused"),
    [
        ({"traffic_drop": {"alarm_level": 1e-3}}, "traffic_drop hours"),
        ({"traffic_drop": {"baseline": "mean"}}, "traffic_drop hours"),
        ({"sequential_srm": {"method": "sprt"}}, "sequential_srm"),
    ],
)
def test_other_thresholds_are_computed_anew(bins, levels, unused):
    carried, other = saved(flag(), bins), Thresholds(**levels)
    assert_same(judged(flag(), bins, carried, other), judged(flag(), bins, levels=other))
    assert unused not in carried.used


@pytest.mark.parametrize(
    "changes", [{"split": {"control": 0.52, "treatment": 0.48}}, {"timezone": "Asia/Tokyo"}]
)
def test_another_declaration_is_computed_anew(bins, changes):
    carried, other = saved(flag(), bins), flag(**changes)
    assert_same(judged(other, bins, carried), judged(other, bins))
    assert len(carried.used) < len(carried.known)


def test_a_failure_is_computed_from_the_first_hour(bins):
    """Its onset lies in hours that were carried while it was not seen yet."""
    broken = with_fault(bins, "split", 47 * DAY - 3, 3 * DAY + 3)
    carried = saved(flag(), broken.between(bins.start, hours(48 * DAY + 12)))
    whole = judged(flag(), broken)
    assert whole.sequential_srm.failed
    assert_same(judged(flag(), broken, carried), whole)
    assert whole.sequential_srm.log_e_values == judged(flag(), broken, carried).sequential_srm.log_e_values


def test_the_hours_of_a_backfill_are_judged_from_the_first(bins):
    carried, day = saved(flag(), bins), (hours(30 * DAY), hours(31 * DAY))
    lost = with_fault(bins, "traffic", 30 * DAY + 4, 12)
    carried = saved(flag(), lost)
    found, whole = (
        audit_flag(flag(), lost, judged=day, carried=states).traffic_drop for states in (carried, None)
    )
    assert whole.failed
    assert same(found.as_metadata(), whole.as_metadata())
