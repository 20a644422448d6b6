"""When a message is sent: held in quiet hours, limited per hour, combined into one summary. Pure.

Nothing is dropped: a message is sent, waits, or is named in a summary that took its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exd_dagster.alerts.model import AlertState, OutboxEntry, Reason
from exd_dagster.alerts.policy.routes import entry_id
from exd_dagster.alerts.policy.timing.active_time import Interval, is_active, next_start

HOUR = timedelta(hours=1)
URGENT: tuple[Reason, ...] = ("fire", "outage", "remind", "escalate")
"""Reasons that may break through quiet hours; all others wait until they end."""
SUMMARIZED: tuple[Reason, ...] = (
    *URGENT, "contained", "resolve", "not_monitored", "not_checked", "summary",
)  # fmt: skip
"""Reasons that one summary can replace; a digest, or a report of dead letters, has a list of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """When and how often one destination is notified.

    Attributes:
        active_time: when it is notified; empty: always.
        zone: IANA time zone of these hours.
        break_through: severities sent outside of them too: "ERROR" is what blocks, "WARN" the rest.
        max_per_hour: messages within any 60 minutes, at most; None: any number.
        summarizes: True where people read: one summary replaces several messages. Programs get each payload.
    """

    active_time: tuple[Interval, ...] = ()
    zone: str = "UTC"
    break_through: tuple[str, ...] = ("ERROR",)
    max_per_hour: int | None = None
    summarizes: bool = True

    def is_active(self, now: datetime) -> bool:
        """True when everything is sent (`now` in UTC)."""
        return is_active(self.active_time, self.zone, now)


def time_entries(state: AlertState, rules: Mapping[str, DeliveryRules], now: datetime) -> AlertState:
    """Return the state with each pending message held, released, or combined into a summary.

    Args:
        state: before anything of this tick is sent.
        rules: by destination; those not named are notified at once.
        now: clock of the tick (UTC).
    """
    for name, rule in rules.items():
        mine = [entry for entry in state.outbox if entry.destination == name]
        timed = _timed(state, mine, rule, now)
        if timed != mine:
            rest = tuple(entry for entry in state.outbox if entry.destination != name)
            state = replace(state, outbox=(*rest, *timed))
    return state


def _timed(
    state: AlertState, entries: list[OutboxEntry], rule: DeliveryRules, now: datetime
) -> list[OutboxEntry]:
    # outside: held by the clock; active: released or tried; late: held until now; new: decided in this tick
    outside = []
    if not rule.is_active(now):
        outside = [e for e in entries if not _severities(e, state).intersection(rule.break_through)]
    start = next_start(rule.active_time, rule.zone, now) if outside else now
    held = [replace(entry, held_until=start) for entry in outside]
    kept = {entry.id for entry in outside}
    free = [entry for entry in entries if entry.id not in kept]
    active = [entry for entry in free if entry.held_until is None and _admitted(entry)]
    late = [entry for entry in free if entry.held_until is not None]
    new = [entry for entry in free if entry.held_until is None and not _admitted(entry)]
    if rule.max_per_hour is None:
        return [*held, *active, *new, *_released(_summarized(state, late, rule, now), now)]
    resumed = _summarized(state, [entry for entry in late if not entry.capped], rule, now)
    waiting = [*resumed, *(entry for entry in late if entry.capped), *new]
    return [*held, *active, *_within_cap(state, waiting, rule, rule.max_per_hour - len(active), now)]


def _severities(entry: OutboxEntry, state: AlertState) -> set[str]:
    """Return the severities of what a message says that is urgent: "ERROR" blocks, "WARN" does not."""
    urgent = (state.alerts.get(alert) for reason, alert, _ in entry.parts if reason in URGENT)
    return {"ERROR" if alert.blocks else "WARN" for alert in urgent if alert is not None}


def _admitted(entry: OutboxEntry) -> bool:
    """True once a message was released or tried: its own retries decide from then on."""
    return entry.attempts > 0 or entry.released_at is not None


def _released(entries: Sequence[OutboxEntry], now: datetime) -> list[OutboxEntry]:
    return [replace(entry, held_until=None, capped=False, released_at=now) for entry in entries]


def _within_cap(
    state: AlertState, waiting: Sequence[OutboxEntry], rule: DeliveryRules, most: int, now: datetime
) -> list[OutboxEntry]:
    """Release as many as the last hour allows; the last of them is a summary of the rest."""
    if not waiting:
        return []
    name = waiting[0].destination
    sent = [
        r.at for r in state.receipts
        if r.status == "sent" and r.entry.destination == name and now - HOUR < r.at <= now
    ]  # fmt: skip
    allowed = most - len(sent)
    ordered = sorted(
        waiting, key=lambda entry: ("ERROR" not in _severities(entry, state), entry.created_at, entry.id)
    )
    if len(ordered) <= allowed:
        return _released(ordered, now)
    alone = ordered[: max(allowed - 1, 0)]
    rest = _summarized(state, ordered[len(alone) :], rule, now)
    released = rest[: max(allowed - len(alone), 0)]
    until = min(sent, default=now) + HOUR
    later = [replace(entry, held_until=until, capped=True) for entry in rest[len(released) :]]
    return [*_released([*alone, *released], now), *later]


def _summarized(
    state: AlertState, entries: Sequence[OutboxEntry], rule: DeliveryRules, now: datetime
) -> list[OutboxEntry]:
    """Return the entries with one summary, first, in place of those that people need not read one by one."""
    alike = [
        entry for entry in entries
        if rule.summarizes and entry.reason in SUMMARIZED and not entry.attempts
    ]  # fmt: skip
    if len(alike) < 2:
        return list(entries)
    alike.sort(key=lambda entry: (entry.reason != "summary", entry.created_at))  # its latest part counts
    first = alike[0]
    summary = OutboxEntry(
        id=entry_id(first.destination, "summary", [entry.id for entry in alike], state.revision),
        destination=first.destination,
        channel=first.channel,
        reason="summary",
        alerts=tuple(dict.fromkeys(alert for entry in alike for alert in entry.alerts)),
        incidents=tuple(dict.fromkeys(incident for entry in alike for incident in entry.incidents)),
        summarized=tuple(part for entry in alike for part in entry.parts),
        created_at=now,
        next_attempt_at=now,
    )
    gone = {entry.id for entry in alike}
    return [summary, *(entry for entry in entries if entry.id not in gone)]
