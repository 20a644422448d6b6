"""Send a test notification through the real routes and report destination, route and response."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.deliver import within
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.messages.message import Message
from exd_dagster.alerts.model import Alert, AlertState, Channel
from exd_dagster.alerts.policy.incidents import AlertEvent
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.alerts.policy.routes import outbox_entries, read_routes
from exd_dagster.alerts.tick import AlertingSetup
from exd_dagster.config import FlagAudit

TEST_TYPE = "TEST_ALERT"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAlertResult:
    """The result at one destination.

    Attributes:
        destination: its name.
        channel: name of its channel.
        why: the route that matched.
        message: what was, or would be, sent.
        outcome: the outcome; None in a dry run.
    """

    destination: str
    channel: str
    why: str
    message: Message
    outcome: Outcome | None


def example_alert(flag: FlagAudit, check: str, asset: Sequence[str], now: datetime) -> Alert:
    """Return an alert marked as a test."""
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


def send_test_alert(
    setup: AlertingSetup,
    alert: Alert,
    now: datetime,
    *,
    channels: Mapping[str, Channel] | None = None,
    to: Sequence[str] = (),
    dry_run: bool = False,
) -> list[TestAlertResult]:
    """Route, write and send one test alert; the alerting state is neither read nor changed.

    Args:
        setup: destinations and routes.
        alert: from `example_alert`.
        now: the time (UTC).
        channels: channel of each destination to write to, by name; None: those that can be used now.
        to: names of destinations; empty: those the routes choose.
        dry_run: write the messages without sending them.
    """
    event = AlertEvent(reason="test", flag=alert.flag, alerts=(alert,))
    state = AlertState(alerts={alert.id: alert})
    why, routing = ("name", read_routes(None, to)) if to else (setup.routing.explain(alert), setup.routing)
    done = []
    known = setup.channels if channels is None else channels
    for entry in outbox_entries([event], state, routing, known, now):
        message = compose(entry, state, setup.context)
        notification = Notification(
            id=entry.id, reason="test", message=message, alerts=(alert,), created_at=now
        )
        outcome = None
        if not dry_run:
            sender = setup.senders[entry.destination]
            outcome = within(sender.timeout, partial(sender.send, notification, now))
        done.append(
            TestAlertResult(
                destination=entry.destination,
                channel=known[entry.destination].name,
                why=why,
                message=message,
                outcome=outcome,
            )
        )
    return done
