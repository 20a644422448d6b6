"""Send due entries, oldest first; the state is saved after every attempt."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.model import AlertState, OutboxEntry
from exd_dagster.alerts.policy.dead_letters import give_up_stale, report_dead_letters, unreported
from exd_dagster.alerts.policy.outcome import record_outcome
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.alerts.policy.timing.hold import DeliveryRules, time_entries

BUDGET = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The context of one round of deliveries.

    Attributes:
        senders: destinations that can be used now, by name.
        configured: every configured destination; entries for any other are given up, for an unready one
            they wait.
        fallback: destinations for reports of dead letters, in order.
        context: for the messages.
        save: writes the state; called after every attempt.
        clock: the time (UTC).
        timer: seconds, monotonic.
        log: receives one line per attempt.
        budget: seconds after which no attempt is started.
        rules: when and how often a destination is notified, by name.
        troubled: destinations that failed in this round; they are skipped until the next.
    """

    senders: Mapping[str, Sender]
    configured: Collection[str]
    fallback: Sequence[str]
    context: Context
    save: Callable[[AlertState], None]
    clock: Callable[[], datetime]
    timer: Callable[[], float]
    log: logging.Logger
    budget: float = BUDGET
    rules: Mapping[str, DeliveryRules] = field(default_factory=dict)
    troubled: set[str] = field(default_factory=set)


def deliver(state: AlertState, work: Round) -> AlertState:
    """Send every entry that is due within the budget, then report dead letters on another destination."""
    ends = work.timer() + work.budget
    state = give_up_stale(state, work.senders, work.configured, work.clock())
    state = _send_due(state, work, ends)
    if not unreported(state):
        return state
    fallback = [(name, work.senders[name].channel) for name in work.fallback if name in work.senders]
    state = report_dead_letters(state, fallback, work.troubled, work.clock())
    state = time_entries(state, work.rules, work.clock()).bump()
    work.save(state)
    return _send_due(state, work, ends)


def _send_due(state: AlertState, work: Round, ends: float) -> AlertState:
    while (entry := _next_due(state, work)) is not None:
        sender = work.senders[entry.destination]
        if work.timer() + sender.timeout > ends:
            work.log.info("Alerts: the time of this tick is used up; the rest waits for the next")
            break
        state = _attempt(state, entry, sender, work)
    return state


def _next_due(state: AlertState, work: Round) -> OutboxEntry | None:
    now = work.clock()
    due = (
        entry
        for entry in state.outbox
        if entry.next_attempt_at <= now
        and entry.held_until is None
        and entry.destination in work.senders
        and entry.destination not in work.troubled
        and state.paused.get(entry.destination, now) <= now
    )
    return min(due, key=lambda entry: (entry.reason != "shutoff", entry.next_attempt_at), default=None)


def _attempt(state: AlertState, entry: OutboxEntry, sender: Sender, work: Round) -> AlertState:
    try:
        notification = _notification(state, entry, work.context)
    except Exception as error:
        work.log.exception("Alerts: a message could not be written")
        outcome = Outcome(status="dead", detail=redact(f"{type(error).__name__}: {error}"))
    else:
        outcome = within(sender.timeout, lambda: sender.send(notification, work.clock()))
    _log(entry, outcome, work)
    if outcome.status == "retry":
        work.troubled.add(entry.destination)
    state = record_outcome(state, entry, outcome, work.clock(), sender.channel.attempts).bump()
    work.save(state)
    return state


def _notification(state: AlertState, entry: OutboxEntry, context: Context) -> Notification:
    incidents = [found for name in entry.incidents if (found := state.incident(name))]
    thread = next((i.threads[entry.destination] for i in incidents if entry.destination in i.threads), {})
    still_open = any(other.threads.get(entry.destination) == thread for other in state.incidents.values())
    message = compose(entry, state, context)
    return Notification(
        id=entry.id,
        reason=entry.reason,
        message=message,
        alerts=tuple(state.alerts[name] for name in entry.alerts if name in state.alerts),
        created_at=entry.created_at,
        thread=thread,
        closes_thread=message.closes and not still_open,
        recipients=entry.recipients,
    )


def within(seconds: float, send: Callable[[], Outcome]) -> Outcome:
    """Run one attempt for at most `seconds`; a later response counts as none."""
    result: list[Outcome | BaseException] = []

    def run() -> None:
        try:
            result.append(send())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            result.append(error)

    thread = threading.Thread(target=run, daemon=True, name="exd-alert")
    thread.start()
    thread.join(seconds)
    if not result:
        return Outcome(status="retry", detail=f"no response within {seconds:g} s")
    if isinstance(result[0], Outcome):
        return result[0]
    if isinstance(result[0], Exception):
        return Outcome(status="retry", detail=redact(f"{type(result[0]).__name__}: {result[0]}"))
    raise result[0]


def _log(entry: OutboxEntry, outcome: Outcome, work: Round) -> None:
    where = f"{entry.reason} to {entry.destination} ({entry.id[:12]})"
    if outcome.status == "sent":
        work.log.info("Alerts: sent %s: %s", where, outcome.detail)
    elif outcome.status == "retry":
        work.log.warning("Alerts: %s not delivered, will be retried: %s", where, outcome.detail)
    else:
        work.log.error("Alerts: %s given up: %s", where, outcome.detail)
    for recipient, why in outcome.refused.items():
        work.log.error("Alerts: %s: %s rejected permanently: %s", where, recipient, why)
