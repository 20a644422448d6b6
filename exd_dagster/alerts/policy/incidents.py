"""What one tick decides: the notifications before routing, and how incidents end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exd_dagster.alerts.model import Alert, AlertState, CheckState, Incident, Reason, instant
from exd_dagster.alerts.past import PastAlert, PastIncident
from exd_dagster.config import FlagId

DAMPING = timedelta(hours=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One notification about one flag, before routing."""

    reason: Reason
    flag: FlagId
    incident: str = ""
    alerts: tuple[Alert, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What one tick decided.

    Attributes:
        state: the new state.
        events: what to send, in order of flag.
        digest_only: events left to the digest: a first audit with many failures, hours older than 48 h.
    """

    state: AlertState
    events: tuple[AlertEvent, ...] = ()
    digest_only: tuple[AlertEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How an incident is followed up, as the route of its alerts says.

    Attributes:
        repeat: time between two reminders; None: one reminder, after 24 hours.
        escalate_after: time after which it is escalated when nobody acknowledged; None: never.
    """

    repeat: timedelta | None = None
    escalate_after: timedelta | None = None


@dataclass
class Tick:
    """The state of one decision while it is made; `held` names incidents whose first message is held."""

    now: datetime
    watermark: datetime | None
    incidents: dict[str, Incident]
    closed: dict[str, Incident]
    unmonitored: dict[str, Incident]
    alerts: dict[str, Alert]
    unchecked: dict[str, str]
    down: Mapping[str, CheckState]
    outage: dict[str, str]
    events: list[AlertEvent] = field(default_factory=list)
    pace: Callable[[Alert], Pace] = lambda _: Pace()
    held: frozenset[str] = frozenset()
    past: list[PastIncident] = field(default_factory=list)

    def notify(self, reason: Reason, incident: Incident, alerts: Sequence[Alert], note: str = "") -> None:
        """Add a notification about an incident."""
        self.events.append(
            AlertEvent(
                reason=reason, flag=incident.flag, incident=incident.id, alerts=tuple(alerts), note=note
            )
        )


def data_through(found: Iterable[CheckState]) -> datetime | None:
    """Return the end of the last hour any check covers (UTC)."""
    return max((at for check in found if (at := check.instant("audited_through"))), default=None)


def new_iteration(incident: Incident, checks: Sequence[CheckState]) -> str:
    """Return the start of an iteration later than the incident's, or ""."""
    before = instant(incident.iteration)
    starts = [start for check in checks if (start := check.instant("iteration_start")) is not None]
    if before is None or not starts or max(starts) <= before:
        return ""
    return max(starts).isoformat().replace("+00:00", "Z")


def has_recovered(check: CheckState, before: bool) -> bool:
    """True for a pass or a waiver; a verdict without a result changes nothing."""
    if check.verdict == "pass" or check.facts.get("waived_by"):
        return True
    return before and check.verdict != "fail"


def summary_of(
    incident: Incident, alerts: Mapping[str, Alert], resolved_at: datetime | None = None, note: str = ""
) -> PastIncident:
    """Return what the ledger keeps of an incident.

    Args:
        incident: open, or just closed.
        alerts: by id.
        resolved_at: when it was closed (UTC), None while it is open.
        note: why it was closed.
    """
    found = [alerts[name] for name in incident.alerts.values() if name in alerts]
    return PastIncident(
        id=incident.id,
        flag=incident.flag,
        opened_at=incident.opened_at,
        delivered_at=incident.delivered_at,
        resolved_at=resolved_at,
        note=note,
        alerts=tuple(
            PastAlert(
                check=alert.check,
                opened_at=alert.opened_at,
                bad_from=alert.instant("bad_from"),
                audited_through=alert.instant("audited_through"),
                blocked=alert.blocks,
            )
            for alert in found
        ),
    )


def close(tick: Tick, name: str, note: str) -> None:
    """Resolve an incident, and send that if it had been sent."""
    incident = tick.incidents.pop(name, None)
    if incident is None:
        return
    if incident.reported:
        ended = [past for past in tick.past if past.id != incident.id]
        tick.past[:] = [*ended, summary_of(incident, tick.alerts, tick.now, note)]
    if incident.notified_at is None:  # inhibited and never sent: nothing to resolve
        if incident.fired_at is not None:
            tick.closed[name] = replace(incident, notified_at=incident.fired_at)
        return
    tick.closed[name] = replace(incident, notified_at=tick.now)
    tick.notify("resolve", incident, [tick.alerts[alert] for alert in incident.alerts.values()], note)
