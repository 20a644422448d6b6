"""Webhooks: one JSON payload per alert, signed by the Standard Webhooks specification, never redirected."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from exd_dagster.alerts.channels.guard import redact, url_faults, url_secrets
from exd_dagster.alerts.channels.http import answer_of
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.messages.message import Message, plain_text
from exd_dagster.alerts.messages.text import clip
from exd_dagster.alerts.model import Alert, Channel
from exd_dagster.alerts.policy.retry import Outcome, http_outcome
from exd_dagster.stats.verdict import plain

SCHEMA_VERSION = 1
MAX_BYTES = 20_000
_TEXT, _ITEMS, _WHOLE = 120, 24, 2000
_WHOSE = ("flag", "namespace", "environment", "alert_id", "incident_id")
"""Limits of texts and lists in a payload whose main numbers alone are too long."""
_KEPT = (
    "expected",
    "observed",
    "n",
    "p_value",
    "chi_square",
    "threshold",
    "verdict",
    "state",
    "bad_from",
    "remembered",
    "failed_observed",
    "failed_expected",
    "failed_n",
    "failed_p_value",
    "detected_at",
)
WEBHOOK = Channel("webhook", can_suspend=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Posts JSON to one URL.

    Attributes:
        name: in routes.
        url: where to post.
        secrets: signing keys, `whsec_` and base64; every one signs, so a key can be rotated.
        headers: further headers, for example an authorization.
        allow_hosts: hosts that may be private or plain http.
        ca_file: PEM file of a further certificate authority.
        timeout: seconds of one attempt.
    """

    name: str
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_hosts: tuple[str, ...] = ()
    ca_file: str | None = None
    timeout: float = 5.0
    channel: Channel = WEBHOOK

    def send(self, notification: Notification, now: datetime) -> Outcome:
        """Post once; the id is the same for every attempt, timestamp and signature are new."""
        body = payload_bytes(notification)
        signed = signature_headers(notification.id, body, now, self.secrets)
        hidden = (*url_secrets(self.url), *self.secrets, *self.headers.values())
        answer = answer_of(
            self.url,
            body,
            {**self.headers, "Content-Type": "application/json", "User-Agent": "exd_dagster", **signed},
            hidden,
            timeout=self.timeout,
            allow_hosts=self.allow_hosts,
            ca_file=self.ca_file,
        )
        if isinstance(answer, Outcome):
            return answer
        outcome = http_outcome(
            answer.status, answer.headers.get("retry-after"), now, redact(answer.body, hidden, 200)
        )
        if outcome.status == "sent":
            return Outcome(status="sent", detail=f"HTTP {answer.status}", provider_id=notification.id)
        return outcome


