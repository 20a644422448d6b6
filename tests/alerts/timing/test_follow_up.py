"""Reminders and escalation of an open incident, until somebody acknowledges it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from exd_dagster.alerts.channels.email import EMAIL
from exd_dagster.alerts.channels.webhook import WEBHOOK
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.policy.decide import decide
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.incidents import Pace
from exd_dagster.alerts.policy.routes import outbox_entries, read_routes
from tests.alerts.make import HOUR, NOW, check, watching

ROUTES = [{"to": ["a"], "repeat": "4h", "escalate_to": ["pager"], "escalate_after": "30m"}]
CHANNELS = {"a": EMAIL, "pager": WEBHOOK}
MINUTE = timedelta(minutes=1)
STEADY = Pace(4 * HOUR)


def told(hours: float, *decisions: Decision, pace: Pace = STEADY, **changes) -> list[tuple[str, float]]:
    """Every event of a failing check looked at each quarter of an hour, with the hours since it was told."""
    found = [check(**changes)]
    state, events = AlertState(started=True), []
    for quarter in range(int(hours * 4) + 1):
        now = NOW + 15 * quarter * MINUTE
        done = decide(state, found, watching(found[0].flag), now, decisions=decisions, pace=lambda _: pace)
        state = done.state.bump()
        events += [(event.reason, quarter / 4) for event in done.events]
    return events


def acknowledge(after: timedelta, until: timedelta = timedelta(days=2), flags: str = "checkout") -> Decision:
    return Decision(
        kind="acknowledge", flags=flags, reason="looking", by="ana", made_at=NOW + after, until=NOW + until
    )


def test_a_failure_is_repeated_at_the_interval_of_its_route():
    assert told(9) == [("fire", 0), ("remind", 4), ("remind", 8)]


def test_without_an_interval_one_reminder_comes_after_a_day():
    assert told(60, pace=Pace()) == [("fire", 0), ("remind", 24)]


def test_a_failure_that_blocks_nothing_is_not_repeated():
    assert told(9, severity="WARN", mode="warn", would_block=True) == [("fire", 0)]


def test_an_acknowledgement_stops_reminders_until_it_ends():
    assert told(13, acknowledge(HOUR, 9 * HOUR)) == [
        ("fire", 0), ("acknowledge", 1), ("remind", 9), ("remind", 13),
    ]  # fmt: skip


def test_a_close_stops_reminders_as_an_acknowledgement_does_but_not_one_of_an_earlier_incident():
    close = replace(acknowledge(HOUR), kind="close", verdict="false")
    assert told(13, close) == [("fire", 0), ("acknowledge", 1)]
    assert ("remind", 4) in told(5, replace(close, incident="an earlier one"))


def test_others_are_told_once_when_nobody_answered_in_time():
    assert told(3, pace=Pace(None, HOUR)) == [("fire", 0), ("escalate", 1)]


def test_an_acknowledgement_in_time_stops_the_escalation():
    assert told(3, acknowledge(30 * MINUTE), pace=Pace(None, HOUR)) == [("fire", 0), ("acknowledge", 0.5)]


@pytest.mark.parametrize("answer", [acknowledge(-HOUR), acknowledge(30 * MINUTE, flags="other")])
def test_an_acknowledgement_of_an_earlier_incident_or_another_flag_stops_nothing(answer):
    assert told(1, answer, pace=Pace(None, HOUR)) == [("fire", 0), ("escalate", 1)]


def test_nobody_is_told_that_people_slept_through_what_they_could_not_read_yet():
    """The first message waits for the morning; so does the time to answer it."""
    found, pace = [check()], Pace(None, HOUR)
    first = decide(AlertState(started=True), found, watching(found[0].flag), NOW, pace=lambda _: pace)
    routing = read_routes(ROUTES, ["a", "pager"])
    (entry,) = outbox_entries(first.events, first.state, routing, CHANNELS, NOW)
    for held, reasons in ((NOW + 5 * HOUR, []), (None, ["escalate"])):
        state = replace(first.state, outbox=(replace(entry, held_until=held),))
        later = decide(state, found, watching(found[0].flag), NOW + 2 * HOUR, pace=lambda _: pace)
        assert [event.reason for event in later.events] == reasons


def test_an_escalation_tells_the_others_alone_and_the_end_tells_everybody():
    routing = read_routes(ROUTES, ["a", "pager"])
    state, heard = AlertState(started=True), []
    for minutes, verdict in ((0, "fail"), (30, "fail"), (60, "pass")):
        now, found = NOW + minutes * MINUTE, [check(verdict=verdict)]
        done = decide(
            state, found, watching(found[0].flag), now, pace=lambda alert: routing.route(alert).pace
        )
        state = done.state.bump()
        entries = outbox_entries(done.events, state, routing, CHANNELS, now)
        heard.append(sorted((entry.reason, entry.destination) for entry in entries))
    assert heard == [[("fire", "a")], [("escalate", "pager")], [("resolve", "a"), ("resolve", "pager")]]


def test_an_acknowledged_failure_is_told_when_another_check_joins_and_when_it_ends():
    found, state, reasons = [check()], AlertState(started=True), []
    for hours, now_found in (
        (0, found),
        (2, [*found, check("traffic_drop", bad_from="2026-03-04T15:00:00Z")]),
    ):
        done = decide(
            state, now_found, watching(found[0].flag), NOW + hours * HOUR, decisions=[acknowledge(HOUR)]
        )
        state = done.state.bump()
        reasons += [event.reason for event in done.events]
    assert reasons[0] == "fire"
    passing = [check(verdict="pass"), check("traffic_drop", "pass")]
    done = decide(state, passing, watching(found[0].flag), NOW + 3 * HOUR, decisions=[acknowledge(HOUR)])
    assert [event.reason for event in done.events] == ["resolve"]
