"""A Python callable as a destination."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.policy.retry import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Calls `function(notification)`; an exception is retried, three times in all."""

    name: str
    function: Callable[[Notification], Any]
    timeout: float = 5.0
    channel: Literal["callback"] = "callback"

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Call once; KeyboardInterrupt and its kin pass through."""
        try:
            self.function(notification)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            return Outcome(status="retry", detail=redact(f"{type(error).__name__}: {error}"))
        return Outcome(status="sent", detail="returned", provider_id=notification.id)
