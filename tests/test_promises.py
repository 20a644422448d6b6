"""What the README promises of alerting, each promise a test of its name.

The promise about identical bins is held by the tests of the bins; here stand those about messages.
"""

import json
import logging
import random
from datetime import timedelta

import dagster as dg
import pytest

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email_message import email_message, html_body
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.blocks import slack_blocks
from exd_dagster.alerts.channels.webhook import Webhook
from exd_dagster.definitions.alerting.destinations import (
    CallbackAlerts,
    EmailAlerts,
    SlackAlerts,
    WebhookAlerts,
)
from exd_dagster.definitions.alerting.sensor import (
    build_check_alert_sensor,
    deliveries,
    load_states,
    run_alert_sensor,
)
from tests.alerts.alerting import KilledError, Office
from tests.alerts.make import HOUR, NOW, check
from tests.alerts.test_messages import notification
from tests.definitions.test_sensors import FAILED, PASSED, audit, evaluate, monitored
from tests.servers.http import HttpServer, Reply, slack_refuses
from tests.servers.smtp import SmtpServer


def hook(server: HttpServer, name: str) -> Webhook:
    return Webhook(name=name, url=server.url, allow_hosts=("127.0.0.1",))


def test_a_verdict_once_recorded_reaches_every_destination_or_you_are_reported_within_24_h_that_it_did_not():
    reported: list[Notification] = []
    replies = [Reply(503), Reply(429), Reply(reset=True), Reply(500)]
    with HttpServer(*replies) as flaky, HttpServer(default=Reply(503)) as down:
        office = Office(
            hook(flaky, "flaky"), hook(down, "down"), Callback(name="other", function=reported.append)
        )
        while office.now <= NOW + timedelta(hours=24):
            office.tick(check(), after=timedelta(minutes=15))
    assert {(r.destination, r.status) for r in office.deliveries() if r.reason == "fire"} == {
        ("flaky", "sent"),
        ("down", "dead"),
        ("other", "sent"),
    }
    events = [
        request.json["message"] for request in flaky.received if request.json["reason"] == "dead_letter"
    ]
    assert [event.partition("\n")[0] for event in events] == ["Undelivered: 1 message to down"]


def test_in_normal_operation_you_get_one_message_per_episode_and_destination_and_one_when_it_ends():
    reported: list[Notification] = []
    office = Office(Callback(name="one", function=reported.append))
    for hour in range(12):
        for _ in range(10):
            found = check(at=NOW + hour * HOUR) if hour < 8 else check("srm", "pass", at=NOW + hour * HOUR)
            office.tick(found, after=timedelta(minutes=6))
    assert [n.reason for n in reported] == ["fire", "resolve"]


def test_a_crash_at_any_write_leaves_no_lost_or_falsely_confirmed_alert():
    for dies_at in range(2, 12):
        with HttpServer() as one, HttpServer() as two:
            office = Office(hook(one, "one"), hook(two, "two"))
            office.storage.die_at = dies_at
            both = [check("srm"), check("sequential_srm")]
            for found in [[check("srm")], both, both, both]:
                try:
                    office.tick(*found)
                except KilledError:
                    confirmed = {row.provider_id for row in office.deliveries() if row.status == "sent"}
                    received = {r.headers["webhook-id"] for r in (*one.received, *two.received)}
                    assert confirmed <= received
        ids = [r.headers["webhook-id"] for r in (*one.received, *two.received)]
        assert len(set(ids)) == 4, dies_at
        assert len(ids) <= 5


def test_one_broken_destination_never_stops_the_others():
    reported: list[Notification] = []

    def broken(_: Notification) -> None:
        raise ValueError("broken")

    with HttpServer(default=Reply(reset=True)) as server:
        office = Office(
            hook(server, "resets"),
            Callback(name="raises", function=broken),
            Callback(name="well", function=reported.append),
        )
        office.tick(*(check(key=f"flag-{i}") for i in range(20)))
    assert len(reported) == 20


