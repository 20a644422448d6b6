"""Services by way of apprise, against a server that takes its generic JSON."""

import json
import logging

import pytest

import exd_dagster as exd
from exd_dagster.alerts.channels.apprise_services import AppriseServices, opened, unmentioned
from exd_dagster.errors import ConfigError
from tests.alerts.alerting import Office
from tests.alerts.make import HOUR, check
from tests.servers.http import HttpServer, Reply

SECRET = "t0psecret-path-of-the-hook"


def url(server: HttpServer, path: str = SECRET) -> str:
    return f"json://127.0.0.1:{server.port}/{path}"


def services(*urls: str) -> AppriseServices:
    return AppriseServices(name="apprise", urls=urls)


def test_a_failure_and_its_end_are_told_with_headline_and_text():
    with HttpServer() as server:
        office = Office(services(url(server)))
        office.tick(check(), after=HOUR)
        office.tick(check(verdict="pass"))
    first, last = (request.json for request in server.received)
    assert (first["type"], last["type"]) == ("failure", "success")
    assert first["title"] == "SRM on checkout: on 53% vs 50% expected"
    assert "on got 53.0 % of 10,000 units" in first["message"]


def test_a_service_that_took_the_message_is_not_asked_again_when_another_refused():
    with HttpServer() as well, HttpServer(Reply(500)) as ill:
        office = Office(services(url(well), url(ill)))
        office.tick(check())
        office.wait_for_next_attempt()
        office.tick(check())
    assert (len(well.received), len(ill.received)) == (1, 2)
    assert [row.status for row in office.deliveries()] == ["sent"]


def test_no_secret_of_a_url_is_logged_or_stored(caplog):
    caplog.set_level(logging.DEBUG)
    with HttpServer(default=Reply(500, SECRET)) as server:
        office = Office(services(url(server)))
        office.tick(check())
    assert len(server.received) == 1
    assert SECRET not in json.dumps(office.storage.values) + caplog.text + repr(office.setup.senders)


def test_a_redirect_is_not_followed():
    with (
        HttpServer() as other,
        HttpServer(default=Reply(307, "", {"Location": f"http://127.0.0.1:{other.port}/"})) as server,
    ):
        office = Office(services(url(server)))
        office.tick(check())
    assert (len(server.received), len(other.received)) == (1, 0)


@pytest.mark.parametrize("name", ["@everyone", "<!channel>", "<@U123>", "a@here.org"])
def test_the_name_of_a_flag_calls_nobody(name):
    assert name not in unmentioned(f"SRM on {name}: x")
    assert unmentioned("mail me @ home, 5 < 6") == "mail me @ home, 5 < 6"


def test_a_url_that_apprise_does_not_know_is_refused_without_being_quoted():
    with pytest.raises(ConfigError) as caught:
        exd.AppriseAlerts(urls=[f"nosuch://{SECRET}", "json://example.com"])
    assert "urls: number 1 is not understood" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "known",
    ["workflows://prod-1.example.com:443/643e69f83c8944/signature123/",
     "discord://123456789012345678/abcdefghijklmnop", "tgram://123456789:abcdefg_hijklmnop/12315544/",
     "opsgenie://a1b2c3d4-e5f6-7890-abcd-ef1234567890", "ntfy://topic"],
)  # fmt: skip
def test_what_the_documentation_names_is_understood(known):
    assert opened(known) is not None
