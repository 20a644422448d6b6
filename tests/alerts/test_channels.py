"""Each channel against a real server: what is sent, and what every answer means."""

import json
import threading
from dataclasses import replace

import pytest
from standardwebhooks import Webhook as Verifier

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email import Smtp
from exd_dagster.alerts.channels.slack.errors import slack_outcome
from exd_dagster.alerts.channels.slack.sender import SlackBot, SlackWebhook
from exd_dagster.alerts.channels.webhook import MAX_BYTES, Webhook, payload_bytes
from exd_dagster.alerts.deliver import within
from tests.alerts.make import NOW, alert
from tests.servers.http import HttpServer, Reply, slack_answers, slack_refuses
from tests.servers.smtp import SmtpServer

LOCAL = ("127.0.0.1",)
SECRET = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OLD_SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcGFiY2RlZmdoaWprbG1ub3A="


def bot(server: HttpServer) -> SlackBot:
    return SlackBot(
        name="slack", token="xoxb-1-secret", conversation="#growth", base_url=f"{server.url}/api/"
    )


def hook(server: HttpServer, **changes) -> Webhook:
    return Webhook(**{"name": "webhook", "url": f"{server.url}/hook", "allow_hosts": LOCAL, **changes})


# Slack


def test_slack_posts_blocks_with_their_text_and_returns_the_thread(notification):
    with HttpServer(default=Reply(body='{"ok": true, "channel": "C7", "ts": "1.5"}')) as server:
        outcome = bot(server).send(notification, NOW)
    (request,) = server.received
    assert request.path == "/api/chat.postMessage"
    assert request.headers["authorization"] == "Bearer xoxb-1-secret"
    assert request.json["text"].startswith("🔴 SRM on checkout: on 53% vs 50% expected")
    assert request.json["blocks"][0]["type"] == "header"
    assert (outcome.status, outcome.provider_id, outcome.thread) == (
        "sent",
        "1.5",
        {"channel": "C7", "ts": "1.5"},
    )


def test_slack_answers_in_the_thread_of_the_incident(notification):
    with HttpServer(default=slack_answers) as server:
        bot(server).send(replace(notification, thread={"channel": "C7", "ts": "1.5"}), NOW)
    assert [(r.path, r.json.get("thread_ts"), r.json["channel"]) for r in server.received] == [
        ("/api/chat.postMessage", "1.5", "C7")
    ]


def test_slack_turns_the_first_message_green_before_it_tells_the_end(notification):
    closing = replace(notification, thread={"channel": "C7", "ts": "1.5"}, closes_thread=True)
    with HttpServer(default=slack_answers) as server:
        bot(server).send(closing, NOW)
    assert [request.path for request in server.received] == ["/api/chat.update", "/api/chat.postMessage"]


def test_slack_opens_a_new_message_when_its_thread_is_gone(notification):
    with HttpServer(slack_refuses("thread_not_found"), default=slack_answers) as server:
        outcome = bot(server).send(replace(notification, thread={"channel": "C7", "ts": "1.5"}), NOW)
    assert outcome.status == "sent"
    assert "thread_ts" not in server.received[-1].json


@pytest.mark.parametrize(
    "error",
    [
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "too_many_attachments",
        "invalid_arguments",
        "something_slack_has_yet_to_name",
    ],
)
def test_slack_that_refuses_the_message_gets_plain_text_once(notification, error):
    with HttpServer(slack_refuses(error), default=slack_answers) as server:
        outcome = bot(server).send(notification, NOW)
    assert outcome.status == "sent"
    assert "blocks" not in server.received[-1].json
    with HttpServer(default=slack_refuses(error)) as server:
        outcome = bot(server).send(notification, NOW)
    assert (outcome.status, outcome.whole, len(server.received)) == ("dead", False, 2)


def test_slack_that_refuses_blocks_of_an_edit_gets_plain_text_too(notification):
    closing = replace(notification, thread={"channel": "C7", "ts": "1.5"}, closes_thread=True)
    with HttpServer(slack_refuses("msg_blocks_too_long"), default=slack_answers) as server:
        assert bot(server).send(closing, NOW).status == "sent"
    assert [(r.path.rpartition("/")[2], "blocks" in r.json) for r in server.received] == [
        ("chat.update", True),
        ("chat.update", False),
        ("chat.postMessage", True),
    ]