SECRETS = (
    "xoxb-S3CRET-token",
    "smtp-S3CRET",
    "whsec_UzNDUkVUUzNDUkVUUzNDUkVUUzNDUkVU",
    "hook-S3CRET",
    "Bearer S3CRET",
)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_no_secret_appears_in_logs_metadata_errors_the_state_or_messages(monkeypatch, caplog):
    """Scenario 39: every channel fails in its own way, at DEBUG."""
    for name, value in zip(("TOKEN", "PASSWORD", "KEY", "PATH_", "AUTH"), SECRETS, strict=True):
        monkeypatch.setenv(f"EXD_TEST_{name}", value)
    reported: list[Notification] = []
    echo = Reply(500, f"you sent {SECRETS[2]} {SECRETS[3]} {SECRETS[4]}")
    caplog.set_level(logging.DEBUG)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        HttpServer(slack_refuses("token_revoked"), default=Reply(500, SECRETS[0])) as slack,
        HttpServer(Reply(302, "", {"Location": "https://x/hook-S3CRET"}), default=echo) as web,
        SmtpServer(user="exd", password=SECRETS[1], **{"*": f"554 refused {SECRETS[1]}"}) as mail,
    ):
        monkeypatch.setenv("EXD_TEST_URL", f"{web.url}/{SECRETS[3]}")
        monkeypatch.setenv("EXD_TEST_SLACK_HOOK", f"{web.url}/services/{SECRETS[3]}")
        local = ["127.0.0.1"]
        sensor = build_check_alert_sensor(
            monitored(audit("checkout"), audit("search")),
            [
                SlackAlerts(token=dg.EnvVar("EXD_TEST_TOKEN"), channel="#a", base_url=f"{slack.url}/api/"),
                SlackAlerts(
                    name="slack-hook", webhook_url=dg.EnvVar("EXD_TEST_SLACK_HOOK"), allow_hosts=local
                ),
                EmailAlerts(
                    host="127.0.0.1",
                    port=mail.port,
                    to=["a@example.com"],
                    user="exd",
                    password=dg.EnvVar("EXD_TEST_PASSWORD"),
                ),
                WebhookAlerts(
                    url=dg.EnvVar("EXD_TEST_URL"),
                    secret=dg.EnvVar("EXD_TEST_KEY"),
                    authorization=dg.EnvVar("EXD_TEST_AUTH"),
                    allow_hosts=local,
                ),
                WebhookAlerts(name="gone", url="http://127.0.0.1:1/hook-S3CRET", allow_hosts=local),
                CallbackAlerts(_leaking, name="leaking"),
                CallbackAlerts(reported.append),
            ],
        )
        evaluate(instance, "checkout", "srm", FAILED)
        said = [run_alert_sensor(sensor, instance)]
        evaluate(instance, "search", "srm", FAILED)
        said.append(run_alert_sensor(sensor, instance))
        seen = {
            "logs": "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("mail.")),
            "summaries": " ".join(said),
            "state": repr(load_states(instance)),
            "deliveries": repr(deliveries(instance)),
            "messages": " ".join(n.text for n in reported),
        }
        assert len(reported) >= 3
    assert {place for place, text in seen.items() if "S3CRET" in text or SECRETS[2] in text} == set()


def _leaking(_: Notification) -> None:
    raise RuntimeError(f"posting with {SECRETS[0]} and {SECRETS[2]} failed")


def test_text_from_flags_and_variants_never_becomes_markup_or_headers():
    reported = notification("fire_hostile")
    assert "<img" not in html_body(reported.message)
    assert "<!channel>" not in json.dumps(slack_blocks(reported.message))
    assert email_message(reported.message, "exd@example.com", ["a@example.com"], NOW)["Bcc"] is None


def test_could_not_check_and_too_little_data_are_never_reported_as_healthy_and_neither_raise_nor_resolve():
    chance = random.Random(7)
    answers = ("fail", "pass", "insufficient", "not_checked", "skipped")
    reported: list[Notification] = []
    office = Office(Callback(name="one", function=reported.append))
    history: list[str] = []
    for _ in range(400):
        verdict = chance.choice(answers)
        history.append(verdict)
        before = len(reported)
        office.tick(check(verdict=verdict), after=HOUR)
        for event in reported[before:]:
            if event.reason == "resolve":
                assert verdict == "pass"
            if event.reason == "fire":
                assert verdict == "fail"
    assert {n.reason for n in reported} >= {"fire", "resolve", "not_checked"}


@pytest.mark.parametrize("verdict", ["insufficient", "not_checked"])
def test_an_answer_that_is_none_is_not_counted_as_well_in_the_digest(verdict):
    from exd_dagster.alerts.policy.digest import headline, lines

    found = [check("srm", "pass", key="a"), check("srm", verdict, key="b")]
    office = Office(Callback(name="one", function=print))
    listed = lines(office.state, found, (), NOW)
    assert [line[0] for line in listed] != ["All well"]
    assert headline(found) != headline([check("srm", "pass", key="a"), check("srm", "pass", key="b")])


def test_alerts_that_are_switched_off_are_logged_and_reported_once_they_are_on(monkeypatch, caplog):
    reported: list[Notification] = []
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = build_check_alert_sensor(monitored(audit("checkout")), [CallbackAlerts(reported.append)])
        evaluate(instance, "checkout", "srm", FAILED)
        monkeypatch.setenv("EXD_DAGSTER_ALERTS", "off")
        caplog.set_level(logging.INFO)
        run_alert_sensor(sensor, instance)
        assert reported == []
        monkeypatch.delenv("EXD_DAGSTER_ALERTS")
        run_alert_sensor(sensor, instance)
        evaluate(instance, "checkout", "srm", PASSED)
        run_alert_sensor(sensor, instance)
    assert [n.reason for n in reported] == ["fire", "resolve"]
