"""Totals of deliveries, counted from the alerting state: what is new in it since it was last read. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exd_dagster.alerts.model import AlertState, Receipt
from exd_dagster.alerts.policy.retry import begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Deliveries of one alert sensor since it is counted, by destination.

    Attributes:
        sent: messages delivered.
        dead: messages given up.
        failures: attempts that failed.
        seconds: time from decision to delivery, summed.
        through: the newest receipt that is counted (UTC).
        waiting: by id of a message that waits, its failures that are counted.
    """

    sent: Mapping[str, int] = field(default_factory=dict)
    dead: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    through: datetime | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)

    @property
    def destinations(self) -> list[str]:
        """Every destination that anything is counted of."""
        return sorted({*self.sent, *self.dead, *self.failures, *self.seconds})


def counted(before: Totals, state: AlertState) -> Totals:
    """Return the totals with what happened since.

    Args:
        before: the totals so far.
        state: of the alert sensor, now.
    """
    sent, dead, failures = Counter(before.sent), Counter(before.dead), Counter(before.failures)
    seconds, known = defaultdict(float, before.seconds), Counter(before.waiting)
    new = [r for r in state.receipts if before.through is None or r.at > before.through]
    for receipt in new:
        to, entry = receipt.entry.destination, receipt.entry
        (sent if receipt.status == "sent" else dead)[to] += 1
        failures[to] += max(_failed(receipt) - known[entry.id], 0)
        known[entry.id] = _failed(receipt)
        if receipt.status == "sent":
            seconds[to] += max(receipt.at - begun(entry), timedelta()).total_seconds()
    waiting = {entry.id: entry.attempts for entry in state.outbox if entry.attempts}
    for entry in state.outbox:
        if more := max(entry.attempts - known[entry.id], 0):
            failures[entry.destination] += more
    return Totals(
        sent=sent,
        dead=dead,
        failures=failures,
        seconds=seconds,
        through=max((receipt.at for receipt in new), default=before.through),
        waiting=waiting,
    )


def _failed(receipt: Receipt) -> int:
    """The last attempt of a message that was sent did not fail."""
    return receipt.entry.attempts - (receipt.status == "sent")
