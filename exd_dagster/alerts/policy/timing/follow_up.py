"""When an open incident is repeated, and when it is escalated because nobody acknowledged it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exd_dagster.alerts.model import Alert, Incident, Reason
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.incidents import Tick

REMIND_AFTER = timedelta(hours=24)


def acknowledged(incident: Incident, decisions: Iterable[Decision]) -> Decision | None:
    """Return a person's `acknowledge` or `close` of this incident, made after it was first sent; or None.

    Args:
        incident: an open incident.
        decisions: those in force for its flag.
    """
    sent = incident.fired_at or incident.opened_at
    kinds = ("acknowledge", "close")
    found = (d for d in decisions if d.kind in kinds and d.incident in ("", incident.id))
    return next((d for d in found if d.made_at >= sent), None)


def follow_up(tick: Tick, incident: Incident, alerts: Sequence[Alert], answer: Decision | None) -> None:
    """Repeat a failure that still blocks, and escalate one that nobody acknowledged.

    Args:
        tick: what is decided so far; its `held` names incidents that nobody could read yet.
        incident: open, sent, and failing still.
        alerts: its failures.
        answer: the acknowledgement in force, if any.
    """
    if answer is not None:
        if not incident.acknowledged:
            note = f"{answer.by}: {answer.reason}"
            _notify(tick, "acknowledge", replace(incident, acknowledged=True), alerts, note)
        return
    if incident.id in tick.held:
        return
    paces = [tick.pace(alert) for alert in alerts]
    if _escalates(tick.now, incident, [p.escalate_after for p in paces if p.escalate_after is not None]):
        incident = replace(incident, escalated_at=tick.now)
        _notify(tick, "escalate", incident, alerts)
    elif any(alert.blocks for alert in alerts) and _due(
        tick.now, incident, [p.repeat for p in paces if p.repeat is not None]
    ):
        _notify(tick, "remind", replace(incident, reminded=True, reminded_at=tick.now), alerts)


def _notify(tick: Tick, reason: Reason, incident: Incident, alerts: Sequence[Alert], note: str = "") -> None:
    tick.incidents[str(incident.flag)] = incident
    tick.notify(reason, incident, alerts, note)


def _escalates(now: datetime, incident: Incident, after: Sequence[timedelta]) -> bool:
    since = incident.delivered_at or incident.fired_at
    if not after or since is None or incident.escalated_at is not None or incident.digest_only:
        return False
    return now - since >= min(after)


def _due(now: datetime, incident: Incident, repeat: Sequence[timedelta]) -> bool:
    last = max((at for at in (incident.notified_at, incident.reminded_at) if at), default=None)
    if last is None or (incident.reminded and not repeat):
        return False
    return now - last >= min(repeat, default=REMIND_AFTER)
