"""The connection to Slack by Socket Mode: no address of ours has to be reachable from the internet.

`slack_sdk` connects, answers pings and reconnects; here a press is acknowledged and handed on.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.messages.text import slack_escape
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.config.instants import utc_now
from exd_dagster.errors import DeliveryError

if TYPE_CHECKING:
    from slack_sdk.socket_mode.builtin import SocketModeClient
    from slack_sdk.socket_mode.request import SocketModeRequest


@dataclass(slots=True, kw_only=True)
class SlackConnection:
    """One app in one workspace.

    Attributes:
        bot: posts and edits messages.
        app_token: app-level token with the scope connections:write.
        pressed: called with the payload of each press, in a thread of its own.
        log: receives what happens to the connection, without secrets.
        ping_interval: seconds between two pings; a connection that does not answer is made anew.
        app_id: of the app, as Slack named it when the connection was made.
        team_id: of the bot's workspace.
    """

    bot: SlackBot
    app_token: str = field(repr=False)
    pressed: Callable[["SlackConnection", Mapping[str, Any]], None]
    log: logging.Logger
    ping_interval: float = 10
    app_id: str = ""
    team_id: str = ""
    _client: "SocketModeClient | None" = None

    def open(self) -> None:
        """Connect; from then on presses arrive until `close`.

        Raises:
            DeliveryError: when Slack refuses a token or cannot be reached.
        """
        from slack_sdk.errors import SlackApiError, SlackClientError
        from slack_sdk.socket_mode.builtin import SocketModeClient

        web = self.bot.client()
        self._client = SocketModeClient(
            self.app_token, logger=web.logger, web_client=web, ping_interval=self.ping_interval
        )
        self._client.message_listeners.append(self._hello)
        self._client.socket_mode_request_listeners.append(self._request)  # type: ignore[arg-type]
        try:
            self.team_id = str(web.auth_test()["team_id"])
            self._client.connect()
        except SlackApiError as error:
            self.close()
            raise DeliveryError(_refused(str(error.response.get("error", "")))) from None
        except (OSError, SlackClientError, ValueError, KeyError) as error:
            self.close()
            said = redact(error, [self.bot.token, self.app_token])
            raise DeliveryError(f"Slack cannot be reached: {said}") from None

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()

    @property
    def connected(self) -> bool:
        """True while presses arrive."""
        return self._client is not None and self._client.is_connected()

    def edit(self, channel: str, ts: str, text: str, blocks: list[dict[str, Any]]) -> Outcome:
        """Replace a message of ours."""
        return self.bot.call(
            "chat.update", {"channel": channel, "ts": ts, "text": text, "blocks": blocks}, utc_now()
        )

    def ephemeral(self, channel: str, user: str, text: str) -> Outcome:
        """Post to one person in a channel; nobody else sees it."""
        body = {"channel": channel, "user": user, "text": text, "parse": "none", "link_names": False}
        return self.bot.call("chat.postEphemeral", body, utc_now())

    def reply(self, channel: str, ts: str, text: str) -> Outcome:
        """Say something in the thread of a message of ours."""
        body = {"channel": channel, "thread_ts": ts, "text": slack_escape(text), "parse": "none"}
        return self.bot.call("chat.postMessage", body, utc_now())

    def form(self, trigger: str, view: Mapping[str, Any]) -> Outcome:
        """Open a form for the person whose press gave the trigger."""
        return self.bot.call("views.open", {"trigger_id": trigger, "view": view}, utc_now())

    def _hello(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        if message.get("type") == "hello":
            self.app_id = str((message.get("connection_info") or {}).get("app_id", ""))
            self.log.info("Slack: connected as app %s in workspace %s", self.app_id, self.team_id)

    def _request(self, client: "SocketModeClient", request: "SocketModeRequest") -> None:
        """Acknowledge first: Slack repeats what is not acknowledged within 3 seconds."""
        from slack_sdk.socket_mode.response import SocketModeResponse

        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if request.type == "interactive" and isinstance(request.payload, dict):
            try:
                self.pressed(self, request.payload)
            except Exception as error:  # noqa: BLE001 - one press never stops the next
                self.log.error(
                    "Slack: a press could not be handled: %s", redact(f"{type(error).__name__}: {error}")
                )


def _refused(error: str) -> str:
    fixes = {
        "invalid_auth": "set the app-level token; it begins with xapp-",
        "not_allowed_token_type": "set the app-level token; it begins with xapp-",
        "missing_scope": "give the app-level token the scope connections:write",
        "forbidden_for_connections": "switch on Socket Mode in the app's settings",
    }
    return f"Slack answered {error}: {fixes.get(error, 'see the settings of the app')}"
