"""A local inbox: servers on 127.0.0.1 for Slack's API, SMTP and HTTP, which save what they receive.

For the demonstration and for trying destinations out; no authentication, no TLS, loopback only.
"""

import email
import email.policy
import json
import re
import socketserver
import threading
from email.message import EmailMessage
from html import escape, unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
_NAME = re.compile(r"[^a-z0-9]+")


class Inbox:
    """Receives Slack messages, e-mail and webhooks while it is open.

    Attributes:
        folder: below it `slack/`, `email/` and `webhook/` contain numbered files.
        slack_url: base address of the Web API, for `SlackAlerts(base_url=...)`.
        webhook_url: address for `WebhookAlerts(url=...)`.
        smtp_port: port for `EmailAlerts(host="127.0.0.1", port=...)`.

    Examples:
        >>> with Inbox(Path(".demo/inbox")) as inbox:  # doctest: +SKIP
        ...     print(inbox.slack_url)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer((HOST, 0), _http_handler(self))
        self._smtp = socketserver.ThreadingTCPServer((HOST, 0), _smtp_handler(self))
        for server in (self._http, self._smtp):
            server.daemon_threads = True
        base = f"http://{HOST}:{self._http.server_address[1]}"
        self.slack_url = f"{base}/api/"
        self.webhook_url = f"{base}/webhook"
        self.smtp_port = int(self._smtp.server_address[1])

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which the demo's destinations find these servers."""
        return {
            "EXD_DEMO_SLACK_TOKEN": "xoxb-demo",
            "EXD_DEMO_SLACK_URL": self.slack_url,
            "EXD_DEMO_SMTP_PORT": str(self.smtp_port),
            "EXD_DEMO_WEBHOOK_URL": self.webhook_url,
        }

    def __enter__(self) -> "Inbox":
        for server in (self._http, self._smtp):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._http, self._smtp):
            server.shutdown()
            server.server_close()

    def keep(self, channel: str, title: str, parts: dict[str, str | bytes]) -> int:
        """Write one received message as `<number>-<title>.<ending>` for each ending; return its number."""
        folder = self.folder / channel
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            number = 1 + max((int(path.name[:3]) for path in folder.glob("[0-9][0-9][0-9]-*")), default=0)
            stem = f"{number:03d}-{_NAME.sub('-', title.lower()).strip('-')[:60] or 'message'}"
            for ending, content in parts.items():
                data = content.encode() if isinstance(content, str) else content
                (folder / f"{stem}.{ending}").write_bytes(data)
        return number


def _http_handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw or b"{}")
            answer = _slack(inbox, self.path, body) if self.path.startswith("/api/") else _hook(inbox, body)
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Log nothing; the files are the record."""

    return Handler


def _slack(inbox: Inbox, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer as chat.postMessage and chat.update do."""
    blocks = body.get("blocks") or []
    text = "\n".join(_block_text(block) for block in blocks) or str(body.get("text", ""))
    title = text.partition("\n")[0]
    page = f"<!doctype html><meta charset=utf-8><pre>{escape(text)}</pre>\n"
    parts: dict[str, str | bytes] = {
        "json": json.dumps(body, indent=2, ensure_ascii=False),
        "txt": text + "\n",
        "html": page,
    }
    number = inbox.keep("slack", ("update " if path.endswith("chat.update") else "") + title, parts)
    ts = body.get("ts") or f"1700000000.{number:06d}"
    return {"ok": True, "channel": body.get("channel", ""), "ts": ts}


def _block_text(block: dict[str, Any]) -> str:
    texts = [block.get("text") or {}, *block.get("elements", ())]
    return unescape("\n".join(str(text.get("text", "")) for text in texts if text))


def _hook(inbox: Inbox, body: dict[str, Any]) -> dict[str, Any]:
    details = body.get("details") or {}
    said = (body.get("status", ""), body.get("alert_type", ""), details.get("flag", ""))
    title = " ".join(str(part) for part in said)
    inbox.keep("webhook", title, {"json": json.dumps(body, indent=2, ensure_ascii=False)})
    return {"ok": True}


def _smtp_handler(inbox: Inbox) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 exd_dagster inbox")
            while line := self.rfile.readline(1000):
                command = line.strip().upper()
                if command.startswith(b"DATA"):
                    self._say("354 end with a dot")
                    _mail(inbox, self._content())
                    self._say("250 kept")
                elif command.startswith(b"QUIT"):
                    self._say("221 bye")
                    return
                elif command.startswith((b"EHLO", b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP")):
                    self._say("250 ok")
                else:
                    self._say("502 not known here")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def _content(self) -> bytes:
            lines = []
            while (line := self.rfile.readline(100_000)) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return b"".join(lines)

    return Handler


def _mail(inbox: Inbox, raw: bytes) -> None:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    parts: dict[str, str | bytes] = {"eml": raw}
    for ending, kind in (("txt", "plain"), ("html", "html")):
        body = message.get_body((kind,)) if isinstance(message, EmailMessage) else None
        if body is not None:
            parts[ending] = body.get_content()
    inbox.keep("email", str(message.get("Subject", "")), parts)
