"""PagerDuty, Events API v2: one `dedup_key` per incident; triggered, acknowledged and resolved with it.

Formats: https://developer.pagerduty.com/docs/events-api-v2-overview (read 2026-11).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar

from pydantic import Field

from exd_dagster.alerts.channels.guard import redact, url_faults
from exd_dagster.alerts.channels.http import answer_of
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.channels.webhook import payload_bytes
from exd_dagster.alerts.messages.message import MessageStatus
from exd_dagster.alerts.messages.text import clip
from exd_dagster.alerts.model import Alert, Channel
from exd_dagster.alerts.policy.retry import Outcome, http_outcome
from exd_dagster.stats.verdict import plain

API = "https://events.pagerduty.com/v2/enqueue"
SUMMARY_LIMIT, KEY_LIMIT, LINKS = 1024, 255, 20
PAGERDUTY = Channel("pagerduty", acknowledges=True)
_ACTIONS: Mapping[MessageStatus, str] = {"resolved": "resolve", "acknowledged": "acknowledge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """Sends events to one PagerDuty service.

    Attributes:
        name: in routes.
        routing_key: integration key of the service.
        url: the events endpoint of the account's region.
        allow_hosts: hosts that may be private or plain http.
        timeout: seconds of one attempt.
    """

    name: str
    routing_key: str = field(repr=False)
    url: str = API
    allow_hosts: tuple[str, ...] = ()
    timeout: float = 5.0
    channel: Channel = PAGERDUTY

    def send(self, notification: Notification, now: datetime) -> Outcome:
        """Send one event; the same event again changes nothing, for its `dedup_key` is the incident's."""
        body = json.dumps({"routing_key": self.routing_key, **event(notification)}, allow_nan=False)
        hidden = (self.routing_key,)
        answer = answer_of(
            self.url,
            body.encode(),
            {"Content-Type": "application/json", "User-Agent": "exd_dagster"},
            hidden,
            timeout=self.timeout,
            allow_hosts=self.allow_hosts,
        )
        if isinstance(answer, Outcome):
            return answer
        said = redact(answer.body, hidden, 200)
        outcome = http_outcome(answer.status, answer.headers.get("retry-after"), now, said)
        if outcome.status == "sent":
            detail = f"HTTP {answer.status}"
            return Outcome(status="sent", detail=detail, provider_id=dedup_key(notification))
        if answer.status == 400 and "routing_key" in answer.body:
            fix = "check the integration key of the PagerDuty service (Events API v2)"
            return Outcome(status="dead", detail=f"{outcome.detail}: {fix}", whole=True)
        return outcome


def dedup_key(notification: Notification) -> str:
    """Return the key of the incident, the same for its first message and its last."""
    alert = next(iter(notification.alerts), None)
    own = alert.id if alert else notification.id
    key = f"exd-{notification.message.threads[0] if notification.message.threads else own}"
    return key if len(key) <= KEY_LIMIT else f"exd-{sha256(key.encode()).hexdigest()}"


def severity(status: MessageStatus, alert: Alert | None) -> str:
    """Return PagerDuty's severity: critical where reports are blocked, error or warning as the check says.

    Args:
        status: of the message.
        alert: what it is about.
    """
    if alert is None or status == "test":
        return "info"
    if status != "firing":
        return "warning"
    return "critical" if alert.blocks else {"ERROR": "error"}.get(alert.severity, "warning")


def event(notification: Notification) -> dict[str, Any]:
    """Return the event without its routing key."""
    message = notification.message
    alert = next(iter(notification.alerts), None)
    action = _ACTIONS.get(message.status, "trigger")
    common = {"event_action": action, "dedup_key": dedup_key(notification)}
    if action != "trigger":
        return common
    details = json.loads(payload_bytes(notification))["details"]
    links = [
        {"href": address, "text": label} for section in message.sections for label, address in section.links
    ]
    summary = f"{message.headline}. {message.lead}".strip()
    return {
        **common,
        "payload": {
            "summary": clip(summary, SUMMARY_LIMIT),
            "source": str(alert.flag) if alert else "exd_dagster",
            "severity": severity(message.status, alert),
            "timestamp": plain(notification.created_at),
            **({"component": alert.flag.key, "class": alert.alert_type} if alert else {}),
            **({"group": alert.owners[0]} if alert and alert.owners else {}),
            "custom_details": {**details, "status": message.status, "reason": notification.reason},
        },
        "client": "exd_dagster",
        "links": links[:LINKS],
    }


class PagerDutySettings(Settings):
    """Settings of the channel `pagerduty`."""

    kind: ClassVar[Channel] = PAGERDUTY
    secrets: ClassVar[frozenset[str]] = frozenset({"routing_key"})

    name: str = Field(default="pagerduty", min_length=1, description="Name in routes.")
    routing_key: str = Field(repr=False, description="Integration key of the service, Events API v2.")
    url: str = Field(
        default=API, description="Endpoint; of accounts in Europe https://events.eu.pagerduty.com/v2/enqueue."
    )
    allow_hosts: list[str] = Field(default=[], description="Hosts that may be private or plain http.")

    def faults(self) -> list[str]:
        """Return what is wrong with the endpoint."""
        url = self.value("url")
        return url_faults(url, self.allow_hosts) if url else []

    def open(self) -> Sender:
        """Return the sender, with the key read now.

        Raises:
            DeliveryError: when the key is not set.
        """
        return PagerDuty(
            name=self.name,
            routing_key=self.needed("routing_key"),
            url=self.needed("url"),
            allow_hosts=tuple(self.allow_hosts),
            timeout=self.timeout,
        )
