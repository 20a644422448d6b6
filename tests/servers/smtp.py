"""A real SMTP server with STARTTLS and AUTH on 127.0.0.1, which refuses whom it is reported to refuse."""

import socket
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword


class SmtpServer:
    """Keeps mails; `refuse` maps a recipient, or "*" for the whole mail, to the reply it gets."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, user: str = "", password: str = "", **refuse: str
    ) -> None:
        self.refuse = refuse
        self.mails: list[EmailMessage] = []
        self.envelopes: list[list[str]] = []
        self._login = (user.encode(), password.encode())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secured: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls else {}
        logins: dict[str, Any] = (
            {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": bool(tls)}
            if user
            else {}
        )
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **secured, **logins)

    def __enter__(self) -> "SmtpServer":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def _authenticate(self, *given: Any) -> AuthResult:
        login = given[-1]
        right = isinstance(login, LoginPassword) and (login.login, login.password) == self._login
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if "*" in self.refuse:
            return self.refuse["*"]
        mail = message_from_bytes(envelope.content or b"", policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.envelopes.append(list(envelope.rcpt_tos))
        return "250 OK"
