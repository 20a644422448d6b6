"""Hand over what is due: oldest first, one destination's trouble never another's, saved after every send."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exd_dagster.alerts import words
from exd_dagster.alerts.compose import Context, compose
from exd_dagster.alerts.guard import redact
from exd_dagster.alerts.model import AlertState, Incident, Parcel, Receipt, subject
from exd_dagster.alerts.retry import LIFETIME, Outcome, expired, tried
from exd_dagster.alerts.route import parcel_id
from exd_dagster.alerts.sender import Notification, Sender

BUDGET = 20.0
_TOLD = 20
_NEVER_READY = f"the destination was not ready for {LIFETIME / timedelta(hours=1):.0f} h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round of deliveries works with.

    Attributes:
        senders: destinations that can be used now, by name.
        configured: every configured destination; parcels of another are dead, of an unready one wait.
        fallback: destinations to tell of a dead letter, in order.
        context: for the messages.
        save: writes the state; called after every attempt.
        clock: the time (UTC).
        timer: seconds, monotonic.
        log: where each attempt is written.
        budget: seconds after which no attempt is started.
    """

    senders: Mapping[str, Sender]
    configured: Sequence[str]
    fallback: Sequence[str]
    context: Context
    save: Callable[[AlertState], None]
    clock: Callable[[], datetime]
    timer: Callable[[], float]
    log: logging.Logger
    budget: float = BUDGET
    troubled: set[str] = field(default_factory=set)
    dead: dict[str, list[tuple[Parcel, str]]] = field(default_factory=dict)


def deliver(state: AlertState, work: Round) -> AlertState:
    """Send every parcel that is due within the budget, then tell of the dead on another destination."""
    ends = work.timer() + work.budget
    state = _bury(state, work)
    for again in (True, False):
        while (parcel := _next_due(state, work)) is not None:
            sender = work.senders[parcel.destination]
            if work.timer() + sender.timeout > ends:
                work.log.info("Alerts: the time of this tick is used up; the rest waits for the next")
                break
            state = _attempt(state, parcel, sender, work)
        if not (again and work.dead):
            break
        state = _tell_dead(state, work)
    return state


def _next_due(state: AlertState, work: Round) -> Parcel | None:
    now = work.clock()
    due = (
        parcel
        for parcel in state.outbox
        if parcel.next_attempt_at <= now
        and parcel.destination in work.senders
        and parcel.destination not in work.troubled
        and state.paused.get(parcel.destination, now) <= now
    )
    return min(due, key=lambda parcel: (parcel.reason != "shutoff", parcel.next_attempt_at), default=None)


def _attempt(state: AlertState, parcel: Parcel, sender: Sender, work: Round) -> AlertState:
    try:
        notification = _notification(state, parcel, work.context)
    except Exception as error:
        work.log.exception("Alerts: a message could not be written")
        outcome = Outcome(status="dead", detail=redact(f"{type(error).__name__}: {error}"))
    else:
        outcome = within(sender.timeout, lambda: sender.send(notification, work.clock()))
    state = _settle(state, parcel, outcome, work)
    state = state.bump()
    work.save(state)
    return state


def _notification(state: AlertState, parcel: Parcel, context: Context) -> Notification:
    incidents = [found for name in parcel.incidents if (found := state.incident(name))]
    thread = next((i.threads[parcel.destination] for i in incidents if parcel.destination in i.threads), {})
    still_open = any(other.threads.get(parcel.destination) == thread for other in state.incidents.values())
    message = compose(parcel, state, context)
    return Notification(
        id=parcel.id,
        reason=parcel.reason,
        message=message,
        alerts=tuple(state.alerts[name] for name in parcel.alerts if name in state.alerts),
        created_at=parcel.created_at,
        thread=thread,
        closes_thread=message.closes and not still_open,
        recipients=parcel.recipients,
    )


def within(seconds: float, send: Callable[[], Outcome]) -> Outcome:
    """Run one attempt for at most so many seconds; a later answer counts as none."""
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
        return Outcome(status="retry", detail=f"no answer within {seconds:g} s")
    if isinstance(result[0], Outcome):
        return result[0]
    if isinstance(result[0], Exception):
        return Outcome(status="retry", detail=redact(f"{type(result[0]).__name__}: {result[0]}"))
    raise result[0]


def _settle(state: AlertState, parcel: Parcel, outcome: Outcome, work: Round) -> AlertState:
    now = work.clock()
    where = f"{parcel.reason} to {parcel.destination} ({parcel.id[:12]})"
    for recipient, why in outcome.refused.items():
        if outcome.status != "dead":
            _mourn(work, parcel, f"{recipient} refused: {why}")
    if outcome.status == "sent":
        work.log.info("Alerts: sent %s: %s", where, outcome.detail)
        return _sent(state, replace(parcel, attempts=parcel.attempts + 1), outcome, now)
    if outcome.status == "retry":
        work.troubled.add(parcel.destination)
        again = tried(parcel, outcome, now)
        if not expired(again, now):
            work.log.warning(
                "Alerts: %s not delivered, next try %s: %s", where, again.next_attempt_at, outcome.detail
            )
            waiting = tuple(again if other.id == parcel.id else other for other in state.outbox)
            return replace(state, outbox=waiting, paused=_paused(state, parcel, outcome, now))
        outcome = replace(outcome, detail=f"given up after {again.attempts} attempts: {outcome.detail}")
        return _died(state, [again], outcome.detail, work)
    work.log.error("Alerts: %s is dead: %s", where, outcome.detail)
    lost = [replace(parcel, attempts=parcel.attempts + 1)]
    if outcome.whole:
        lost += [
            other
            for other in state.outbox
            if other.destination == parcel.destination and other.id != parcel.id
        ]
    return _died(state, lost, outcome.detail, work)