def test_blocks_refused_once_the_thread_is_gone_become_plain_text_outside_it(notification):
    answers = (slack_refuses("thread_not_found"), slack_refuses("msg_blocks_too_long"))
    with HttpServer(*answers, default=slack_answers) as server:
        outcome = bot(server).send(replace(notification, thread={"channel": "C7", "ts": "1.5"}), NOW)
    assert outcome.status == "sent"
    assert not {"thread_ts", "blocks"} & set(server.received[-1].json)


@pytest.mark.parametrize("error", ["restricted_action", "user_not_found", "not_in_channel", "missing_scope"])
def test_a_destination_slack_refuses_is_reported_with_the_fix_and_not_asked_twice(notification, error):
    with HttpServer(default=slack_refuses(error)) as server:
        outcome = bot(server).send(notification, NOW)
    assert (outcome.status, outcome.whole, len(server.received)) == ("dead", True, 1)
    assert outcome.detail.startswith(f"Slack answered {error}: ")


@pytest.mark.parametrize(
    ("reply", "status", "wait"),
    [
        (Reply(429, '{"ok": false, "error": "ratelimited"}', {"Retry-After": "30"}), "retry", 30.0),
        (Reply(429, "{}", {"Retry-After": "Thu, 05 Mar 2026 03:02:00 GMT"}), "retry", 120.0),
        (Reply(429, "{}", {"Retry-After": "soon"}), "retry", None),
        (Reply(429, "{}", {"Retry-After": "999999"}), "retry", 3600.0),
        (Reply(500, "broken"), "retry", None),
        (Reply(503, "{}", {"Retry-After": "7"}), "retry", 7.0),
        (Reply(reset=True), "retry", None),
        (slack_refuses("internal_error"), "retry", None),
        (slack_refuses("message_limit_exceeded"), "retry", None),
        (slack_refuses("team_added_to_org"), "retry", None),
        (slack_refuses("token_revoked"), "dead", None),
        (slack_refuses("is_archived"), "dead", None),
        (slack_refuses("channel_not_found"), "dead", None),
        (slack_refuses("something_new"), "dead", None),
        (Reply(200, "<html>proxy</html>"), "retry", None),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_what_each_answer_of_slack_means(notification, reply, status, wait):
    """Scenarios 28, 29 and 30."""
    with HttpServer(default=reply) as server:
        outcome = bot(server).send(notification, NOW)
    assert (outcome.status, outcome.retry_after) == (status, wait)


def test_slack_is_never_followed_to_another_address_with_the_token(notification):
    with HttpServer(default=slack_answers) as other:
        elsewhere = Reply(302, "", {"Location": f"{other.url}/api/chat.postMessage"})
        with HttpServer(default=elsewhere) as server:
            outcome = bot(server).send(notification, NOW)
    assert outcome.status == "dead"
    assert other.received == []


def test_a_stalled_server_costs_no_more_than_the_time_limit(notification):
    """Scenario 29."""
    with HttpServer(default=Reply(stall=True)) as server:
        quick = replace(bot(server), timeout=0.2)
        outcome = within(quick.timeout, lambda: quick.send(notification, NOW))
    assert (outcome.status, outcome.detail) == ("retry", "no response within 0.2 s")


def test_an_incoming_webhook_is_sent_only_when_the_body_says_ok(notification):
    with HttpServer(Reply(body="ok"), Reply(body="no_service"), Reply(body="invalid_token")) as server:
        sender = SlackWebhook(name="slack", url=f"{server.url}/services/T/B/x", allow_hosts=LOCAL)
        statuses = [sender.send(notification, NOW).status for _ in range(3)]
    assert statuses == ["sent", "dead", "dead"]


@pytest.mark.parametrize("body", ["invalid_blocks", "msg_blocks_too_long", "invalid_payload"])
def test_an_incoming_webhook_that_refuses_the_message_gets_plain_text_once(notification, body):
    with HttpServer(Reply(400, body), default=Reply(body="ok")) as server:
        sender = SlackWebhook(name="slack", url=f"{server.url}/services/T/B/x", allow_hosts=LOCAL)
        assert sender.send(notification, NOW).status == "sent"
    assert [set(request.json) for request in server.received] == [{"text", "blocks"}, {"text"}]


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (410, "channel_is_archived", "dead"),
        (404, "no_team", "dead"),
        (403, "posting_to_general_channel_denied", "dead"),
        (500, "rollup_error", "retry"),
    ],
)
def test_an_incoming_webhook_names_what_is_wrong_with_the_destination(notification, status, body, answer):
    with HttpServer(default=Reply(status, body)) as server:
        sender = SlackWebhook(name="slack", url=f"{server.url}/services/T/B/x", allow_hosts=LOCAL)
        assert sender.send(notification, NOW).status == answer
    assert len(server.received) == 1


