"""E-mail over SMTP: STARTTLS or TLS, login, one response per recipient."""

import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from ipaddress import ip_address
from typing import ClassVar, Literal, TypeAlias, get_args

from pydantic import Field

from exd_dagster.alerts.channels.email_message import email_message, message_id
from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.http import tls_context
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings, is_late, read
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome, smtp_outcome
from exd_dagster.errors import did_you_mean

Tls: TypeAlias = Literal["starttls", "tls", "none"]
TLS: tuple[Tls, ...] = get_args(Tls)
_Replies: TypeAlias = Mapping[str, tuple[int, bytes]]
EMAIL = Channel("email", read_by_people=True)


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
    channel: Channel = EMAIL

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


class EmailSettings(Settings):
    """Settings of the channel `email`."""

    kind: ClassVar[Channel] = EMAIL
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})
    late: ClassVar[frozenset[str]] = frozenset({"host", "sender", "user"})

    name: str = Field(default="email", min_length=1, description="Name in routes.")
    host: str = Field(min_length=1, description="SMTP server.")
    port: int = Field(default=587, ge=0, le=65535, description="TCP port.")
    sender: str | None = Field(
        default=None, description="Address in From; None: exd-dagster at the first recipient's domain."
    )
    to: list[str] = Field(min_length=1, description="Addresses in To.")
    tls: str | None = Field(
        default=None, description="starttls, tls or none; None: starttls, on this machine none."
    )
    user: str | None = Field(default=None, description="Login name.")
    password: str | None = Field(default=None, repr=False, description="Login password.")
    ca_file: str | None = Field(default=None, description="PEM file of a further certificate authority.")

    def faults(self) -> list[str]:
        """Return what is wrong with addresses, port and transport security."""
        faults = []
        for place, address in [("sender", self.sender), *(("to", address) for address in self.to)]:
            if address is None or is_late(address):
                continue
            if "@" not in address or any(ord(c) <= 32 or ord(c) == 127 for c in address):
                faults.append(f"{place}: {address!r} is not an e-mail address; write name@example.com")
        if not self.port and not is_late(self.port):
            faults.append("port: 0 is not a port; SMTP servers listen on 587, 465 or 25")
        if self.tls is not None and self.tls not in TLS:
            faults.append(f"tls: '{self.tls}' is not known.{did_you_mean(self.tls, TLS)}")
        host = self.value("host")
        if self.tls == "none" and self.user and host and not is_loopback(host):
            faults.append("tls: 'none' would send the password in the clear; use 'starttls' or 'tls'")
        return faults

    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when the address or a configured secret is not set.
        """
        host, to = self.needed("host"), tuple(read(address, "to") for address in self.to)
        return Smtp(
            name=self.name,
            host=host,
            port=int(self.needed("port")),
            sender=self.needed("sender") if self.sender else f"exd-dagster@{to[0].rpartition('@')[2]}",
            to=to,
            tls=_tls(self.tls, host),
            user=self.needed("user") if self.user is not None else None,
            password=self.needed("password") if self.password is not None else None,
            ca_file=self.ca_file,
            timeout=self.timeout,
        )


def _tls(given: str | None, host: str) -> Tls:
    return next((tls for tls in TLS if tls == given), "none" if is_loopback(host) else "starttls")
