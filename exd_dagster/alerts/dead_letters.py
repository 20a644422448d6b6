"""No message dies in silence: what one destination will never take is told on another. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exd_dagster.alerts import words
from exd_dagster.alerts.model import AlertState, Channel, Parcel, Receipt
from exd_dagster.alerts.retry import LIFETIME
from exd_dagster.alerts.route import parcel_id
from exd_dagster.alerts.settle import lose

_LISTED = 20
_NEVER_READY = f"the destination was not ready for {LIFETIME / timedelta(hours=1):.0f} h"


def bury(state: AlertState, ready: Collection[str], configured: Collection[str], now: datetime) -> AlertState:
    """Give up what nobody can take any more: the destination is gone, or was unready for too long.

    Args:
        state: before.
        ready: destinations that can be used now.
        configured: every configured destination.
        now: the time (UTC).
    """
    for parcel in state.outbox:
        if parcel.destination in ready:
            continue
        if parcel.destination not in configured:
            state = lose(state, [parcel], "this destination is no longer configured", now)
        elif now - parcel.created_at >= LIFETIME:
            state = lose(state, [parcel], _NEVER_READY, now)
    return state


def untold(state: AlertState) -> dict[str, list[Receipt]]:
    """Return the losses nobody was told of yet, by destination."""
    losses: dict[str, list[Receipt]] = {}
    for receipt in state.receipts:
        if receipt.untold:
            losses.setdefault(receipt.parcel.destination, []).append(receipt)
    return losses


def tell_losses(
    state: AlertState, fallback: Sequence[tuple[str, Channel]], troubled: Collection[str], now: datetime
) -> AlertState:
    """Return the state with one notice queued per destination that lost messages, for another one.

    Args:
        state: before.
        fallback: names and channels of the destinations that may be told, in order.
        troubled: destinations that failed just now; they are asked last.
        now: the time (UTC).
    """
    losses = untold(state)
    ordered = sorted(fallback, key=lambda entry: entry[0] in losses or entry[0] in troubled)
    notices = [
        _notice(state, destination, lost, other, now)
        for destination, lost in losses.items()
        for other in [next((entry for entry in ordered if entry[0] != destination), None)]
        if other is not None
    ]
    return replace(
        state,
        outbox=(*state.outbox, *notices),
        receipts=tuple(replace(receipt, untold=False) for receipt in state.receipts),
    )


def _notice(
    state: AlertState, destination: str, lost: Sequence[Receipt], other: tuple[str, Channel], now: datetime
) -> Parcel:
    told = [
        f"{receipt.parcel.reason}: {check} of {key}"
        if check
        else f"{receipt.parcel.reason}: {receipt.parcel.note}"
        for receipt in lost
        for _, _, key, check, _ in receipt.subjects or (("", "", "", "", ""),)
    ]
    more = [f"and {len(told) - _LISTED} more"] if len(told) > _LISTED else []
    why = tuple(dict.fromkeys(receipt.detail for receipt in lost))[:3]
    name, channel = other
    return Parcel(
        id=parcel_id(name, "dead_letter", [receipt.parcel.id for receipt in lost], state.revision),
        destination=name,
        channel=channel,
        reason="dead_letter",
        note=f"Undelivered: {words.count(len(lost), 'message')} to {destination}",
        lines=(("Why", *why), ("What it would have said", *told[:_LISTED], *more)),
        created_at=now,
        next_attempt_at=now,
    )
