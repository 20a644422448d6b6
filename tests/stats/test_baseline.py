"""What an hour expects: earlier weeks, phases, local hours, holidays and events."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from statistics import mean, median
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from exd_dagster.config import Event, FlagAudit, Phase, Thresholds
from exd_dagster.config.calendar import holiday_spans
from exd_dagster.errors import ConfigError
from exd_dagster.stats import audit_flag, traffic_drop_test
from exd_dagster.stats.traffic.baseline import History, cautious, earlier_weeks
from exd_dagster.stats.traffic.levels import Change, levels
from exd_dagster.stats.traffic.seasonal import nothing_declared, scan
from tests.stats.build import HALVES, START, bins_of, flag, hours

DAY = 24


def poisson(seed: int, means: np.ndarray) -> np.ndarray:
    return np.random.default_rng(seed).poisson(means)


def rhythm(days: int, hourly: float = 100.0) -> np.ndarray:
    return hourly * (1 + 0.6 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY))


def traffic(volumes: np.ndarray, start: datetime = START, **declared):
    half = np.asarray(volumes) // 2
    units = np.stack([half, np.asarray(volumes) - half], axis=1)
    return audit_flag(flag(start=start, **declared), bins_of(units, start=start)).traffic_drop


@pytest.mark.parametrize("size", [1.5, 2.2, 3, 10])
@pytest.mark.parametrize(("first", "length"), [(6 * DAY + 9, 3), (6 * DAY, DAY), (5 * DAY, 2 * DAY)])
def test_a_campaign_in_the_only_earlier_week_blocks_nothing(size, first, length):
    means = rhythm(14)
    means[first : first + length] *= size
    assert all(
        traffic_drop_test(poisson(3, means)[:end]).severity != "ERROR"
        for end in range(11 * DAY, 14 * DAY + 1, 6)
    )


def test_the_plain_mean_blocks_after_a_campaign_and_can_be_had_back():
    means = rhythm(14)
    means[6 * DAY : 7 * DAY] *= 3
    volumes = poisson(3, means)
    levels = {"traffic_drop": {"baseline": "mean"}}
    bins = bins_of(np.stack([volumes // 2, volumes - volumes // 2], axis=1))
    assert audit_flag(flag(), bins, Thresholds(**levels)).traffic_drop.severity == "ERROR"
    assert audit_flag(flag(), bins).traffic_drop.severity is None


def test_weeks_that_disagree_by_chance_do_not_delay_the_detection_of_a_fall():
    """A small flag in its second week: as soon as with the plain mean, two hours more at most on average."""
    delays = {"robust": [], "mean": []}
    for seed in range(12):
        means = rhythm(13, 40)
        means[11 * DAY :] *= 0.2
        volumes = poisson(seed, means).astype(float)
        for baseline, found in delays.items():
            declared = replace(nothing_declared(len(volumes)), baseline=baseline)
            seen = scan(volumes, np.ones(len(volumes), bool), 1e-4, declared)
            halved = seen.volumes[1:] <= 0.5 * seen.window_expected[1:]
            blocked = ((seen.p[1:] < 1e-4 / 4) & halved).any(axis=0)[11 * DAY :]
            found.append(int(blocked.argmax()) if blocked.any() else 2 * DAY)
    assert mean(delays["robust"]) <= mean(delays["mean"]) + 2


@pytest.mark.parametrize("judge", [False, True])
def test_an_event_is_not_learned_from_whether_it_is_judged_or_not(judge):
    """Under the plain mean, which a loud week sets: its day makes the expectation, unless it is declared."""
    means = rhythm(21)
    means[13 * DAY : 14 * DAY] *= 4
    levels = Thresholds(traffic_drop={"baseline": "mean"})
    halves = np.stack([poisson(3, means)] * 2, axis=1)

    def expected(**declared) -> float:
        verdict = audit_flag(flag(**declared), bins_of(halves), levels).traffic_drop
        return verdict.scan.expected[20 * DAY :].sum() / (2 * rhythm(1).sum())

    loud = Event(start=hours(13 * DAY), end=hours(14 * DAY), note="newsletter", judge=judge)
    assert expected() == pytest.approx(2.5, rel=0.05)
    assert expected(events=[loud]) == pytest.approx(1, rel=0.05)


def dispersion(seed: int, hourly: float, noise: float, days: int, loud: float = 1, **how) -> np.ndarray:
    """Return phi of the windows of 1, 3 and 6 hours on the last day; days 5 and 6 are loud."""
    means = hourly * (1 + 0.8 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY))
    means *= np.random.default_rng(seed).lognormal(0, noise, days * DAY)
    means[5 * DAY : 7 * DAY] *= loud
    volumes = poisson(seed + 50, means).astype(float)
    declared = replace(nothing_declared(len(volumes)), **how)
    return scan(volumes, np.ones(len(volumes), bool), 1e-4, declared).dispersion[:3, -1]


def test_weeks_that_disagree_by_chance_teach_no_more_variation_than_their_mean():
    ratios = [
        dispersion(seed, 40, 0.15, 13) / dispersion(seed, 40, 0.15, 13, baseline="mean") for seed in range(6)
    ]
    assert np.mean(ratios, axis=0).max() < 1.2


def test_a_loud_week_teaches_no_variation():
    ratios = [dispersion(seed, 200, 0.1, 15, loud=3) / dispersion(seed, 200, 0.1, 15) for seed in range(6)]
    assert np.mean(ratios, axis=0).max() < 1.5


@pytest.mark.parametrize(
    ("code", "zone", "first", "last", "day"),
    [
        ("US", "America/New_York", "2026-11-25T12:00", "2026-11-28T00:00", "Thanksgiving"),
        ("FR", "Europe/Paris", "2025-11-09T12:00", "2025-11-12T00:00", "Armistice"),
        ("US", "America/New_York", "2025-12-31T12:00", "2026-01-03T00:00", "New Year"),
        ("DE", "Europe/Berlin", "2026-05-31T12:00", "2026-05-31T12:00", ""),
    ],
)
def test_a_holiday_has_its_eve_and_the_day_between_it_and_a_weekend(code, zone, first, last, day):
    """On a Thursday, a Tuesday, a Thursday; none is left out around the first of June 2026."""
    begin, end = (datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone)) for at in (first, last))
    spans = holiday_spans((code,), zone, begin, end)
    if not day:
        assert spans == []
        return
    assert [(one, other) for one, other, name in spans if day in name] == [(begin, end)]


@pytest.mark.parametrize("ratio", [0.2, 5, None])
def test_the_first_day_of_another_coverage_is_no_history(ratio):
    """Clients take it up in that day, so its hours are of neither level."""
    volumes = rhythm(20)
    learned = levels(volumes, np.ones(len(volumes), bool), [Change(10 * DAY, ratio)]).learned
    assert np.flatnonzero(~learned).tolist() == list(range(10 * DAY, 11 * DAY))


def test_an_hour_of_two_levels_is_neither_judged_nor_learned_from():
    volumes = rhythm(20)
    changed = levels(volumes, np.ones(len(volumes), bool), [Change(10 * DAY, 0.2, partial=True)])
    assert np.flatnonzero(~changed.judged).tolist() == [10 * DAY - 1]
    assert np.flatnonzero(~changed.learned).tolist() == list(range(10 * DAY - 1, 11 * DAY))


def test_three_weeks_after_a_change_of_level_its_error_adds_to_the_variation():
    volumes = poisson(3, rhythm(30)).astype(float)
    everywhere = np.ones(len(volumes), bool)
    changed = levels(volumes, everywhere, [Change(12 * DAY, 1.5)])
    after = np.arange(len(volumes)) >= 12 * DAY
    np.testing.assert_array_equal(changed.error, np.where(after, 0.1**2, 0.0))
    declared = nothing_declared(len(volumes))
    steady = replace(declared, levels=replace(declared.levels, error=changed.error))
    more = scan(volumes, everywhere, 1e-4, steady).dispersion - scan(volumes, everywhere, 1e-4).dispersion
    np.testing.assert_allclose(more[:, after], 0.1**2)


@pytest.mark.parametrize(
    ("first", "second", "level"), [(3, 3, 3), (3, 2.4, 2.4), (3, 1, 2), (3, 6, 3), (0, 1, 1)]
)
def test_the_second_day_lowers_a_level_by_a_third_at_most_and_a_silent_day_is_none(first, second, level):
    volumes = rhythm(20)
    volumes[10 * DAY : 11 * DAY] *= first
    volumes[11 * DAY : 12 * DAY] *= second
    found = levels(volumes, np.ones(len(volumes), bool), [Change(10 * DAY, None)]).level
    np.testing.assert_allclose(found[12 * DAY :], level)


def brute_force(volumes: list[float], hour: int) -> float:
    """The rule as it is written, hour by hour, for a series without faults and gaps."""
    weeks = [volumes[hour - 168 * j] for j in (1, 2, 3) if hour >= 168 * j]
    if not weeks:
        return float("nan")
    recent = median(volumes[hour - 24 * j] for j in range(1, 8) if hour >= 24 * j)
    if len(weeks) == 1:
        begin = hour // 24 * 24
        known = [range(max(day, 168), day + 24) for day in range(begin - 72, begin, 24)]
        ratios = [[volumes[t] / volumes[t - 168] for t in day] for day in known if day]
        level = min(max(map(median, ratios)), 1) if sum(map(len, ratios)) >= 60 else 1
        return min(weeks[0] * level, recent)
    if max(weeks) <= 1.4 * min(weeks) + 3 * min(weeks) ** 0.5:
        return mean(weeks)
    if len(weeks) == 2:
        return min(weeks)
    return min(median(weeks), mean(a for a in weeks if a <= 1.4 * max(recent, min(weeks))))


@pytest.mark.parametrize("launch", [0, 3])
def test_expectations_are_those_of_the_rule_written_out(launch):
    """The traffic of a launch fades over days: the first week tells no level of the second."""
    random = np.random.default_rng(5)
    means = rhythm(35) * (1 + launch * np.exp(-np.arange(35 * DAY) / (3 * DAY)))
    volumes = random.poisson(means * random.lognormal(0, 0.25, 35 * DAY)).astype(float) + 1
    size = len(volumes)
    history = History(volumes, np.ones(size, bool), np.zeros(size, bool), np.zeros(size, dtype=np.int64))
    for begin in range(0, size, DAY):
        seen = cautious(history, earlier_weeks(history, begin, begin + DAY))
        wanted = [brute_force(volumes.tolist(), hour) for hour in range(begin, begin + DAY)]
        np.testing.assert_allclose(seen, wanted)


@pytest.mark.parametrize("later", [{}, {"rerandomized": True}, {"coverage": 0.2}])
@pytest.mark.parametrize("minutes", [0, 30])
def test_a_declared_cut_of_the_audience_blocks_nothing(later, minutes):
    first = 20 * DAY
    phase = Phase(start=hours(first) + timedelta(minutes=minutes), split=HALVES, **later)
    volumes = poisson(4, rhythm(26) * np.where(np.arange(26 * DAY) >= first, 0.2, 1.0))
    for end in range(first + 1, 26 * DAY, 5):
        assert traffic(volumes[:end], phases=[phase]).severity != "ERROR"


def test_a_loss_beyond_a_declared_cut_is_found_at_once():
    first = 20 * DAY
    means = rhythm(22, 1000) * np.where(np.arange(22 * DAY) >= first, 0.2, 1.0)
    means[first + 6 :] *= 0.2
    phase = Phase(start=hours(first), split=HALVES, coverage=0.2)
    assert traffic(poisson(4, means)[: first + 9], phases=[phase]).severity == "ERROR"


@pytest.mark.parametrize("later", [{}, {"coverage": 0.2}])
def test_silence_after_a_phase_is_found_at_once(later):
    first = 20 * DAY
    volumes = poisson(4, rhythm(21))
    volumes[first + 3 :] = 0
    phase = Phase(start=hours(first), split=HALVES, **later)
    assert traffic(volumes[: first + 6], phases=[phase]).severity == "ERROR"


@pytest.mark.parametrize("days", [1, 2, 5])
def test_silence_that_begins_with_a_phase_stays_a_fault(days):
    """A first day without a unit is not the level of the phase."""
    first = 20 * DAY
    volumes = poisson(4, rhythm(26))
    volumes[first:] = 0
    phase = Phase(start=hours(first), split=HALVES)
    assert traffic(volumes[: first + days * DAY + 3], phases=[phase]).severity == "ERROR"


def test_a_phase_of_unchanged_coverage_hides_no_drop():
    first = 20 * DAY
    volumes = poisson(4, rhythm(21) * np.where(np.arange(21 * DAY) >= first, 0.2, 1.0))
    assert (
        traffic(volumes, phases=[Phase(start=hours(first), split=HALVES, coverage=1.0)]).severity == "ERROR"
    )


def test_a_drop_is_found_once_the_level_of_a_new_phase_is_known():
    first = 20 * DAY
    means = rhythm(24, 1000) * np.where(np.arange(24 * DAY) >= first, 0.2, 1.0)
    means[22 * DAY :] *= 0.3
    assert traffic(poisson(4, means), phases=[Phase(start=hours(first), split=HALVES)]).severity == "ERROR"


def test_a_ramp_that_tells_its_coverage_blocks_nothing_while_clients_take_it_up():
    steps = [(20, 0.1), (22, 0.5), (24, 1.0)]
    share = np.full(28 * DAY, 0.01)
    for day, coverage in steps:
        begin = day * DAY
        share[begin:] = coverage
        share[begin : begin + 6] = np.linspace(share[begin - 1], coverage, 6)
    volumes = poisson(4, rhythm(28, 5000) * share)
    phases = [Phase(start=hours(day * DAY), split=HALVES, coverage=coverage) for day, coverage in steps]
    for end in range(20 * DAY, 28 * DAY, 5):
        assert traffic(volumes[:end], coverage=0.01, phases=phases).severity != "ERROR"


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/New_York", datetime(2026, 11, 1, tzinfo=timezone.utc)),
        ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=timezone.utc)),
        ("Australia/Adelaide", datetime(2026, 4, 5, tzinfo=timezone.utc)),
    ],
)
def test_a_clock_change_blocks_nothing_with_a_time_zone(zone, change):
    start = change - timedelta(days=28)
    local = [(start + timedelta(hours=h)).astimezone(ZoneInfo(zone)) for h in range(34 * DAY)]
    volumes = poisson(
        6, np.array([1000.0 if 9 <= at.hour < 17 and at.weekday() < 5 else 2.0 for at in local])
    )
    looks = range(28 * DAY, 34 * DAY)
    failed = {
        name: sum(traffic(volumes[:end], start, timezone=name).severity is not None for end in looks)
        for name in (zone, "UTC")
    }
    assert failed[zone] == 0 < failed["UTC"]


def test_a_holiday_is_not_judged_and_the_verdict_says_why():
    start = datetime(2026, 10, 29, tzinfo=timezone.utc)
    means = rhythm(29)
    means[28 * DAY :] *= 0.2  # Thanksgiving, 26 November
    volumes = poisson(7, means)
    assert traffic(volumes, start).severity == "ERROR"
    found = traffic(volumes, start, holidays="US")
    assert (found.verdict, found.reason) == ("not_checked", "left_out")
    assert found.sentence == "Not evaluated: holiday (Thanksgiving Day)."


def test_an_event_is_left_out_of_baselines_and_of_judgement():
    means = rhythm(30)
    means[28 * DAY : 28 * DAY + 6] *= 0.1
    volumes = poisson(8, means)[: 28 * DAY + 6]
    event = (hours(28 * DAY), hours(28 * DAY + 6), "maintenance")
    assert traffic(volumes).severity == "ERROR"
    found = traffic(volumes, events=[event])
    assert found.verdict == "pass"
    assert found.sentence.endswith("6 h not evaluated: maintenance.")
    judged = Event(start=event[0], end=event[1], note="load test", judge=True)
    assert traffic(volumes, events=[judged]).severity == "ERROR"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"timezone": "America/NewYork"}, "America/New_York"),
        ({"holidays": "XX"}, "no holidays of 'XX'"),
        ({"holidays": ["DE-QQ"]}, "has no part 'QQ'"),
        ({"events": [(START,)]}, "an event is (from, to, note)"),
        ({"events": [(hours(2), hours(1), "back")]}, "is not after start"),
        ({"coverage": 0}, "greater than 0"),
    ],
)
def test_a_calendar_that_cannot_be_read_is_reported_with_the_fix(wrong, said):
    with pytest.raises(ConfigError) as error:
        FlagAudit(key="a", split=HALVES, start=START, **wrong)
    assert said in str(error.value)
