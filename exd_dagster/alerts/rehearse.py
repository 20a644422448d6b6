"""Walk the real path with an alert that says it is a test: who is told, by which route, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from exd_dagster.alerts.compose import compose
from exd_dagster.alerts.deliver import within
from exd_dagster.alerts.message import Message
from exd_dagster.alerts.model import Alert, AlertState, Channel
from exd_dagster.alerts.notice import Notice
from exd_dagster.alerts.retry import Outcome
from exd_dagster.alerts.route import parcels
from exd_dagster.alerts.sender import Notification, Sender
from exd_dagster.alerts.tick import Desk
from exd_dagster.config import FlagAudit

TEST_TYPE = "TEST_ALERT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What happened at one destination.

    Attributes:
        destination: its name.
        channel: slack, email, webhook or callback.
        why: the route that chose it.
        message: what it was, or would be, told.
        outcome: its answer; None in a dry run.
    """

    destination: str
    channel: str
    why: str
    message: Message
    outcome: Outcome | None


def rehearsal(flag: FlagAudit, check: str, asset: Sequence[str], now: datetime) -> Alert:
    """Return an alert that says of itself that it is a test."""
    return Alert(
        id=f"test-{flag.id}-{check}-{now.isoformat()}",
        flag=flag.id,
        check=check,
        alert_type=TEST_TYPE,
        severity="ERROR" if flag.mode == "block" else "WARN",
        sentence="This is a test of the alert path; nothing is wrong with this flag.",
        opened_at=now,
        mode=flag.mode,
        owners=flag.owners,
        asset=tuple(asset),
    )


def rehearse(
    desk: Desk,
    alert: Alert,
    now: datetime,
    *,
    channels: Mapping[str, Channel] | None = None,
    to: Sequence[str] = (),
    dry_run: bool = False,
) -> list[Rehearsed]:
    """Route, write and send one test alert; the alerting state is neither read nor changed.

    Args:
        desk: destinations and routes.
        alert: from `rehearsal`.
        now: the time (UTC).
        channels: channel of each destination to write to, by name; None: those that can be used now.
        to: names of destinations; empty: those the routes choose.
        dry_run: write the messages without sending them.
    """
    notice = Notice(reason="test", flag=alert.flag, alerts=(alert,))
    state = AlertState(alerts={alert.id: alert})
    if to:
        why = "name"
        routing = desk.routing.only(tuple(to))
    else:
        why, routing = desk.routing.explain(alert), desk.routing
    done = []
    known = desk.channels if channels is None else channels
    for parcel in parcels([notice], state, routing, known, now):
        message = compose(parcel, state, desk.context)
        notification = Notification(
            id=parcel.id, reason="test", message=message, alerts=(alert,), created_at=now
        )
        outcome = None if dry_run else _sent(desk.senders[parcel.destination], notification, now)
        done.append(
            Rehearsed(
                destination=parcel.destination,
                channel=known[parcel.destination],
                why=why,
                message=message,
                outcome=outcome,
            )
        )
    return done


def _sent(sender: Sender, notification: Notification, now: datetime) -> Outcome:
    return within(sender.timeout, partial(sender.send, notification, now))
