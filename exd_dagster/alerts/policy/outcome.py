"""Apply the outcome of an attempt to the state: a receipt, a retry, or a dead letter. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exd_dagster.alerts.model import AlertState, Incident, OutboxEntry, Receipt, Subject, subject
from exd_dagster.alerts.policy.retry import Outcome, expired, tried


def record_outcome(
    state: AlertState, entry: OutboxEntry, outcome: Outcome, now: datetime, attempts: int | None = None
) -> AlertState:
    """Return the state after an attempt.

    Args:
        state: before it.
        entry: what was tried.
        outcome: its outcome.
        now: when (UTC).
        attempts: how often a message of this channel is tried; None: any number.
    """
    if outcome.status != "dead":
        state = _refused(state, entry, outcome, now)
    if outcome.status == "sent":
        return _sent(state, entry, outcome, now)
    if outcome.status == "retry":
        again = tried(entry, outcome, now)
        if not expired(again, now, attempts):
            waiting = tuple(again if other.id == entry.id else other for other in state.outbox)
            return replace(state, outbox=waiting, paused=_paused(state, entry, outcome, now))
        return give_up(state, [again], f"given up after {again.attempts} attempts: {outcome.detail}", now)
    lost = [replace(entry, attempts=entry.attempts + 1)]
    if outcome.whole:
        same = (other for other in state.outbox if other.destination == entry.destination)
        lost += [other for other in same if other.id != entry.id]
    return give_up(state, lost, outcome.detail, now)


def give_up(state: AlertState, lost: Sequence[OutboxEntry], detail: str, now: datetime) -> AlertState:
    """Return the state with these entries as dead letters, still to be reported.

    Args:
        state: before.
        lost: entries to give up.
        detail: why.
        now: when (UTC).
    """
    gone = {entry.id for entry in lost}
    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id not in gone),
        receipts=(*state.receipts, *(_loss(state, entry, detail, now) for entry in lost)),
    )


def _loss(state: AlertState, entry: OutboxEntry, detail: str, now: datetime) -> Receipt:
    return Receipt(
        entry=entry,
        status="dead",
        at=now,
        detail=detail,
        subjects=_subjects(state, entry),
        unreported=entry.reason != "dead_letter",
    )


def _refused(state: AlertState, entry: OutboxEntry, outcome: Outcome, now: datetime) -> AlertState:
    """Record each recipient rejected permanently; the others are unaffected."""
    losses = [
        _loss(state, replace(entry, recipients=(recipient,)), f"{recipient} refused: {why}", now)
        for recipient, why in outcome.refused.items()
    ]
    return replace(state, receipts=(*state.receipts, *losses))


def _paused(state: AlertState, entry: OutboxEntry, outcome: Outcome, now: datetime) -> Mapping[str, datetime]:
    """Pause the whole destination when it asked for it."""
    if not (outcome.whole and outcome.retry_after):
        return state.paused
    return {**state.paused, entry.destination: now + timedelta(seconds=outcome.retry_after)}


def _sent(state: AlertState, entry: OutboxEntry, outcome: Outcome, now: datetime) -> AlertState:
    receipt = Receipt(
        entry=replace(entry, attempts=entry.attempts + 1, alerts=(), incidents=(), lines=()),
        status="sent",
        at=now,
        provider_id=outcome.provider_id,
        detail=outcome.detail,
        subjects=_subjects(state, entry),
        place=outcome.thread.get("channel", ""),
    )

    def notified(incidents: Mapping[str, Incident]) -> dict[str, Incident]:
        return {
            name: _notified(incident, entry, outcome, now) if incident.id in entry.incidents else incident
            for name, incident in incidents.items()
        }

    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id != entry.id),
        receipts=(*state.receipts, receipt),
        incidents=notified(state.incidents),
        closed=notified(state.closed),
        unmonitored=notified(state.unmonitored),
        past=tuple(
            replace(past, delivered_at=now)
            if past.id in entry.incidents and past.delivered_at is None and entry.reason in _FIRST
            else past
            for past in state.past
        ),
    )


_FIRST = ("fire", "summary")
"""Reasons of the message by which people learn of an incident."""


def _notified(incident: Incident, entry: OutboxEntry, outcome: Outcome, now: datetime) -> Incident:
    """Store the first delivery and its thread, and that `on_shutoff` was answered."""
    if entry.reason == "shutoff":
        return replace(incident, shutoff="suspended")
    if entry.reason in _FIRST and incident.delivered_at is None:
        incident = replace(incident, delivered_at=now)
    if not outcome.thread.get("ts") or entry.reason != "fire" or entry.destination in incident.threads:
        return incident
    return replace(incident, threads={**incident.threads, entry.destination: outcome.thread})


def _subjects(state: AlertState, entry: OutboxEntry) -> tuple[Subject, ...]:
    return tuple(subject(state.alerts[name]) for _, name, _ in entry.parts if name in state.alerts)
