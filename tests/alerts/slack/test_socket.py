"""The connection by Socket Mode: acknowledged, reconnected, and never stopped by one press."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.slack.socket import SlackConnection
from exd_dagster.errors import DeliveryError
from tests.servers.slack import APP, APP_TOKEN, BOT_TOKEN, CHANNEL, TEAM, SlackServer

BUTTON = {
    "type": "button",
    "action_id": "exd:waive",
    "value": "v",
    "text": {"type": "plain_text", "text": "W"},
}
MESSAGE = {"text": "x", "blocks": [{"type": "actions", "elements": [BUTTON]}]}


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer() as server:
        server.messages["1.1"] = MESSAGE
        yield server


class Presses:
    """Keeps what arrives; raises at the user "U0RAISES"."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, _: SlackConnection, payload: Mapping[str, Any]) -> None:
        self.seen.append(payload["user"]["id"])
        if payload["user"]["id"] == "U0RAISES":
            raise RuntimeError(f"a fault with {BOT_TOKEN} in it")


@pytest.fixture
def presses() -> Presses:
    return Presses()


@pytest.fixture
def connection(server: SlackServer, presses: Presses) -> Iterator[SlackConnection]:
    found = connected(server, presses)
    yield found
    found.close()


def connected(server: SlackServer, presses: Presses, app_token: str = APP_TOKEN) -> SlackConnection:
    bot = SlackBot(name="slack", token=BOT_TOKEN, conversation="#growth", base_url=server.url)
    found = SlackConnection(
        bot=bot, app_token=app_token, pressed=presses, log=logging.getLogger("t"), ping_interval=0.3
    )
    found.open()
    server.wait(lambda: found.app_id, "hello")
    return found


def test_it_knows_its_app_and_workspace_from_slack_itself(connection: SlackConnection) -> None:
    assert (connection.app_id, connection.team_id, connection.connected) == (APP, TEAM, True)


def test_a_press_is_acknowledged_and_handed_on(connection, server, presses) -> None:
    server.press("1.1", "waive", "U0ANA")
    server.wait(lambda: presses.seen == ["U0ANA"], "the press")


def test_after_slack_asks_for_a_new_connection_presses_arrive_there(connection, server, presses) -> None:
    server.refresh()
    server.wait(lambda: server.connections == 2, "the new connection")
    server.wait(lambda: len(server._open) == 1, "the end of the old one")
    server.press("1.1", "waive", "U0ANA")
    server.wait(lambda: presses.seen == ["U0ANA"], "the press")


def test_a_lost_connection_is_made_anew(connection, server, presses) -> None:
    server.drop()
    server.wait(lambda: server.connections == 2, "the new connection")
    server.press("1.1", "waive", "U0ANA")
    server.wait(lambda: presses.seen == ["U0ANA"], "the press")


def test_it_is_made_anew_once_slack_can_be_reached_again(connection, server, presses) -> None:
    server.refuse["apps.connections.open"] = "internal_error"
    server.drop()
    server.wait(lambda: len(server.called("apps.connections.open")) >= 3, "two attempts")
    assert not connection.connected
    server.refuse.clear()
    server.press("1.1", "waive", "U0ANA")
    server.wait(lambda: presses.seen == ["U0ANA"], "the press")


def test_a_press_that_fails_stops_nothing_and_its_secret_stays_out_of_the_log(
    connection, server, presses, caplog
) -> None:
    server.press("1.1", "waive", "U0RAISES")
    server.press("1.1", "waive", "U0ANA")
    server.wait(lambda: presses.seen == ["U0RAISES", "U0ANA"], "both presses")
    assert "a press could not be handled: RuntimeError" in caplog.text
    assert BOT_TOKEN not in caplog.text


def test_what_is_no_interaction_is_acknowledged_and_ignored(connection, server, presses) -> None:
    server.send({"type": "block_actions", "user": {"id": "U0ANA"}})
    server.wait(lambda: presses.seen == ["U0ANA"], "the press")
    assert len(server.acknowledged) == 1


@pytest.mark.parametrize(
    ("error", "fix"),
    [("missing_scope", "connections:write"), ("forbidden_for_connections", "switch on Socket Mode")],
)
def test_what_slack_refuses_is_an_error_with_its_fix(server, presses, error: str, fix: str) -> None:
    server.refuse["apps.connections.open"] = error
    with pytest.raises(DeliveryError, match=fix):
        connected(server, presses)


def test_a_bot_token_in_place_of_the_app_level_one_is_named(server, presses) -> None:
    with pytest.raises(DeliveryError, match="it begins with xapp-") as caught:
        connected(server, presses, app_token=BOT_TOKEN)
    assert BOT_TOKEN not in str(caught.value)


def test_a_slack_out_of_reach_is_an_error_without_the_tokens(presses) -> None:
    with SlackServer() as gone:
        pass
    with pytest.raises(DeliveryError, match="Slack cannot be reached") as caught:
        connected(gone, presses)
    assert APP_TOKEN not in str(caught.value)


def test_a_whisper_reaches_one_person_and_an_edit_the_message(connection, server) -> None:
    assert connection.ephemeral(CHANNEL, "U0ANA", "no").status == "sent"
    assert connection.edit(CHANNEL, "1.1", "x", []).status == "sent"
    assert server.called("chat.postEphemeral")[0]["user"] == "U0ANA"
    assert server.messages["1.1"]["blocks"] == []