def _paused(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> Mapping[str, datetime]:
    """Hold the whole destination back when it asked for it."""
    if not (outcome.whole and outcome.retry_after):
        return state.paused
    return {**state.paused, parcel.destination: now + timedelta(seconds=outcome.retry_after)}


def _sent(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> AlertState:
    receipt = Receipt(
        parcel=parcel,
        status="sent",
        at=now,
        provider_id=outcome.provider_id,
        detail=outcome.detail,
        subjects=_subjects(state, parcel),
    )

    def told(incident: Incident) -> Incident:
        if incident.id not in parcel.incidents:
            return incident
        if parcel.reason == "shutoff":
            return replace(incident, shutoff="suspended")
        if not outcome.thread.get("ts") or parcel.reason != "fire" or parcel.destination in incident.threads:
            return incident
        return replace(incident, threads={**incident.threads, parcel.destination: outcome.thread})

    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id != parcel.id),
        receipts=(*state.receipts, receipt),
        incidents={name: told(incident) for name, incident in state.incidents.items()},
        closed={name: told(incident) for name, incident in state.closed.items()},
    )


def _died(state: AlertState, lost: Sequence[Parcel], detail: str, work: Round) -> AlertState:
    now = work.clock()
    receipts = [
        Receipt(parcel=parcel, status="dead", at=now, detail=detail, subjects=_subjects(state, parcel))
        for parcel in lost
    ]
    for parcel in lost:
        _mourn(work, parcel, detail)
    gone = {parcel.id for parcel in lost}
    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id not in gone),
        receipts=(*state.receipts, *receipts),
    )


def _mourn(work: Round, parcel: Parcel, detail: str) -> None:
    if parcel.reason != "dead_letter":
        work.dead.setdefault(parcel.destination, []).append((parcel, detail))


def _subjects(state: AlertState, parcel: Parcel) -> tuple[tuple[str, str, str, str, str], ...]:
    return tuple(subject(state.alerts[name]) for name in parcel.alerts if name in state.alerts)


def _bury(state: AlertState, work: Round) -> AlertState:
    """Give up what nobody can take any more: a destination that is gone, or unready for too long."""
    now = work.clock()
    for parcel in state.outbox:
        if parcel.destination in work.senders:
            continue
        if parcel.destination not in work.configured:
            state = _died(state, [parcel], "this destination is no longer configured", work)
        elif now - parcel.created_at >= LIFETIME:
            state = _died(state, [parcel], _NEVER_READY, work)
    return state


def _tell_dead(state: AlertState, work: Round) -> AlertState:
    """Queue one notice per destination that lost messages, for another destination."""
    notices: list[Parcel] = []
    for destination, lost in work.dead.items():
        other = _other(destination, work)
        if other is None:
            work.log.error(
                "Alerts: %d messages to %s are dead and nobody else can be told", len(lost), destination
            )
            continue
        notices.append(_dead_letter(state, destination, lost, other, work.clock()))
    work.dead.clear()
    state = replace(state, outbox=(*state.outbox, *notices)).bump()
    work.save(state)
    return state


def _other(destination: str, work: Round) -> Sender | None:
    """Return the first fallback that took no part in the loss, else the first other one."""
    names = [name for name in work.fallback if name != destination and name in work.senders]
    healthy = [name for name in names if name not in work.dead and name not in work.troubled]
    chosen = (healthy or names)[:1]
    return work.senders[chosen[0]] if chosen else None


def _dead_letter(
    state: AlertState, destination: str, lost: Sequence[tuple[Parcel, str]], other: Sender, now: datetime
) -> Parcel:
    told = [
        f"{parcel.reason}: {check} of {key}"
        for parcel, _ in lost
        for _, _, key, check, _ in _subjects(state, parcel) or (("", "", "digest", "digest", ""),)
    ]
    more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
    why = tuple(dict.fromkeys(detail for _, detail in lost))[:3]
    count = words.count(len(lost), "message")
    return Parcel(
        id=parcel_id(other.name, "dead_letter", [parcel.id for parcel, _ in lost], state.revision),
        destination=other.name,
        channel=other.channel,
        reason="dead_letter",
        note=f"Undelivered: {count} to {destination}",
        lines=(("Why", *why), ("What it would have said", *told[:_TOLD], *more)),
        created_at=now,
        next_attempt_at=now,
    )