# webhooks


def test_a_webhook_is_signed_so_that_the_reference_library_accepts_it(notification):
    from datetime import datetime, timezone

    with HttpServer() as server:
        hook(server, secrets=(SECRET,)).send(notification, datetime.now(timezone.utc))
    (request,) = server.received
    headers = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
    assert Verifier(SECRET).verify(request.body, headers)["type"] == "exd.alert.firing"
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(SECRET).verify(request.body + b" ", headers)


def test_while_a_key_is_rotated_both_keys_sign(notification):
    from datetime import datetime, timezone

    with HttpServer() as server:
        hook(server, secrets=(SECRET, OLD_SECRET)).send(notification, datetime.now(timezone.utc))
    (request,) = server.received
    for key in (SECRET, OLD_SECRET):
        assert Verifier(key).verify(request.body, dict(request.headers))


def test_the_webhook_id_and_body_stay_the_same_over_attempts(notification):
    from datetime import timedelta

    with HttpServer(Reply(503)) as server:
        sender = hook(server, secrets=(SECRET,))
        sender.send(notification, NOW)
        sender.send(notification, NOW + timedelta(minutes=2))
    first, second = server.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == notification.id
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert first.body == second.body


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "sent"),
        (204, "sent"),
        (301, "dead"),
        (307, "dead"),
        (400, "dead"),
        (401, "dead"),
        (403, "dead"),
        (404, "dead"),
        (408, "retry"),
        (410, "dead"),
        (413, "dead"),
        (422, "dead"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (502, "retry"),
        (503, "retry"),
        (504, "retry"),
    ],
)
def test_what_each_answer_to_a_webhook_means(notification, status, expected):
    with HttpServer(default=Reply(status)) as server:
        assert hook(server).send(notification, NOW).status == expected


def test_a_redirect_is_never_followed(notification):
    """Scenario 40."""
    with HttpServer() as inner, HttpServer(default=Reply(307, "", {"Location": inner.url})) as server:
        outcome = hook(server).send(notification, NOW)
    assert outcome.status == "dead"
    assert "redirects are never followed" in outcome.detail
    assert inner.received == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://localhost/",
    ],
)
def test_a_private_address_is_refused_before_a_connection_is_made(notification, url):
    """Scenario 40."""
    outcome = Webhook(name="webhook", url=url).send(notification, NOW)
    assert outcome.status == "dead"
    assert "not a public address" in outcome.detail


def test_a_private_network_is_reached_only_when_it_is_named(notification):
    with HttpServer() as server:
        outcome = hook(server, allow_hosts=("127.0.0.0/8",)).send(notification, NOW)
    assert outcome.status == "sent"


def test_a_name_that_does_not_resolve_is_tried_again(notification):
    outcome = Webhook(name="webhook", url="https://no-such-host.invalid/").send(notification, NOW)
    assert outcome.status == "retry"


def test_tls_is_verified_against_the_given_authority(notification, tls, ca_file):
    with HttpServer(tls=tls) as server:
        trusted = hook(server, ca_file=ca_file).send(notification, NOW)
        unknown = hook(server).send(notification, NOW)
    assert (trusted.status, unknown.status) == ("sent", "retry")
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.detail
    assert len(server.received) == 1


@pytest.mark.parametrize("name", ["v" * 300, "ё" * 300, "🚦" * 300])
def test_a_payload_of_names_without_end_stays_under_20_kb(notification, name):
    counts = {f"{name}{i}": 0.02 for i in range(50)}
    named = alert(key=name, expected=counts, observed=counts, sentence=name * 100)
    body = payload_bytes(replace(notification, alerts=(named,)))
    assert len(body) <= MAX_BYTES
    assert json.loads(body)["alert_type"] == "SRM_SHUTOFF_TRIGGERED"


def test_a_payload_stays_under_20_kb_whatever_the_facts(notification):
    huge = alert(evidence=["x" * 1000] * 100)
    body = payload_bytes(replace(notification, alerts=(huge,)))
    assert len(body) <= MAX_BYTES
    assert json.loads(body)["details"]["truncated"] is True
    assert json.loads(body)["details"]["observed"] == {"off": 4700, "on": 5300}


# e-mail


def smtp(server: SmtpServer, **changes) -> Smtp:
    values = {
        "sender": "exd@example.com",
        "to": ("a@example.com", "b@example.com", "c@example.com"),
        "tls": "none",
    }
    return Smtp(name="email", host="127.0.0.1", port=server.port, **{**values, **changes})


