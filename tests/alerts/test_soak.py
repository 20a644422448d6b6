"""A bad week in seconds (`soak`): nothing is lost, and what comes twice comes after a kill with one id.

For every run 100 flags; for `make check` 500.
"""

import pytest

from tests.alerts.soak import KILLS, Week, soaked


@pytest.fixture(scope="module", params=[100, pytest.param(500, marks=pytest.mark.e2e)])
def week(request: pytest.FixtureRequest) -> Week:
    return soaked(request.param)


def test_the_daemon_was_killed_twenty_times_and_nothing_is_left_waiting(week):
    assert (week.killed, week.office.state.outbox) == (KILLS, ())


def test_every_failing_check_reached_the_webhook(week):
    fired = {(h["details"]["flag"], h["details"]["check"]) for h in week.hooks if h["reason"] == "fire"}
    assert fired == week.planted


@pytest.mark.parametrize("destination", ["slack", "email", "web", "callback"])
def test_every_incident_was_reported_on_every_destination_that_recovers(week, destination):
    reported = {
        row.flag.key
        for row in week.office.deliveries()
        if (row.destination, row.status, row.reason) == (destination, "sent", "fire")
    }
    assert reported == week.broken


def test_exactly_the_mended_flags_were_reported_as_resolved(week):
    assert {h["details"]["flag"] for h in week.hooks if h["reason"] == "resolve"} == week.mended


@pytest.mark.parametrize("channel", ["slack", "email"])
def test_no_healthy_flag_was_ever_named(week, channel):
    assert {key for key in week.flags if key in week.texts[channel]} <= week.broken


def test_what_the_endpoint_that_is_gone_lost_was_reported_elsewhere(week):
    heard = [n.message.headline for n in week.reported] + [h["message"] for h in week.hooks]
    assert any(" to gone" in text for text in [*heard, *week.texts.values()])


def test_there_are_at_most_as_many_repeats_as_kills(week):
    assert sum(week.repeats.values()) <= week.killed, week.repeats


def test_nothing_is_lost_and_nothing_comes_again_under_another_id(week):
    assert (week.lost, week.told_again) == (0, 0)


def test_what_nobody_acknowledged_went_to_the_pager_too(week):
    assert week.alive <= week.escalated <= week.broken


def test_quiet_hours_and_caps_summarized_messages(week):
    summarized = {r.entry.destination for r in week.office.state.receipts if r.entry.reason == "summary"}
    assert {"slack", "email"} <= summarized
