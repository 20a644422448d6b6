"""What an attempt leaves behind: a receipt, a later attempt, or a loss that has to be told. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exd_dagster.alerts.model import AlertState, Incident, Parcel, Receipt, Subject, subject
from exd_dagster.alerts.retry import Outcome, expired, tried


def settle(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> AlertState:
    """Return the state after an attempt.

    Args:
        state: before it.
        parcel: what was tried.
        outcome: what was answered.
        now: when (UTC).
    """
    if outcome.status != "dead":
        state = _refused(state, parcel, outcome, now)
    if outcome.status == "sent":
        return _sent(state, parcel, outcome, now)
    if outcome.status == "retry":
        again = tried(parcel, outcome, now)
        if not expired(again, now):
            waiting = tuple(again if other.id == parcel.id else other for other in state.outbox)
            return replace(state, outbox=waiting, paused=_paused(state, parcel, outcome, now))
        return lose(state, [again], f"given up after {again.attempts} attempts: {outcome.detail}", now)
    lost = [replace(parcel, attempts=parcel.attempts + 1)]
    if outcome.whole:
        same = (other for other in state.outbox if other.destination == parcel.destination)
        lost += [other for other in same if other.id != parcel.id]
    return lose(state, lost, outcome.detail, now)


def lose(state: AlertState, lost: Sequence[Parcel], detail: str, now: datetime) -> AlertState:
    """Return the state with these parcels dead; their loss is still to be told.

    Args:
        state: before.
        lost: parcels that are given up.
        detail: why.
        now: when (UTC).
    """
    gone = {parcel.id for parcel in lost}
    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id not in gone),
        receipts=(*state.receipts, *(_loss(state, parcel, detail, now) for parcel in lost)),
    )


def _loss(state: AlertState, parcel: Parcel, detail: str, now: datetime) -> Receipt:
    return Receipt(
        parcel=parcel,
        status="dead",
        at=now,
        detail=detail,
        subjects=_subjects(state, parcel),
        untold=parcel.reason != "dead_letter",
    )


def _refused(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> AlertState:
    """Note each recipient refused for good; the others stand."""
    losses = [
        _loss(state, replace(parcel, recipients=(recipient,)), f"{recipient} refused: {why}", now)
        for recipient, why in outcome.refused.items()
    ]
    return replace(state, receipts=(*state.receipts, *losses))


def _paused(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> Mapping[str, datetime]:
    """Hold the whole destination back when it asked for it."""
    if not (outcome.whole and outcome.retry_after):
        return state.paused
    return {**state.paused, parcel.destination: now + timedelta(seconds=outcome.retry_after)}


def _sent(state: AlertState, parcel: Parcel, outcome: Outcome, now: datetime) -> AlertState:
    receipt = Receipt(
        parcel=replace(parcel, attempts=parcel.attempts + 1, alerts=(), incidents=(), lines=()),
        status="sent",
        at=now,
        provider_id=outcome.provider_id,
        detail=outcome.detail,
        subjects=_subjects(state, parcel),
    )
    told = set(parcel.incidents)
    return replace(
        state,
        outbox=tuple(other for other in state.outbox if other.id != parcel.id),
        receipts=(*state.receipts, receipt),
        incidents={n: _told(i, parcel, outcome) if i.id in told else i for n, i in state.incidents.items()},
        closed={n: _told(i, parcel, outcome) if i.id in told else i for n, i in state.closed.items()},
        unmonitored={
            n: _told(i, parcel, outcome) if i.id in told else i for n, i in state.unmonitored.items()
        },
    )


def _told(incident: Incident, parcel: Parcel, outcome: Outcome) -> Incident:
    """Remember the thread of the first message, and that the shutoff hook answered."""
    if parcel.reason == "shutoff":
        return replace(incident, shutoff="suspended")
    if not outcome.thread.get("ts") or parcel.reason != "fire" or parcel.destination in incident.threads:
        return incident
    return replace(incident, threads={**incident.threads, parcel.destination: outcome.thread})


def _subjects(state: AlertState, parcel: Parcel) -> tuple[Subject, ...]:
    return tuple(subject(state.alerts[name]) for name in parcel.alerts if name in state.alerts)