def test_mail_goes_through_starttls_and_login(notification, tls, ca_file):
    with SmtpServer(tls=tls, user="exd", password="s3cret") as server:
        sender = smtp(server, tls="starttls", user="exd", password="s3cret", ca_file=ca_file)
        outcome = sender.send(notification, NOW)
    assert outcome.status == "sent"
    (mail,) = server.mails
    assert mail["Subject"] == "SRM on checkout: on 53% vs 50% expected"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_a_server_without_starttls_never_sees_the_password(notification):
    with SmtpServer() as server:
        outcome = smtp(server, tls="starttls", user="exd", password="s3cret").send(notification, NOW)
    assert outcome.status == "dead"
    assert "STARTTLS" in outcome.detail
    assert server.mails == []


def test_a_wrong_password_is_dead_and_not_reported_to_anyone(notification, tls, ca_file):
    with SmtpServer(tls=tls, user="exd", password="right") as server:
        sender = smtp(server, tls="starttls", user="exd", password="wr0ng-secret", ca_file=ca_file)
        outcome = sender.send(notification, NOW)
    assert (outcome.status, outcome.whole) == ("dead", True)
    assert "check user name and password" in outcome.detail
    assert "wr0ng-secret" not in outcome.detail


def test_one_refused_recipient_never_stops_the_others(notification):
    """Scenario 31."""
    with SmtpServer(**{"c@example.com": "550 no such user"}) as server:
        outcome = smtp(server).send(notification, NOW)
    assert outcome.status == "sent"
    assert server.envelopes == [["a@example.com", "b@example.com"]]
    assert list(outcome.refused) == ["c@example.com"]


def test_a_recipient_refused_for_now_is_tried_again_alone(notification):
    with SmtpServer(**{"c@example.com": "451 greylisted"}) as server:
        first = smtp(server).send(notification, NOW)
        server.refuse.clear()
        second = smtp(server).send(replace(notification, recipients=first.remaining), NOW)
    assert (first.status, first.remaining, second.status) == ("retry", ("c@example.com",), "sent")
    assert server.envelopes == [["a@example.com", "b@example.com"], ["c@example.com"]]


@pytest.mark.parametrize(
    ("reply", "status"), [("451 later", "retry"), ("554 spam", "dead"), ("421 closing", "retry")]
)
def test_what_each_answer_to_a_mail_means(notification, reply, status):
    with SmtpServer(**{"*": reply}) as server:
        assert smtp(server).send(notification, NOW).status == status


def test_a_closed_port_is_tried_again(notification):
    with SmtpServer() as server:
        pass
    assert smtp(server).send(notification, NOW).status == "retry"


def test_the_same_mail_sent_twice_has_the_same_message_id_and_bytes(notification):
    with SmtpServer() as server:
        smtp(server).send(notification, NOW)
        smtp(server).send(notification, NOW)
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{notification.id}@exd-dagster.invalid>"
    assert first.as_bytes() == second.as_bytes()


def test_mails_of_one_incident_share_a_thread(notification):
    with SmtpServer() as server:
        smtp(server).send(notification, NOW)
    assert server.mails[0]["References"] == "<incident-1@exd-dagster.invalid>"


# callbacks


def test_a_callback_receives_the_alert_frozen(notification):
    got = []
    outcome = Callback(name="callback", function=got.append).send(notification, NOW)
    assert (outcome.status, got) == ("sent", [notification])
    with pytest.raises(AttributeError):
        got[0].id = "other"


def test_a_callback_that_raises_is_tried_again_without_its_secrets(notification):
    def raising(_):
        raise RuntimeError("token xoxb-12345-abc was refused")

    outcome = Callback(name="callback", function=raising).send(notification, NOW)
    assert (outcome.status, outcome.detail) == ("retry", "RuntimeError: token *** was refused")


def test_a_callback_that_hangs_is_left_behind(notification):
    hung = threading.Event()
    sender = Callback(name="callback", function=lambda _: hung.wait(30), timeout=0.1)
    assert within(sender.timeout, lambda: sender.send(notification, NOW)).status == "retry"
    hung.set()


def test_an_interrupt_passes_through_a_callback(notification):
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within(1, lambda: Callback(name="callback", function=interrupted).send(notification, NOW))


@pytest.mark.parametrize(("error", "whole"), [("message_limit_exceeded", True), ("internal_error", False)])
def test_a_limit_of_slack_pauses_the_destination_and_an_error_of_its_own_only_the_message(error, whole):
    outcome = slack_outcome(error, "30", NOW)
    assert (outcome.status, outcome.whole) == ("retry", whole)
