"""E-mail over SMTP: STARTTLS or TLS, login, one response per recipient."""

import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from ipaddress import ip_address
from typing import Literal, TypeAlias

from exd_dagster.alerts.channels.email_message import email_message, message_id
from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.http import tls_context
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.policy.retry import Outcome, smtp_outcome

Tls: TypeAlias = Literal["starttls", "tls", "none"]
TLS: tuple[Tls, ...] = ("starttls", "tls", "none")
_Replies: TypeAlias = Mapping[str, tuple[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """Hands e-mail to one SMTP server.

    Attributes:
        name: in routes.
        host: server name.
        port: TCP port.
        sender: address in From.
        to: addresses in To.
        tls: "starttls" (required, never skipped), "tls" from the first byte, or "none" (stated by name).
        user: login name, or None.
        password: never sent before TLS.
        ca_file: PEM file of a further certificate authority.
        timeout: seconds of one attempt.
    """

    name: str
    host: str
    port: int = 587
    sender: str
    to: tuple[str, ...]
    tls: Tls = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    timeout: float = 5.0
    channel: Literal["email"] = "email"

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Send one mail to every recipient, or to those left over from a partial success."""
        recipients = notification.recipients or self.to
        try:
            mail = email_message(notification.message, self.sender, self.to, notification.created_at)
            with self._connect() as server:
                replies = server.send_message(mail, self.sender, list(recipients))
        except smtplib.SMTPRecipientsRefused as error:
            return self._partly(recipients, error.recipients, notification.id)
        except smtplib.SMTPResponseException as error:
            return smtp_outcome(error.smtp_code, self._said(error.smtp_error))
        except smtplib.SMTPNotSupportedError as error:
            return Outcome(status="dead", detail=self._said(error), whole=True)
        except (ValueError, MessageError) as error:  # an address no mail can be written to
            return Outcome(status="dead", detail=self._said(error), whole=True)
        except (OSError, smtplib.SMTPException) as error:
            return Outcome(status="retry", detail=self._said(f"{type(error).__name__}: {error}"))
        return self._partly(recipients, replies, notification.id)

    def _connect(self) -> smtplib.SMTP:
        """Connect, secure and log in; a server that offers no STARTTLS is refused."""
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=self.timeout, context=tls_context(self.ca_file)
            )
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        try:
            if self.tls == "starttls":
                server.starttls(context=tls_context(self.ca_file))
            if self.user:
                server.login(self.user, self.password or "")
        except BaseException:
            server.close()
            raise
        return server

    def _partly(self, recipients: Sequence[str], replies: _Replies, entry: str) -> Outcome:
        """Combine the responses: permanent rejections are listed, temporary ones are retried."""
        outcomes = {
            address: smtp_outcome(code, self._said(text)) for address, (code, text) in replies.items()
        }
        refused = {a: o.detail for a, o in outcomes.items() if o.status == "dead"}
        later = tuple(a for a, o in outcomes.items() if o.status == "retry")
        served = len(recipients) - len(outcomes)
        if later:
            detail = outcomes[later[0]].detail
            return Outcome(status="retry", detail=detail, refused=refused, remaining=later)
        if not served:
            return Outcome(status="dead", detail="; ".join(sorted(set(refused.values()))), refused=refused)
        said = f"accepted for {served} of {len(recipients)} recipients"
        return Outcome(status="sent", detail=said, provider_id=message_id(entry), refused=refused)

    def _said(self, text: object) -> str:
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return redact(shown, [self.password], 200)


def is_loopback(host: str) -> bool:
    """True for this machine, by name or literal address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
