"""Routes to named destinations, and grouping of alerts into messages."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

from pydantic import Field

from exd_dagster.alerts.model import Alert, AlertState, Channel, OutboxEntry, Reason
from exd_dagster.alerts.policy.incidents import AlertEvent, Pace
from exd_dagster.config import ConfigModel, Duration, FlagAudit
from exd_dagster.config.faults import nearest_faults
from exd_dagster.errors import ConfigError, did_you_mean


class Route(ConfigModel):
    """Sends the alerts it matches to named destinations; a route without any glob is the default."""

    to: tuple[str, ...] = Field(min_length=1, description="Names of destinations.")
    owner: str = Field(default="*", description="Glob over the flag's owners.")
    severity: str = Field(default="*", description="Glob over ERROR, WARN.")
    check: str = Field(default="*", description="Glob over check names.")
    flag: str = Field(default="*", description="Glob over the flag's key, or namespace/environment/key.")
    repeat: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description="Time between reminders of a failure that blocks; None: one reminder, after 24 h.",
    )
    escalate_to: tuple[str, ...] = Field(
        default=(), description="Names of destinations notified when nobody acknowledged a failure in time."
    )
    escalate_after: Duration = Field(
        default=timedelta(hours=1), gt=timedelta(0), description="How long people have to acknowledge."
    )

    @property
    def pace(self) -> Pace:
        """How an incident it matches is followed up."""
        return Pace(self.repeat, self.escalate_after if self.escalate_to else None)

    @property
    def is_default(self) -> bool:
        """True when it matches every alert."""
        return (self.owner, self.severity, self.check, self.flag) == ("*",) * 4

    def matches(self, alert: Alert) -> bool:
        """True when every glob matches."""
        owners = alert.owners or ("",)
        return (
            any(fnmatchcase(owner, self.owner) for owner in owners)
            and fnmatchcase(alert.severity, self.severity)
            and fnmatchcase(alert.check, self.check)
            and alert.flag.is_named(self.flag)
        )


class Routing(ConfigModel):
    """Every route in order; the first match wins. The last route is the default."""

    routes: tuple[Route, ...]

    @property
    def default(self) -> tuple[str, ...]:
        """Destinations of the default route; none without destinations."""
        return self.routes[-1].to if self.routes else ()

    def explain(self, alert: Alert) -> str:
        """Return which route matched an alert, as text."""
        index, route = next((i, route) for i, route in enumerate(self.routes) if route.matches(alert))
        globs = {name: getattr(route, name) for name in ("owner", "severity", "check", "flag")}
        asked = ", ".join(f"{name}={glob}" for name, glob in globs.items() if glob != "*")
        return f"routes[{index}]: {asked or 'the default'}"

    def route(self, alert: Alert) -> Route:
        """Return the route of an alert: the first that matches."""
        return next(route for route in self.routes if route.matches(alert))

    def destinations(self, alert: Alert, *, escalated: bool = False) -> tuple[str, ...]:
        """Return the names of the destinations of an alert, with those of its escalation."""
        route = self.route(alert)
        return (*route.to, *route.escalate_to) if escalated else route.to


def read_routes(routes: Sequence[Route | Mapping[str, Any]] | None, destinations: Sequence[str]) -> Routing:
    """Validate the routes against the destinations there are; all faults at once.

    Args:
        routes: in order, the last one without any glob; None sends every alert to every destination.
        destinations: names of the destinations.

    Raises:
        ConfigError: for an unknown destination or key, or when no default is given.
    """
    if routes is None:
        return Routing(routes=(Route(to=tuple(destinations)),) if destinations else ())
    faults: list[str] = []
    read: list[Route] = []
    for index, given in enumerate(routes):
        try:
            route = given if isinstance(given, Route) else Route(**given)
        except ConfigError as error:
            faults += [f"routes[{index}].{fault}" for fault in error.faults]
            continue
        faults += nearest_faults(route.to, destinations, f"routes[{index}].to: destination")
        place = f"routes[{index}].escalate_to: destination"
        faults += nearest_faults(route.escalate_to, destinations, place)
        read.append(route)
    if read and len(read) == len(routes) and not read[-1].is_default:
        faults.append("routes: no default; end with a route that has only `to`, for example {to: [slack]}")
    if not routes:
        faults.append("routes: empty; leave it out to send every alert to every destination")
    if faults:
        raise ConfigError("alert routes", faults)
    return Routing(routes=tuple(read))


def idle_routes(routing: Routing, flags: Iterable[FlagAudit], checks: Iterable[str]) -> list[str]:
    """Return which routes no alert of these flags can take, with the nearest name; one sentence each.

    Args:
        routing: the routes.
        flags: the flags alerts are about.
        checks: names of their checks.
    """
    flags = list({flag.id: flag for flag in flags}.values())
    known = {
        "owner": {owner for flag in flags for owner in flag.owners or ("",)},
        "severity": {"ERROR", "WARN"},
        "check": {*checks},
        "flag": {name for flag in flags for name in (flag.key, str(flag.id))},
    }
    return [
        f"routes[{index}]: no {field} is '{glob}'.{did_you_mean(glob, names - {''})}"
        for index, route in enumerate(routing.routes)
        for field, names in known.items()
        for glob in (getattr(route, field),)
        if glob not in names and not any(fnmatchcase(name, glob) for name in names)
    ]


def outbox_entries(
    events: Iterable[AlertEvent],
    state: AlertState,
    routing: Routing,
    channels: Mapping[str, Channel],
    now: datetime,
) -> list[OutboxEntry]:
    """Return the messages: grouped by owner, reason and thread for people, one per alert for programs.

    Args:
        events: what was decided.
        state: for the threads of the incidents.
        routing: the routes.
        channels: channel of each destination that can be used now.
        now: clock of the tick (UTC).
    """
    groups: dict[tuple[str, ...], list[tuple[AlertEvent, Alert]]] = {}
    for event in events:
        for alert in event.alerts:
            for name in _told(event, alert, routing, channels, state):
                key = _group(event, alert, name, channels[name], state)
                groups.setdefault(key, []).append((event, alert))
    return [_entry(key[0], channels[key[0]], members, state.revision, now) for key, members in groups.items()]


def _told(
    event: AlertEvent, alert: Alert, routing: Routing, channels: Mapping[str, Channel], state: AlertState
) -> list[str]:
    """Return who is notified: an escalation goes to those who were not yet, later events to all."""
    if event.reason == "escalate":
        return _usable(routing.route(alert).escalate_to, routing, channels)
    if event.reason == "acknowledge":
        channels = {name: channel for name, channel in channels.items() if channel.acknowledges}
        further = routing.destinations(alert, escalated=True)
        return [name for name in dict.fromkeys(further) if name in channels]
    incident = state.incident(event.incident)
    escalated = incident is not None and incident.escalated_at is not None
    return _usable(routing.destinations(alert, escalated=escalated), routing, channels)


def _usable(wanted: Sequence[str], routing: Routing, channels: Mapping[str, Channel]) -> list[str]:
    """Return the wanted destinations that can be used; else the default ones; else any."""
    for names in (wanted, routing.default, tuple(channels)):
        usable = [name for name in dict.fromkeys(names) if name in channels]
        if usable:
            return usable
    return []


def _group(
    event: AlertEvent, alert: Alert, name: str, channel: Channel, state: AlertState
) -> tuple[str, ...]:
    if not channel.read_by_people:
        return (name, event.reason, alert.id)
    incident = state.incident(event.incident)
    thread = incident.threads.get(name, {}) if incident else {}
    shared = event.reason in ("not_checked", "outage") or not event.incident
    owners = "" if shared else ",".join(sorted(alert.owners))
    return (name, event.reason, owners, event.note, str(sorted(thread.items())))


def _entry(
    name: str, channel: Channel, members: Sequence[tuple[AlertEvent, Alert]], revision: int, now: datetime
) -> OutboxEntry:
    events = [event for event, _ in members]
    alerts = tuple(dict.fromkeys(alert.id for _, alert in members))
    reason = events[0].reason
    notes = dict.fromkeys(event.note for event in events if event.note)
    return OutboxEntry(
        id=entry_id(name, reason, alerts, revision),
        destination=name,
        channel=channel.name,
        reason=reason,
        alerts=alerts,
        incidents=tuple(dict.fromkeys(event.incident for event in events if event.incident)),
        note="; ".join(notes),
        created_at=now,
        next_attempt_at=now,
    )


def entry_id(destination: str, reason: Reason, about: Sequence[str], revision: int) -> str:
    """Return the id of a message: the same for a decision repeated after a crash, another for any later one.

    Args:
        destination: name of the destination.
        reason: why it is sent.
        about: ids of the alerts, or other keys of its contents.
        revision: of the state the decision was made from; it is saved before anything is sent.
    """
    return sha256("\x1f".join((destination, reason, str(revision), *about)).encode()).hexdigest()[:32]
