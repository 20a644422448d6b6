"""Slack on 127.0.0.1: the methods of its Web API that alerts use, and Socket Mode's WebSocket."""

import json
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.servers.http import HttpServer, Received, Reply

APP, TEAM, CHANNEL = "A0EXD", "T0TEAM", "C0GROWTH"
BOT_TOKEN, APP_TOKEN = "xoxb-1-2-thebotsowntoken", "xapp-1-A0EXD-2-theapplevelone"


class SlackServer:
    """Keeps what was posted; `press` sends what Slack sends when a person presses a button.

    Attributes:
        calls: (method, body) of each call, oldest first.
        messages: by ts, the body a message has now.
        views: the forms that were opened, oldest first.
        acknowledged: ids of envelopes that were acknowledged.
        connections: how often a WebSocket was opened.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.messages: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.acknowledged: list[str] = []
        self.connections = 0
        self.refuse: dict[str, str] = {}
        self._open: list[ServerConnection] = []
        self._envelopes = 0
        self._http = HttpServer(default=self._answer)
        self._sockets = serve(self._session, "127.0.0.1", 0)

    def __enter__(self) -> "SlackServer":
        self._http.__enter__()
        threading.Thread(target=self._sockets.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        self._sockets.shutdown()
        self._http.__exit__()

    @property
    def url(self) -> str:
        """Base address of the Web API."""
        return f"{self._http.url}/api/"

    def called(self, method: str) -> list[dict[str, Any]]:
        """The body of each call of a method."""
        return [body for name, body in self.calls if name == method]

    def _answer(self, request: Received) -> Reply:
        method = request.path.removeprefix("/api/").partition("?")[0]
        kind = "xapp-" if method == "apps.connections.open" else "xoxb-"
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        body = _body(request)
        self.calls.append((method, body))
        if method in self.refuse or not token.startswith(kind):
            return _reply(ok=False, error=self.refuse.get(method, "not_allowed_token_type"))
        if method == "apps.connections.open":
            port = self._sockets.socket.getsockname()[1]
            return _reply(ok=True, url=f"ws://127.0.0.1:{port}/link/?ticket=1")
        if method == "auth.test":
            return _reply(ok=True, team_id=TEAM, user_id="U0BOT", bot_id="B0BOT")
        if method == "chat.postMessage":
            ts = f"{time.time():.6f}"
            self.messages[ts] = {**body, "channel": CHANNEL}
            return _reply(ok=True, channel=CHANNEL, ts=ts)
        if method == "chat.update":
            self.messages[body["ts"]] = {**self.messages.get(body["ts"], {}), **body}
            return _reply(ok=True, channel=CHANNEL, ts=body["ts"])
        if method == "views.open":
            self.views.append(body["view"])
            return _reply(ok=True, view={"id": f"V{len(self.views)}"})
        return _reply(ok=True) if method == "chat.postEphemeral" else _reply(ok=False, error="unknown_method")

    def _session(self, connection: ServerConnection) -> None:
        self.connections += 1
        self._open.append(connection)
        hello = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": APP}}
        try:
            connection.send(json.dumps(hello))
            for text in connection:
                answer = json.loads(text)
                self.acknowledged.append(answer["envelope_id"])
        except ConnectionClosed:
            pass
        finally:
            self._open.remove(connection)

    def wait(self, is_true: Any, what: str, seconds: float = 60) -> None:
        """Return once it is true."""
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
            time.sleep(0.05)

    def send(self, payload: Mapping[str, Any]) -> str:
        """Send an interactive envelope over a connection, wait until it is acknowledged, return its id."""
        self.wait(lambda: self._open, "a connection")
        self._envelopes += 1
        name = f"envelope-{self._envelopes}"
        envelope = {"type": "interactive", "envelope_id": name, "accepts_response_payload": True}
        self._open[-1].send(json.dumps({**envelope, "payload": payload}))
        self.wait(lambda: name in self.acknowledged, f"the acknowledgement of {name}")
        return name

    def refresh(self) -> None:
        """Ask for a new connection, as Slack does every few hours."""
        self._open[-1].send(json.dumps({"type": "disconnect", "reason": "refresh_requested"}))

    def drop(self) -> None:
        """End every connection without a word."""
        for connection in list(self._open):
            connection.socket.shutdown(2)

    def newest(self) -> str:
        """The ts of the newest message with buttons that answer."""
        return max(ts for ts, body in self.messages.items() if "exd:" in json.dumps(body))

    def press(self, ts: str, kind: str, user: str, **changes: Any) -> str:
        """Press a button of a message."""
        return self.send(pressed(self.messages[ts], ts, kind, user, **changes))

    def fill_in(self, ts: str, kind: str, user: str, reason: str, until: datetime, **changes: Any) -> str:
        """Press a button that opens a form, fill that in, and send it."""
        opened = len(self.views)
        self.press(ts, kind, user)
        self.wait(lambda: len(self.views) > opened, "the form")
        return self.send(submitted(self.views[-1], user, reason, until, **changes))


def submitted(
    view: Mapping[str, Any], user: str, reason: str, until: datetime, **changes: Any
) -> dict[str, Any]:
    """Return what Slack sends for a form, with the shape of its view_submission payload."""
    values = {
        "why": {"reason": {"type": "plain_text_input", "value": reason}},
        "ends": {"until": {"type": "datetimepicker", "selected_date_time": int(until.timestamp())}},
    }
    payload = {
        "type": "view_submission",
        "team": {"id": TEAM, "domain": "exd"},
        "user": {"id": user, "username": "ana", "name": "ana", "team_id": TEAM},
        "api_app_id": APP,
        "token": "verification",
        "trigger_id": "1.2.4",
        "view": {
            **view,
            "id": "V1",
            "app_id": APP,
            "bot_id": "B0BOT",
            "state": {"values": values},
            "hash": "1",
        },
        "response_urls": [],
        "is_enterprise_install": False,
        "enterprise": None,
    }
    return {**payload, **changes}


def pressed(body: Mapping[str, Any], ts: str, kind: str, user: str, **changes: Any) -> dict[str, Any]:
    """Return what Slack sends for a button, with the shape of its block_actions payload."""
    found = [
        {**element, "block_id": "b1", "action_ts": f"{time.time():.6f}"}
        for block in body["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
        if element["action_id"].endswith(f":{kind}")
    ]
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "ana", "name": "ana", "team_id": TEAM},
        "api_app_id": APP,
        "token": "verification",
        "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL, "is_ephemeral": False},
        "trigger_id": "1.2.3",
        "team": {"id": TEAM, "domain": "exd"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": CHANNEL, "name": "growth"},
        "message": {
            "bot_id": "B0BOT",
            "type": "message",
            "text": body["text"],
            "user": "U0BOT",
            "ts": ts,
            "app_id": APP,
            "team": TEAM,
            "blocks": [{"block_id": f"b{i}", **block} for i, block in enumerate(body["blocks"])],
        },
        "state": {"values": {}},
        "response_url": "https://hooks.slack.com/actions/T0TEAM/1/x",
        "actions": found[:1],
    }
    return {**payload, **changes}


def _body(request: Received) -> dict[str, Any]:
    if request.body[:1] == b"{":
        return request.json
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def _reply(**values: Any) -> Reply:
    return Reply(body=json.dumps(values))
