"""Alerts out of a notebook reach every destination, and the caller learns what became of each."""

import json

import numpy as np
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from exd_dagster.definitions.alerting.destinations import WebhookAlerts
from exd_dagster.notebook.dispatcher import WebhookAlertDispatcher

ALERT = ("SRM_SHUTOFF_TRIGGERED", "treatment got 47 % of 1,000 units", {"p_value": 1e-9, "n": 1000})


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def dispatcher(waits) -> WebhookAlertDispatcher:
    return WebhookAlertDispatcher(sleep=waits.append)


def body(server: HTTPServer, path: str) -> dict:
    (request,) = [request for request, _ in server.log if request.path == path]
    return json.loads(request.data)


def serve(server: HTTPServer, *paths: str, status: int = 200) -> None:
    for path in paths:
        server.expect_request(path, method="POST").respond_with_data("ok", status=status)


def test_each_channel_gets_its_documented_keys(dispatcher, httpserver):
    serve(httpserver, "/slack", "/mail", "/hook")
    dispatcher.register_slack(httpserver.url_for("/slack"))
    dispatcher.register_email(httpserver.url_for("/mail"))
    dispatcher.register_custom(httpserver.url_for("/hook"))
    dispatcher.dispatch(*ALERT)
    slack, mail = body(httpserver, "/slack"), body(httpserver, "/mail")
    assert list(slack) == ["text"]
    assert all(part in slack["text"] for part in (ALERT[0], ALERT[1], '"n": 1000'))
    assert mail["subject"].endswith(ALERT[0])
    assert mail["body"].startswith(f"{ALERT[1]}\n\nDetails:\n{{")
    assert body(httpserver, "/hook") == {"alert_type": ALERT[0], "message": ALERT[1], "details": ALERT[2]}


def test_results_come_in_order_slack_mail_webhook_callback(dispatcher, httpserver):
    serve(httpserver, "/slack", "/mail", "/hook")
    dispatcher.register_callback(lambda *alert: None)
    dispatcher.register_custom(httpserver.url_for("/hook"))
    dispatcher.register_email(httpserver.url_for("/mail"))
    dispatcher.register_slack(httpserver.url_for("/slack"))
    results = dispatcher.dispatch(*ALERT)
    assert [result.channel for result in results] == ["slack", "email", "webhook", "callback"]
    assert {result.status for result in results} == {"sent"}


def test_destination_of_the_alert_sensor_is_reported_as_the_sensor_tells_it(dispatcher, httpserver):
    serve(httpserver, "/hook")
    dispatcher.register(WebhookAlerts(url=httpserver.url_for("/hook"), allow_hosts=["localhost"], name="ops"))
    (result,) = dispatcher.dispatch(*ALERT)
    reported = body(httpserver, "/hook")
    assert (result.channel, result.destination, result.status) == ("webhook", "ops", "sent")
    assert (reported["type"], reported["alert_type"], reported["details"]["check"]) == (
        "exd.alert.firing",
        ALERT[0],
        "srm",
    )
    assert reported["details"]["n"] == 1000


def test_callback_gets_the_payload_itself(dispatcher):
    seen = []
    dispatcher.register_callback(lambda *alert: seen.append(alert))
    dispatcher.dispatch(*ALERT)
    assert seen[0][2] is ALERT[2]


def test_failing_destination_stops_no_other_and_is_reported(dispatcher, httpserver, caplog):
    serve(httpserver, "/bad", status=404)
    serve(httpserver, "/good")
    dispatcher.register_custom(httpserver.url_for("/bad"))
    dispatcher.register_custom(httpserver.url_for("/good"))
    dispatcher.register_callback(lambda *alert: 1 / 0)
    results = dispatcher.dispatch(*ALERT)
    assert [result.status for result in results] == ["failed", "sent", "failed"]
    assert ("HTTP 404" in results[0].detail, "ZeroDivisionError" in results[2].detail) == (True, True)
    assert caplog.text.count("was not delivered") == 2


def test_busy_server_is_tried_again_after_the_wait_it_asks_for(dispatcher, httpserver, waits):
    answers = iter([Response("busy", 503, {"Retry-After": "2"}), Response("no", 500), Response("ok", 200)])
    httpserver.expect_request("/hook").respond_with_handler(lambda request: next(answers))
    dispatcher.register_custom(httpserver.url_for("/hook"))
    (result,) = dispatcher.dispatch(*ALERT)
    assert (result.status, result.attempts, waits) == ("sent", 3, [2.0, 1.0])


def test_server_that_stays_down_is_given_up_after_three_attempts(dispatcher, httpserver):
    serve(httpserver, "/hook", status=500)
    dispatcher.register_custom(httpserver.url_for("/hook"))
    (result,) = dispatcher.dispatch(*ALERT)
    assert (result.status, result.attempts) == ("failed", 3)


def test_long_list_is_sent_as_its_last_items(dispatcher, httpserver):
    serve(httpserver, "/hook")
    dispatcher.register_custom(httpserver.url_for("/hook"))
    dispatcher.dispatch("T", "m", {"running_likelihood_ratios": np.arange(100_000.0)})
    sent = body(httpserver, "/hook")["details"]["running_likelihood_ratios"]
    assert (len(sent), sent[-1]) == (48, 99_999.0)


def test_address_in_a_result_or_log_line_hides_the_secret_path(dispatcher, httpserver, caplog):
    serve(httpserver, "/services/T0/B0/secret", status=404)
    dispatcher.register_slack(httpserver.url_for("/services/T0/B0/secret"))
    (result,) = dispatcher.dispatch(*ALERT)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("exd_dagster")]
    assert ours
    assert "secret" not in f"{result}{ours}"


def test_text_for_slack_carries_no_markup_of_its_own(dispatcher, httpserver):
    serve(httpserver, "/slack")
    dispatcher.register_slack(httpserver.url_for("/slack"))
    dispatcher.dispatch("T", "<!channel> hello", {"variant": "<@U1>"})
    assert "<" not in body(httpserver, "/slack")["text"]
