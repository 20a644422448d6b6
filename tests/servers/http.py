"""A real HTTP or HTTPS server on 127.0.0.1 that answers as scripted and keeps what it received."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer; `reset` closes the connection without any, `stall` waits until the server is closed."""

    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    stall: bool = False


class HttpServer:
    """Answers POSTs with `script` in order, then with `default` for ever."""

    def __init__(
        self,
        *script: Reply,
        default: Reply | Callable[[Received], Reply] = Reply(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = list(script)
        self.default = default
        self.received: list[Received] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> "HttpServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, request: Received) -> Reply:
        self.received.append(request)
        if self.script:
            return self.script.pop(0)
        return self.default(request) if callable(self.default) else self.default

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = outer._next(Received(self.path, headers, body))
                if reply.stall:
                    outer._closing.wait(30)
                if reply.reset or reply.stall:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                data = reply.body.encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None: ...

        return Handler


def slack_answers(request: Received) -> Reply:
    """Answer as Slack's chat.postMessage and chat.update do."""
    body = request.json
    return Reply(body=json.dumps({"ok": True, "channel": "C1", "ts": body.get("ts") or f"{id(body)}.1"}))


def slack_refuses(error: str, **headers: str) -> Reply:
    """Slack answers HTTP 200 and ok false."""
    return Reply(body=json.dumps({"ok": False, "error": error}), headers=headers)
