"""Quiet hours, caps and escalation on the whole path: a sensor's ticks, a mail server, a stored state."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

import exd_dagster as exd
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.webhook import Webhook
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.messages.message import plain_text
from exd_dagster.alerts.model import AlertState, Incident, OutboxEntry
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.timing.active_time import read_interval
from exd_dagster.alerts.policy.timing.hold import DeliveryRules
from exd_dagster.alerts.state import VERSION, StateStore
from exd_dagster.errors import ConfigError
from tests.alerts.alerting import Office, Storage
from tests.alerts.make import HOUR, NOW, alert, check, flag
from tests.servers.http import HttpServer
from tests.servers.smtp import SmtpServer

DAY = DeliveryRules(active_time=(read_interval("08:00-18:00"),), break_through=())


def mail_to(server: SmtpServer) -> Smtp:
    return Smtp(
        name="mail", host="127.0.0.1", port=server.port, sender="e@x.org", to=("a@x.org",), tls="none"
    )


def subjects(server: SmtpServer) -> list[str]:
    return [str(mail["Subject"]) for mail in server.mails]


def test_what_happened_at_night_comes_as_one_mail_that_begins_with_what_still_fails():
    with SmtpServer() as server:
        office = Office(mail_to(server), rules={"mail": DAY})
        office.tick(check(key="a"), check(key="b"), after=HOUR)
        office.tick(check(key="a"), check(verdict="pass", key="b"), after=HOUR)
        assert subjects(server) == []
        office.now = NOW.replace(hour=8)
        office.tick(check(key="a"), check(verdict="pass", key="b"))
        assert subjects(server) == ["Summary: 2 flags: 1 failing, 1 resolved"]
        text = server.mails[0].get_body(("plain",)).get_content()
    assert text.index("- SRM on a: on 53% vs 50% expected") < text.index("- Resolved: b (The corrected bins")
    assert office.state.outbox == ()


def test_a_summary_says_of_what_it_stands_for_in_the_deliveries():
    with SmtpServer() as server:
        office = Office(mail_to(server), rules={"mail": DAY})
        office.tick(check(key="a"), check(key="b"), after=HOUR)
        office.tick(check(key="a"), check(verdict="pass", key="b"))
        office.now = NOW.replace(hour=8)
        office.tick(check(key="a"), check(verdict="pass", key="b"))
    assert sorted((row.reason, row.flag.key) for row in office.deliveries()) == [
        ("fire", "a"), ("fire", "b"), ("resolve", "b"),
    ]  # fmt: skip


def test_nobody_answers_so_another_is_told_and_an_acknowledgement_ends_it():
    routes = [{"to": ["mail"], "escalate_to": ["pager"], "escalate_after": "30m"}]
    with SmtpServer() as server, HttpServer() as pager:
        hook = Webhook(name="pager", url=pager.url, allow_hosts=("127.0.0.1",))
        office = Office(mail_to(server), hook, routes=routes)
        answer = Decision(
            kind="acknowledge",
            flags="b",
            reason="on it",
            by="ana",
            until=NOW + 9 * HOUR,
            made_at=NOW + HOUR / 6,
        )
        for _ in range(4):
            office.tick(check(key="a"), check(key="b"), after=timedelta(minutes=15), decisions=[answer])
    told = [request.json for request in pager.received]
    assert [(h["reason"], h["status"], h["details"]["flag"]) for h in told] == [("escalate", "firing", "a")]


def test_the_state_of_version_3_is_taken_over_with_what_it_had_still_to_send():
    """Version 3 knew neither holds nor escalations; nothing else changed."""
    told = alert()
    opened = Incident(
        id="i", flag=flag(), opened_at=NOW, alerts={"srm": told.id}, notified_at=NOW, fired_at=NOW
    )
    waiting = OutboxEntry(
        id="e", destination="mail", channel="email", reason="fire", alerts=(told.id,), incidents=("i",),
        created_at=NOW, next_attempt_at=NOW,
    )  # fmt: skip
    storage = Storage()
    store = StateStore(storage, "test")
    store.save(
        AlertState(started=True, incidents={"checkout": opened}, alerts={told.id: told}, outbox=(waiting,))
    )
    state = json.loads(storage.values[store.key])
    assert state["version"] == VERSION
    state["version"] = 3
    added = ("delivered_at", "reminded_at", "escalated_at", "digest_only")
    state["incidents"]["checkout"] = {
        k: v for k, v in state["incidents"]["checkout"].items() if k not in added
    }
    held = ("held_until", "capped", "released_at", "summarized")
    state["outbox"] = [{k: v for k, v in entry.items() if k not in held} for entry in state["outbox"]]
    storage.values[store.key] = json.dumps(state)
    with SmtpServer() as server:
        office = Office(mail_to(server), rules={"mail": replace(DAY, active_time=())}, started=False)
        office.storage.values.update(storage.values)
        office.tick(check())
        assert subjects(server) == ["SRM on checkout: on 53% vs 50% expected"]
    assert office.state.version == VERSION


def test_of_a_long_summary_every_flag_is_named():
    alerts = {f"{i}": alert(id=f"{i}", key=f"flag-{i:02d}", flag=flag(f"flag-{i:02d}")) for i in range(40)}
    entry = OutboxEntry(
        id="s", destination="mail", channel="email", reason="summary", alerts=tuple(alerts),
        summarized=tuple(("fire", name, "") for name in alerts), created_at=NOW, next_attempt_at=NOW,
    )  # fmt: skip
    message = compose(entry, AlertState(alerts=alerts), Context())
    assert message.headline == "Summary: 40 flags: 40 failing"
    text = plain_text(message)
    assert all(told.flag.key in text for told in alerts.values())
    assert "and 15 more: flag-25" in text


def test_hours_zones_and_severities_that_are_none_are_refused_at_once():
    with pytest.raises(ConfigError) as caught:
        exd.EmailAlerts(
            host="h", to=["a@x.org"], active_time=["8 to 18"], timezone="Europe/Berlim", break_through=["ERR"]
        )
    told = "\n".join(caught.value.faults)
    assert "active_time: '8 to 18' is no interval; write weekdays and times" in told
    assert "timezone: is no time zone" in told
    assert "Did you mean 'Europe/Berlin'?" in told
    assert "break_through: severity 'ERR'" in told


def test_a_destination_without_hours_and_cap_has_no_rules():
    assert exd.EmailAlerts(host="h", to=["a@x.org"], timezone="Europe/Berlin").rules is None
    rules = exd.EmailAlerts(host="h", to=["a@x.org"], max_per_hour=4).rules
    assert rules is not None
    assert (rules.max_per_hour, rules.summarizes) == (4, True)