def signature_headers(message_id: str, body: bytes, now: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """Return the Standard Webhooks headers: id, timestamp, and one v1 signature per key.

    The signature is HMAC-SHA256 over `id.timestamp.body` (https://www.standardwebhooks.com).
    """
    timestamp = str(int(now.timestamp()))
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
    if secrets:
        signed = f"{message_id}.{timestamp}.".encode() + body
        headers["webhook-signature"] = " ".join(f"v1,{_sign(key, signed)}" for key in secrets)
    return headers


def _sign(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def secret_faults(secret: str) -> list[str]:
    """Return what is wrong with a signing key, without quoting it."""
    try:
        length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        return ["secret: is not base64; write whsec_ followed by 24 to 64 random bytes in base64"]
    if not secret.startswith("whsec_") or not 24 <= length <= 64:
        return [f"secret: has {length} bytes; write whsec_ followed by 24 to 64 random bytes in base64"]
    return []


def payload_bytes(notification: Notification) -> bytes:
    """Return the exact bytes to send: strict JSON of at most 20 kB."""
    for body in (_encode(payload(notification)), _encode(payload(notification, short=True))):
        if len(body) <= MAX_BYTES:
            return body
    return _encode(_cut(payload(notification, short=True)))


def _cut(value: Any) -> Any:
    """Return JSON with long texts and lists shortened, so that long names cannot prevent an alert."""
    # The fields that identify the alert are kept in full.
    if isinstance(value, Mapping):
        return {
            clip(key, _TEXT): clip(item, _WHOLE) if key in _WHOSE and isinstance(item, str) else _cut(item)
            for key, item in [*value.items()][:_ITEMS]
        }
    if isinstance(value, list):
        return [_cut(item) for item in value[:_ITEMS]]
    return clip(value, _TEXT) if isinstance(value, str) else value


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()


def payload(notification: Notification, *, short: bool = False) -> dict[str, Any]:
    """Return the payload: the seed's keys `alert_type`, `message`, `details`, in a versioned envelope.

    Args:
        notification: what to send.
        short: keep only the main numbers in `details`.
    """
    message = notification.message
    alert = None if notification.reason == "digest" else next(iter(notification.alerts), None)
    return {
        "type": f"exd.alert.{message.status}",
        "schema_version": SCHEMA_VERSION,
        "id": notification.id,
        "timestamp": plain(notification.created_at),
        "reason": notification.reason,
        "status": message.status,
        "alert_type": alert.alert_type if alert else notification.reason.upper(),
        "message": _said(message, alert) if alert else plain_text(message)[:4000],
        "details": _details(notification, alert, short=short) if alert else _listing(notification),
    }


def _said(message: Message, alert: Alert) -> str:
    said = message.lead if message.status == "not_monitored" else alert.sentence
    return f"{message.headline}. {said}".strip()


def _listing(notification: Notification) -> dict[str, Any]:
    sections = notification.message.sections
    return {"lines": [{"heading": section.heading, "points": list(section.points)} for section in sections]}


def _details(notification: Notification, alert: Alert, *, short: bool) -> dict[str, Any]:
    facts = {name: value for name, value in alert.facts.items() if not short or name in _KEPT}
    links = [link for section in notification.message.sections for link in section.links]
    return {
        **facts,
        "flag": alert.flag.key,
        "namespace": alert.flag.namespace,
        "environment": alert.flag.environment,
        "check": alert.check,
        "severity": alert.severity,
        "mode": alert.mode,
        "owners": list(alert.owners),
        "sentence": alert.sentence,
        "opened_at": plain(alert.opened_at),
        "alert_id": alert.id,
        "incident_id": notification.message.threads[0] if notification.message.threads else None,
        "run_id": alert.run_id,
        "links": dict(links),
        "truncated": short,
    }


class WebhookSettings(Settings):
    """Settings of the channel `webhook`."""

    kind: ClassVar[Channel] = WEBHOOK
    secrets: ClassVar[frozenset[str]] = frozenset({"secret", "previous_secret", "authorization"})
    late: ClassVar[frozenset[str]] = frozenset({"url"})

    name: str = Field(default="webhook", min_length=1, description="Name in routes.")
    url: str = Field(repr=False, description="Where to post; https unless the host is in allow_hosts.")
    secret: str | None = Field(default=None, repr=False, description="Signing key: whsec_ and base64.")
    previous_secret: str | None = Field(default=None, repr=False, description="Old key, while it is rotated.")
    authorization: str | None = Field(
        default=None, repr=False, description="Value of the Authorization header."
    )
    allow_hosts: list[str] = Field(
        default=[], description="Host names, addresses or networks that may be private or plain http."
    )
    ca_file: str | None = Field(default=None, description="PEM file of a further certificate authority.")

    def faults(self) -> list[str]:
        """Return what is wrong with the URL and the keys."""
        url = self.value("url")
        faults = url_faults(url, self.allow_hosts) if url else []
        for key in ("secret", "previous_secret"):
            if value := self.value(key):
                faults += [fault.replace("secret", key, 1) for fault in secret_faults(value)]
        return faults

    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when the URL or a configured secret is not set.
        """
        keys = [self.needed(f) for f in ("secret", "previous_secret") if getattr(self, f) is not None]
        authorized = self.authorization is not None
        return Webhook(
            name=self.name,
            url=self.needed("url"),
            secrets=tuple(keys),
            headers={"Authorization": self.needed("authorization")} if authorized else {},
            allow_hosts=tuple(self.allow_hosts),
            ca_file=self.ca_file,
            timeout=self.timeout,
        )
