"""What was sent, is pending or was given up: one row for each alert and destination."""

from dataclasses import dataclass
from datetime import datetime

from exd_dagster.alerts.model import AlertState, OutboxEntry, Reason, Receipt, Status, Subject, subject
from exd_dagster.config import FlagId


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert to one destination, one row however many alerts shared a message."""

    flag: FlagId
    check: str
    alert_type: str
    reason: Reason
    channel: str
    destination: str
    status: Status
    at: datetime
    attempts: int = 0
    provider_id: str = ""
    detail: str = ""


def deliveries(state: AlertState, since: datetime | None = None) -> list[Delivery]:
    """Return one row for each alert and destination, oldest first.

    Args:
        state: the state.
        since: what was sent before this instant (UTC) reads "already_sent".
    """
    done = [
        _row(receipt.entry, reason, subject, receipt.at, _status(receipt, since), receipt)
        for receipt in state.receipts
        for reason, subject in zip(receipt.reasons, receipt.subjects, strict=True)
    ]
    waiting = [
        _row(entry, reason, subject(state.alerts[alert]), entry.created_at, "pending", None)
        for entry in state.outbox
        for reason, alert, _ in entry.parts
        if alert in state.alerts
    ]
    return done + waiting


def _status(receipt: Receipt, since: datetime | None) -> Status:
    if receipt.status == "sent" and since is not None and receipt.at < since:
        return "already_sent"
    return receipt.status


def _row(
    entry: OutboxEntry, reason: Reason, about: Subject, at: datetime, status: Status, receipt: Receipt | None
) -> Delivery:
    namespace, environment, flag, check, alert_type = about
    return Delivery(
        flag=FlagId(namespace, environment, flag), check=check, alert_type=alert_type, reason=reason,
        channel=entry.channel, destination=entry.destination, status=status, at=at,
        attempts=entry.attempts, provider_id=receipt.provider_id if receipt else "",
        detail=receipt.detail if receipt else entry.last_error,
    )  # fmt: skip
