"""PagerDuty against a server that answers in its shapes."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

import exd_dagster as exd
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.pagerduty import KEY_LIMIT, PagerDuty, dedup_key
from exd_dagster.alerts.channels.webhook import MAX_BYTES
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.errors import ConfigError
from tests.alerts.alerting import Office
from tests.alerts.make import HOUR, NOW, check
from tests.servers.http import HttpServer, Reply
from tests.servers.smtp import SmtpServer

KEY = "r" * 32
TAKEN = Reply(202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": "k"}))
MINUTES = timedelta(minutes=1)


def pager(server: HttpServer) -> PagerDuty:
    return PagerDuty(
        name="pagerduty", routing_key=KEY, url=f"{server.url}/v2/enqueue", allow_hosts=("127.0.0.1",)
    )


def acknowledge(key: str = "checkout") -> Decision:
    return Decision(
        kind="acknowledge",
        flags=key,
        reason="on it",
        by="ana",
        until=NOW + 9 * HOUR,
        made_at=NOW + 10 * MINUTES,
    )


def test_an_incident_is_triggered_acknowledged_and_resolved_with_one_key():
    with HttpServer(default=TAKEN) as server:
        office = Office(pager(server))
        office.tick(check(), after=20 * MINUTES)
        office.tick(check(), after=HOUR, decisions=[acknowledge()])
        office.tick(check(), after=HOUR, decisions=[acknowledge()])
        office.tick(check(verdict="pass"), decisions=[acknowledge()])
    events = [request.json for request in server.received]
    assert [event["event_action"] for event in events] == ["trigger", "acknowledge", "resolve"]
    assert len({event["dedup_key"] for event in events}) == 1
    assert {event["routing_key"] for event in events} == {KEY}


def test_another_check_of_the_same_flag_joins_the_incident_and_another_flag_opens_its_own():
    with HttpServer(default=TAKEN) as server:
        office = Office(pager(server))
        office.tick(check(), check(key="other"), after=HOUR)
        office.tick(check(), check("sequential_srm"), check(key="other"))
    keys = {event["payload"]["component"]: event["dedup_key"] for event in (r.json for r in server.received)}
    assert len(server.received) == 3
    assert len(set(keys.values())) == 2


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({}, "critical"),
        ({"mode": "warn", "severity": "WARN", "would_block": True}, "warning"),
        ({"mode": "warn"}, "error"),
    ],
)
def test_what_blocks_is_critical_and_the_rest_as_the_check_says(changes, severity):
    with HttpServer(default=TAKEN) as server:
        Office(pager(server)).tick(check(**changes))
    assert server.received[0].json["payload"]["severity"] == severity


def test_the_event_says_what_is_true_now_and_carries_the_numbers():
    with HttpServer(default=TAKEN) as server:
        Office(pager(server)).tick(check())
    told = server.received[0].json["payload"]
    assert told["summary"].startswith("SRM on checkout: on 53% vs 50% expected. Users are not split")
    assert (told["class"], told["group"]) == ("SRM_SHUTOFF_TRIGGERED", "team:growth")
    assert told["custom_details"]["observed"] == {"off": 4700, "on": 5300}


def test_people_without_a_pager_hear_nothing_of_an_acknowledgement():
    with HttpServer(default=TAKEN) as server, SmtpServer() as mail:
        smtp = Smtp(
            name="mail", host="127.0.0.1", port=mail.port, sender="e@x.org", to=("a@x.org",), tls="none"
        )
        office = Office(pager(server), smtp)
        office.tick(check(), after=HOUR)
        office.tick(check(), decisions=[acknowledge()])
    assert (len(server.received), len(mail.mails)) == (2, 1)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(429, "", {"Retry-After": "60"}), "pending"),
        (Reply(500), "pending"),
        (
            Reply(400, '{"status":"invalid event","errors":["Length of \'routing_key\' is incorrect"]}'),
            "dead",
        ),
        (Reply(302, "", {"Location": "http://127.0.0.1:1/"}), "dead"),
    ],
)
def test_what_pagerduty_refuses_for_now_is_tried_again_and_what_it_never_takes_is_told(reply, status):
    with HttpServer(default=reply) as server:
        office = Office(pager(server))
        office.tick(check())
    assert [row.status for row in office.deliveries()] == [status]
    assert KEY not in json.dumps(office.storage.values)


def test_a_key_of_any_length_fits(notification):
    long = replace(notification.message, threads=("i" * 400,))
    key = dedup_key(replace(notification, message=long))
    assert len(key) <= KEY_LIMIT


def test_an_event_about_names_without_end_stays_small():
    with HttpServer(default=TAKEN) as server:
        many = {f"variant-{i}-{'x' * 80}": 1 for i in range(400)}
        Office(pager(server)).tick(check(observed=many, expected=dict.fromkeys(many, 1 / 400)))
    assert len(server.received[0].body) < MAX_BYTES + 5_000


def test_an_endpoint_that_is_no_https_is_refused():
    with pytest.raises(ConfigError, match="https"):
        exd.PagerDutyAlerts(routing_key=KEY, url="http://events.pagerduty.com/v2/enqueue")
