"""Where alerts are switched off: every message is rendered and logged, none is sent."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.retry import Outcome
from exd_dagster.alerts.sender import Notification
from exd_dagster.alerts.tick import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOnly:
    """Writes what a destination would have been told into the log."""

    name: str
    channel: Channel
    log: logging.Logger
    timeout: float = 5.0

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Log the message."""
        self.log.info("Alerts: not sent to %s:\n%s", self.name, notification.text)
        return Outcome(status="sent", detail="rendered only, alerts are off")


def log_only(desk: Desk, log: logging.Logger) -> Desk:
    """Return the same desk with every sender, and the hook, replaced by the log."""
    senders = {name: LogOnly(name=name, channel=s.channel, log=log) for name, s in desk.senders.items()}
    hook = LogOnly(name=desk.hook.name, channel=desk.hook.channel, log=log) if desk.hook else None
    return replace(desk, senders=senders, hook=hook)
