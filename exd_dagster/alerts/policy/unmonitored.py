"""Open failures that are no longer monitored: notified once, and again when they are back. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from exd_dagster.alerts.messages import words
from exd_dagster.alerts.model import Alert, CheckState, Incident
from exd_dagster.alerts.policy.decisions import Decision, active_decisions
from exd_dagster.alerts.policy.incidents import AlertEvent, Tick, close, has_recovered, new_iteration
from exd_dagster.config import FlagId

FLAG_LEFT = "No further notifications: removed from the project while failing, and not corrected"
_CHECK_LEFT = "No longer monitored: {checks}; failing when last checked, and nothing was corrected"
_OBSERVED = "Now in mode observe: it still fails and blocks nothing; only the digest reports it"


def readmit(tick: Tick, flag: FlagId, checks: Sequence[CheckState], watched: Collection[str]) -> None:
    """Open the incident of a flag that is monitored again, once its checks have a result."""
    before = tick.unmonitored.get(str(flag))
    if before is None or str(flag) in tick.incidents:
        return
    alerts = {check: alert for check, alert in before.alerts.items() if check in watched}
    latest = {check.check: check for check in checks}
    passes = [name in latest and has_recovered(latest[name], name in before.recovered) for name in alerts]
    if any(check.pages for check in checks) or new_iteration(before, checks) or (passes and all(passes)):
        del tick.unmonitored[str(flag)]
        tick.incidents[str(flag)] = replace(before, alerts=alerts, contained=False, reminded=False)


def part_with_unmonitored(
    tick: Tick,
    monitored: Mapping[FlagId, Collection[str]],
    found: Mapping[FlagId, Sequence[CheckState]],
    decisions: Sequence[Decision],
) -> None:
    """Notify once of open failures that are no longer monitored; of silenced ones when the silence ends."""
    for name, incident in [*tick.incidents.items(), *tick.unmonitored.items()]:
        watched = monitored.get(incident.flag)
        active = active_decisions(decisions, incident.flag, tick.now)
        ended = _why_over(active, [tick.alerts[alert] for alert in incident.alerts.values()], tick.now)
        if ended and (watched is None or name in tick.unmonitored):
            tick.incidents[name] = tick.unmonitored.pop(name, incident)
            close(tick, name, ended)
        elif name in tick.incidents:
            left = [
                check
                for check in _no_longer_reported(incident, watched, found.get(incident.flag, ()))
                if not any(d.kind == "silence" and d.covers(incident.flag, check) for d in active)
            ]
            _part(tick, incident, left, watched is None)
    watched_names = {str(flag) for flag in monitored}
    for name in [name for name in tick.unchecked if name.rpartition(":")[0] not in watched_names]:
        del tick.unchecked[name]


def leave_outage(tick: Tick, monitored: Collection[FlagId]) -> None:
    """Notify of flags that were part of a source outage and are no longer monitored."""
    for name, alert in [*tick.outage.items()]:
        if (sent := tick.alerts[alert]).flag not in monitored:
            del tick.outage[name]
            tick.events.append(
                AlertEvent(reason="not_monitored", flag=sent.flag, alerts=(sent,), note=FLAG_LEFT)
            )


def _part(tick: Tick, incident: Incident, left: Sequence[str], flag_left: bool) -> None:
    """Take checks out of an incident; with the last failing one the incident waits for its return."""
    if not left:
        return
    name = str(incident.flag)
    stay = {check: alert for check, alert in incident.alerts.items() if check not in left}
    alerts = tuple(tick.alerts[incident.alerts[check]] for check in left if check not in incident.recovered)
    if incident.unmonitored_at is not None:  # monitored again for a while, but not notified since
        tick.unmonitored[name] = tick.incidents.pop(name)
        return
    if all(check in incident.recovered for check in stay):
        if incident.notified_at is None:  # inhibited and never sent: nothing to resolve
            close(tick, name, "")
            return
        del tick.incidents[name]
        tick.unmonitored[name] = replace(incident, notified_at=tick.now, unmonitored_at=tick.now)
    else:
        tick.incidents[name] = replace(incident, alerts=stay)
    if alerts:
        tick.notify("not_monitored", incident, alerts, _why_left(alerts, flag_left=flag_left))


def _no_longer_reported(
    incident: Incident, watched: Collection[str] | None, found: Sequence[CheckState]
) -> list[str]:
    """Return the checks of an incident that are not monitored now, or fail in mode observe."""
    observed = {check.check for check in found if check.verdict == "fail" and check.mode == "observe"}
    return [check for check in incident.alerts if check not in (watched or ()) or check in observed]


def _why_left(alerts: Sequence[Alert], *, flag_left: bool) -> str:
    """Return why no more notifications follow for these failures."""
    if flag_left:
        return FLAG_LEFT
    if all(alert.mode == "observe" for alert in alerts):
        return _OBSERVED
    return _CHECK_LEFT.format(checks=", ".join(alert.check for alert in alerts))


def _why_over(active: Sequence[Decision], alerts: Sequence[Alert], now: datetime) -> str:
    """Return why a flag is no longer audited: a person ended it, or its end has passed; else ""."""
    decision = next((decision for decision in active if decision.kind == "end"), None)
    if decision is not None:
        return f"The audit of this flag was ended by {decision.by}: {decision.reason}"
    ends = [end for alert in alerts if (end := alert.instant("flag_end"))]
    if ends and max(ends) <= now:
        return f"The flag ended at {words.utc(max(ends))}; the failure remains in its data"
    return ""
