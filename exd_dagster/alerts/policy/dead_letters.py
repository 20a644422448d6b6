"""Report dead letters of one destination on another. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exd_dagster.alerts.messages import words
from exd_dagster.alerts.model import AlertState, Channel, OutboxEntry, Receipt
from exd_dagster.alerts.policy.outcome import give_up
from exd_dagster.alerts.policy.retry import LIFETIME, begun
from exd_dagster.alerts.policy.routes import entry_id

_LISTED = 20
_NEVER_READY = f"the destination was not ready for {LIFETIME / timedelta(hours=1):.0f} h"


def give_up_stale(
    state: AlertState, ready: Collection[str], configured: Collection[str], now: datetime
) -> AlertState:
    """Give up entries whose destination was removed, or was unready for too long.

    Args:
        state: before.
        ready: destinations that can be used now.
        configured: every configured destination.
        now: the time (UTC).
    """
    for entry in state.outbox:
        if entry.destination in ready:
            continue
        if entry.destination not in configured:
            state = give_up(state, [entry], "this destination is no longer configured", now)
        elif entry.held_until is None and now - begun(entry) >= LIFETIME:
            state = give_up(state, [entry], _NEVER_READY, now)
    return state


def unreported(state: AlertState) -> dict[str, list[Receipt]]:
    """Return the dead letters not reported yet, by destination."""
    losses: dict[str, list[Receipt]] = {}
    for receipt in state.receipts:
        if receipt.unreported:
            losses.setdefault(receipt.entry.destination, []).append(receipt)
    return losses


def report_dead_letters(
    state: AlertState, fallback: Sequence[tuple[str, Channel]], troubled: Collection[str], now: datetime
) -> AlertState:
    """Return the state with a report queued for each destination with dead letters, on another one.

    Args:
        state: before.
        fallback: names and channels of the destinations that may be used, in order.
        troubled: destinations that failed just now; they are used last.
        now: the time (UTC).
    """
    losses = unreported(state)
    ordered = sorted(fallback, key=lambda entry: entry[0] in losses or entry[0] in troubled)
    events = [
        _report(state, destination, lost, other, now)
        for destination, lost in losses.items()
        for other in [next((entry for entry in ordered if entry[0] != destination), None)]
        if other is not None
    ]
    return replace(
        state,
        outbox=(*state.outbox, *events),
        receipts=tuple(replace(receipt, unreported=False) for receipt in state.receipts),
    )


def _report(
    state: AlertState, destination: str, lost: Sequence[Receipt], other: tuple[str, Channel], now: datetime
) -> OutboxEntry:
    lost_messages = [
        f"{receipt.entry.reason}: {check} of {key}"
        if check
        else f"{receipt.entry.reason}: {receipt.entry.note}"
        for receipt in lost
        for _, _, key, check, _ in receipt.subjects or (("", "", "", "", ""),)
    ]
    why = tuple(dict.fromkeys(receipt.detail for receipt in lost))[:3]
    name, channel = other
    return OutboxEntry(
        id=entry_id(name, "dead_letter", [receipt.entry.id for receipt in lost], state.revision),
        destination=name,
        channel=channel.name,
        reason="dead_letter",
        note=f"Undelivered: {words.count(len(lost), 'message')} to {destination}",
        lines=(("Why", *why), ("Not delivered", *words.cut(lost_messages, _LISTED))),
        created_at=now,
        next_attempt_at=now,
    )
