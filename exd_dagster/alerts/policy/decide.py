"""Decide what to send: compare the check states of a tick with what was last sent. Pure.

One incident per flag: the first failing check opens it, others join, one notification resolves it. "Not
checked" is sent as such and neither opens nor resolves an incident.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from exd_dagster.alerts.messages.words import utc
from exd_dagster.alerts.model import Alert, AlertState, CheckState, Incident
from exd_dagster.alerts.policy.decisions import Decision, active_decisions
from exd_dagster.alerts.policy.incidents import (
    DAMPING,
    AlertEvent,
    Decided,
    Pace,
    Tick,
    close,
    data_through,
    has_recovered,
    new_iteration,
)
from exd_dagster.alerts.policy.inhibit import DROP, flags_down, inhibit
from exd_dagster.alerts.policy.timing.follow_up import acknowledged, follow_up
from exd_dagster.alerts.policy.unmonitored import leave_outage, part_with_unmonitored, readmit
from exd_dagster.config import FlagId
from exd_dagster.stats.checks import check_of

NOT_YET = frozenset({"no_closed_hour"})
"""Reasons for `not_checked` that only mean "too early"; they go to the digest."""


def decide(
    state: AlertState,
    found: Sequence[CheckState],
    monitored: Mapping[FlagId, Collection[str]],
    now: datetime,
    *,
    decisions: Sequence[Decision] = (),
    pace: Callable[[Alert], Pace] = lambda _: Pace(),
) -> Decided:
    """Compare the latest verdicts with what was last sent.

    Args:
        state: what was sent so far.
        found: the latest state of every monitored check that ever ran.
        monitored: names of the checks this sensor monitors, by flag; an open failure of any other is sent
            as no longer monitored, never as resolved.
        now: clock of the tick (UTC).
        decisions: every decision people recorded.
        pace: how the incident of an alert is followed up.
    """
    tick = Tick(
        now=now,
        watermark=data_through(found),
        incidents=dict(state.incidents),
        closed=dict(state.closed),
        unmonitored=dict(state.unmonitored),
        alerts=dict(state.alerts),
        unchecked=dict(state.unchecked),
        down=flags_down([check for check in found if not _silenced(check, decisions, now)]),
        outage=dict(state.outage),
        past=list(state.past),
        pace=pace,
        held=frozenset(
            incident for entry in state.outbox if entry.held_until for incident in entry.incidents
        ),
    )
    by_flag: dict[FlagId, list[CheckState]] = {}
    for item in found:
        by_flag.setdefault(item.flag, []).append(item)
    for flag in sorted(by_flag):
        readmit(tick, flag, by_flag[flag], monitored.get(flag, ()))
        _decide_flag(tick, flag, by_flag[flag], active_decisions(decisions, flag, now))
    leave_outage(tick, monitored)
    _report_outage(tick, found)
    part_with_unmonitored(tick, monitored, by_flag, decisions)
    return _finish(state, tick, bool(found))


def _decide_flag(tick: Tick, flag: FlagId, checks: list[CheckState], decisions: tuple[Decision, ...]) -> None:
    ended = next((d for d in decisions if d.kind == "end"), None)
    if ended is not None:
        close(tick, str(flag), f"The audit of this flag was ended by {ended.by}: {ended.reason}")
        return
    active = [check for check in checks if not _silenced(check, decisions, tick.now)]
    _report_unchecked(tick, flag, active)
    incident = tick.incidents.get(str(flag))
    failing = _notifiable(active)
    if str(flag) in tick.down and (incident is None or DROP not in incident.alerts):
        failing = [check for check in failing if check.check != DROP]
    if incident is not None and (began := new_iteration(incident, active)):
        close(tick, str(flag), f"A new iteration began at {began}")
        incident = None
    if incident is None:
        if failing:
            _open(tick, flag, failing)
        return
    _continue(tick, incident, active, failing, acknowledged(incident, decisions))


def _silenced(check: CheckState, decisions: Sequence[Decision], now: datetime) -> bool:
    """True when a person silenced the check or ended its audit."""
    active = active_decisions(decisions, check.flag, now)
    return any(d.kind == "end" or (d.kind == "silence" and d.covers(check.flag, check.check)) for d in active)


def _report_outage(tick: Tick, found: Sequence[CheckState]) -> None:
    """Send a source outage once, and its end; the drops of its flags are inhibited meanwhile."""
    news = [
        _alert(check)
        for name, check in tick.down.items()
        if name not in tick.outage and DROP not in getattr(tick.incidents.get(name), "alerts", ())
    ]
    if news:
        tick.alerts.update({alert.id: alert for alert in news})
        tick.outage.update({str(alert.flag): alert.id for alert in news})
        tick.events += [AlertEvent(reason="outage", flag=alert.flag, alerts=(alert,)) for alert in news]
    if tick.down or not tick.outage:
        return
    back = {str(check.flag) for check in found if check.check == DROP and check.verdict == "pass"}
    tick.events += [
        AlertEvent(reason="resolve", flag=tick.alerts[alert].flag, alerts=(tick.alerts[alert],), note=_BACK)
        for name, alert in tick.outage.items()
        if name in back
    ]
    tick.outage.clear()


_BACK = "The source's traffic is back at its expected level"


def _notifiable(checks: Sequence[CheckState]) -> list[CheckState]:
    """Return the failures that page; a drop in traffic inhibits a split that went wrong within its hours."""
    failing = [check for check in checks if check.pages]
    drop = next((check.instant("bad_from") for check in failing if check.check == "traffic_drop"), None)
    if drop is None:
        return failing
    return [c for c in failing if c.check == "traffic_drop" or (c.instant("bad_from") or drop) < drop]


def _report_unchecked(tick: Tick, flag: FlagId, checks: Sequence[CheckState]) -> None:
    news: list[CheckState] = []
    for check in checks:
        name = f"{flag}:{check.check}"
        reason = str(check.facts.get("reason") or "no result")
        if check.verdict != "not_checked" or reason in NOT_YET:
            tick.unchecked.pop(name, None)
            continue
        if name not in tick.unchecked:
            news.append(check)
        tick.unchecked[name] = reason
    if news:
        alerts = tuple(_alert(check, "NOT_CHECKED") for check in news)
        tick.alerts.update({alert.id: alert for alert in alerts})
        reasons = dict.fromkeys(tick.unchecked[f"{flag}:{check.check}"] for check in news)
        tick.events.append(
            AlertEvent(reason="not_checked", flag=flag, alerts=alerts, note=", ".join(reasons))
        )


def _open(tick: Tick, flag: FlagId, failing: Sequence[CheckState]) -> None:
    """Open an incident, or reopen the one closed within the damping window without repeating it too soon."""
    alerts = {check.check: _alert(check) for check in failing}
    first = min(check.at for check in failing)
    starts = [str(start) for check in failing if (start := check.facts.get("iteration_start"))]
    incident = Incident(
        id=_digest("incident", *flag.columns.values(), first.isoformat()),
        flag=flag,
        opened_at=first,
        iteration=max(starts, default=""),
        alerts={check: alert.id for check, alert in alerts.items()},
    )
    before = _flapped(tick, incident)
    if before is not None:
        incident = replace(incident, fired_at=before.fired_at, threads=before.threads, shutoff=before.shutoff)
    tick.alerts.update({alert.id: alert for alert in alerts.values()})
    tick.incidents[str(flag)] = incident
    if _may_fire(tick, incident):
        _fire(tick, incident, tuple(alerts.values()), "" if before is None else "failing again")


def _flapped(tick: Tick, incident: Incident) -> Incident | None:
    """Return the incident of the same flag and iteration that was closed within the damping window."""
    before = tick.closed.get(str(incident.flag))
    if before is None or before.iteration != incident.iteration:
        return None
    return before if tick.now - (before.notified_at or tick.now) < DAMPING else None


def _fire(tick: Tick, incident: Incident, alerts: tuple[Alert, ...], note: str = "") -> None:
    contained = all(tick.alerts[alert].contained for alert in incident.alerts.values())
    tick.incidents[str(incident.flag)] = replace(
        incident,
        notified_at=tick.now,
        fired_at=tick.now,
        contained=contained,
        digest_only=False,
        unmonitored_at=None,
    )
    tick.notify("fire", incident, alerts, note)


def _continue(
    tick: Tick,
    incident: Incident,
    checks: Sequence[CheckState],
    failing: Sequence[CheckState],
    answer: Decision | None,
) -> None:
    """Update an open incident: joined, passing again, contained, reminded, resolved."""
    name = str(incident.flag)
    latest = {check.check: check for check in checks}
    joined = [check for check in failing if check.check not in incident.alerts]
    for check, alert_id in incident.alerts.items():
        if check in latest and latest[check].verdict == "fail":
            tick.alerts[alert_id] = _refreshed(tick.alerts[alert_id], latest[check])
    added = {check.check: _alert(check) for check in joined}
    tick.alerts.update({alert.id: alert for alert in added.values()})
    known = {**incident.alerts, **{check: alert.id for check, alert in added.items()}}
    passing = tuple(
        check
        for check in known
        if check in latest and has_recovered(latest[check], check in incident.recovered)
    )
    incident = replace(incident, alerts=known, recovered=passing)
    tick.incidents[name] = incident
    if len(passing) == len(known):
        close(tick, name, _resolution_note([latest[check] for check in known]))
    elif incident.notified_at is None or incident.unmonitored_at is not None:
        if failing and _may_fire(tick, incident):
            held = tuple(tick.alerts[known[check]] for check in known if check not in passing)
            _fire(tick, incident, held, _again(incident))
    elif added:
        _fire(tick, incident, tuple(added.values()), "joins the open incident")
    elif failing:
        _follow(tick, incident, answer)


def _may_fire(tick: Tick, incident: Incident) -> bool:
    """True unless "failing" was sent within the damping window and the flag was monitored ever since."""
    since = incident.fired_at if incident.unmonitored_at is None else None
    return since is None or tick.now - since >= DAMPING


def _again(incident: Incident) -> str:
    if incident.unmonitored_at is None or incident.fired_at is None:
        return "failing again"
    return (
        f"monitored again and still failing; previously sent on {utc(incident.fired_at)}, "
        f"not monitored since {utc(incident.unmonitored_at)}"
    )


def _resolution_note(checks: Sequence[CheckState]) -> str:
    waived = next((check for check in checks if check.facts.get("waived_by")), None)
    if waived is not None:
        until = waived.facts.get("waived_until")
        return (
            f"Waived by {waived.facts['waived_by']}" + (f" until {until}" if until else "") + "; reports run"
        )
    if all(check.check == "traffic_drop" for check in checks):
        return "Traffic is back at its expected level"
    if all(check_of(check.check).sent for check in checks):
        return "The assignments are independent now"
    return "The corrected bins pass every check"


def _follow(tick: Tick, incident: Incident, answer: Decision | None) -> None:
    """Send `contained` once; of a failure that goes on, reminders and an escalation."""
    open_alerts = tuple(
        tick.alerts[alert] for check, alert in incident.alerts.items() if check not in incident.recovered
    )
    name = str(incident.flag)
    contained = all(alert.contained for alert in open_alerts)
    if contained and not incident.contained:
        tick.incidents[name] = replace(incident, contained=True, notified_at=tick.now)
        tick.notify("contained", incident, open_alerts)
        return
    if not contained and incident.contained:
        if _may_fire(tick, incident):
            _fire(tick, incident, open_alerts, "failing again")
        return
    follow_up(tick, incident, open_alerts, answer)


def _finish(state: AlertState, tick: Tick, evaluated: bool) -> Decided:
    kept, digest_only = inhibit(tick.events, first=not state.started, watermark=tick.watermark)
    in_digest = {event.incident for event in digest_only}
    after = replace(
        state,
        started=state.started or evaluated,
        incidents={
            name: replace(incident, digest_only=True) if incident.id in in_digest else incident
            for name, incident in tick.incidents.items()
        },
        closed=tick.closed,
        unmonitored=tick.unmonitored,
        alerts=tick.alerts,
        unchecked=tick.unchecked,
        outage=tick.outage,
        past=tuple(tick.past),
    )
    return Decided(state=after, events=kept, digest_only=digest_only)


def _alert(check: CheckState, kind: str | None = None) -> Alert:
    fingerprint = _digest(*check.flag.columns.values(), check.check)
    return Alert(
        id=f"{fingerprint}-{check.at.isoformat()}",
        flag=check.flag,
        check=check.check,
        alert_type=kind or check_of(check.check).alert_type,
        severity=check.severity or "WARN",
        sentence=check.sentence,
        opened_at=check.at,
        facts=check.facts,
        mode=check.mode,
        owners=check.owners,
        asset=check.asset,
        run_id=check.run_id,
    )


def _refreshed(alert: Alert, check: CheckState) -> Alert:
    return replace(
        alert,
        severity=check.severity or alert.severity,
        sentence=check.sentence,
        facts=check.facts,
        mode=check.mode,
        owners=check.owners,
        run_id=check.run_id,
    )


def _digest(*parts: str) -> str:
    return sha256("\x1f".join(parts).encode()).hexdigest()[:20]
