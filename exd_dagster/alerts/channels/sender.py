"""What every channel is given and what it offers: one method, one outcome, no decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from exd_dagster.alerts.messages.message import Message, plain_text
from exd_dagster.alerts.model import Alert, Channel, Reason
from exd_dagster.alerts.policy.retry import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message for one destination, with its alerts; callbacks receive this object.

    Attributes:
        id: stable over every attempt; use it to drop a duplicate.
        reason: fire, remind, contained, resolve, not_checked, digest, dead_letter or shutoff.
        message: the neutral message.
        alerts: its alerts; one for webhooks and callbacks, none for a digest.
        created_at: when it was decided (UTC).
        thread: what the channel returned for the first message of the incident.
        closes_thread: True when no open incident is left in the thread.
        recipients: those still to be reached; empty: all.
    """

    id: str
    reason: Reason
    message: Message
    alerts: tuple[Alert, ...] = ()
    created_at: datetime
    thread: Mapping[str, str] = field(default_factory=dict)
    closes_thread: bool = False
    recipients: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The message as plain text."""
        return plain_text(self.message)


class Sender(Protocol):
    """A destination that can be used now.

    Attributes:
        name: the destination's name in routes.
        channel: what kind of destination it is.
        timeout: seconds one attempt may take.
    """

    @property
    def name(self) -> str:
        """Name in routes."""

    @property
    def channel(self) -> Channel:
        """Kind of destination."""

    @property
    def timeout(self) -> float:
        """Seconds one attempt may take."""

    def send(self, notification: Notification, now: datetime) -> Outcome:
        """Send once and return the outcome; errors of the destination are outcomes, not exceptions."""
