"""Where alerts are switched off: every message is rendered and logged, none is sent."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.alerts.tick import AlertingSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOnly:
    """Logs what would have been sent to a destination."""

    name: str
    channel: Channel
    log: logging.Logger
    timeout: float = 5.0

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Log the message."""
        self.log.info("Alerts: not sent to %s:\n%s", self.name, notification.text)
        return Outcome(status="sent", detail="rendered only, alerts are off")


def log_only(setup: AlertingSetup, log: logging.Logger) -> AlertingSetup:
    """Return the same setup with every sender, and the hook, replaced by the log."""
    senders = {name: LogOnly(name=name, channel=s.channel, log=log) for name, s in setup.senders.items()}
    hook = LogOnly(name=setup.hook.name, channel=setup.hook.channel, log=log) if setup.hook else None
    return replace(setup, senders=senders, hook=hook)
