"""One tick: read, decide, remember, deliver. The only place where the parts of alerting meet."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from exd_dagster.alerts import digest
from exd_dagster.alerts.compose import Context
from exd_dagster.alerts.decide import decide
from exd_dagster.alerts.decision import Decision
from exd_dagster.alerts.deliver import BUDGET, Round, deliver
from exd_dagster.alerts.model import SHUTOFF_CHECKS, AlertState, Channel, CheckState, Parcel
from exd_dagster.alerts.notice import Decided, Notice
from exd_dagster.alerts.route import PEOPLE, Routing, parcel_id, parcels
from exd_dagster.alerts.sender import Sender
from exd_dagster.alerts.state import AlertStateError, StateStore, prune
from exd_dagster.config import FlagId

SHUTOFF_HOOK = "on_shutoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The destinations of one sensor and who is told what.

    Attributes:
        senders: destinations that can be used now, by name.
        unready: by name, why a configured destination cannot be used now.
        routing: who is told.
        digest: names of the destinations of the digest; empty: no digest.
        hook: the shutoff hook, or None.
        context: for the messages.
    """

    senders: Mapping[str, Sender]
    unready: Mapping[str, str] = field(default_factory=dict)
    routing: Routing
    digest: tuple[str, ...] = ()
    hook: Sender | None = None
    context: Context = field(default_factory=Context)

    @property
    def channels(self) -> dict[str, Channel]:
        """Channel of each destination that can be used now."""
        return {name: sender.channel for name, sender in self.senders.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a tick finds.

    Attributes:
        found: the latest state of every monitored check that ever ran.
        monitored: names of the checks the sensor looks after, by flag.
        decisions: every decision people recorded.
        running: True while an audit is under way; the digest waits for its end.
        home: code location of the sensor, "" when unknown.
        told_before: revision the sensor last saw; 0 for none.
    """

    found: Sequence[CheckState]
    monitored: Mapping[FlagId, Collection[str]]
    decisions: Sequence[Decision] = ()
    running: bool = False
    home: str = ""
    told_before: int = 0


def run_tick(
    store: StateStore,
    desk: Desk,
    scene: Scene,
    *,
    clock: Callable[[], datetime],
    timer: Callable[[], float],
    log: logging.Logger,
    budget: float = BUDGET,
) -> AlertState:
    """Do one tick's work and return the state as saved.

    Args:
        store: where the state lives.
        desk: destinations and routes.
        scene: what was found.
        clock: the time (UTC).
        timer: seconds, monotonic.
        log: receives one line per attempt, without secrets.
        budget: seconds after which no attempt is started.

    Raises:
        AlertStateError: when the state cannot be read or belongs to another code location; nothing was sent.
    """
    begun = timer()
    before = _load(store, scene, log)
    now = clock()
    for name, why in desk.unready.items():
        log.warning("Alerts: destination '%s' is skipped: %s", name, why)
    if not desk.senders:
        if desk.unready:
            log.warning("Alerts: no destination can be used; nothing is decided until one can")
        return before
    decided = decide(before, scene.found, scene.monitored, now, decisions=scene.decisions)
    state = _replayed(_queue(before, decided, desk, scene, now), store.replay_asked(), now)
    if state != before:
        state = state.bump()
        store.save(state)
    after = deliver(
        state,
        Round(
            senders={**desk.senders, **({SHUTOFF_HOOK: desk.hook} if desk.hook else {})},
            configured={*desk.senders, *desk.unready, *([SHUTOFF_HOOK] if desk.hook else [])},
            fallback=tuple(dict.fromkeys((*desk.routing.default, *desk.senders))),
            context=desk.context,
            save=store.save,
            clock=clock,
            timer=timer,
            log=log,
            budget=budget - (timer() - begun),
        ),
    )
    pruned = prune(after, clock())
    if pruned != after:
        pruned = pruned.bump()
        store.save(pruned)
    return pruned


def _load(store: StateStore, scene: Scene, log: logging.Logger) -> AlertState:
    state = store.load()
    if state is None:
        if scene.told_before:
            log.warning("Alerts: the alerting state is gone; every check that still fails is told again")
        return AlertState(home=scene.home)
    store.enlist()
    if state.home and scene.home and state.home != scene.home:
        raise AlertStateError(
            f"the alert sensor of code location '{scene.home}' has the same name as that of '{state.home}'. "
            "Give one of them another: build_check_alert_sensor(..., name=...). If the location was renamed, "
            f"run: exd-dagster alerts adopt {scene.home}"
        )
    return replace(state, home=state.home or scene.home)


def _replayed(state: AlertState, asked: datetime | None, now: datetime) -> AlertState:
    """Queue dead parcels again when a person asked for it since the last time."""
    if asked is None or (state.replayed is not None and asked <= state.replayed):
        return state
    again = tuple(
        replace(receipt.parcel, attempts=0, created_at=now, next_attempt_at=now)
        for receipt in state.receipts
        if receipt.status == "dead" and receipt.parcel.reason != "dead_letter"
    )
    kept = tuple(receipt for receipt in state.receipts if receipt.status == "sent")
    return replace(state, outbox=(*state.outbox, *again), receipts=kept, replayed=asked)


def _queue(before: AlertState, decided: Decided, desk: Desk, scene: Scene, now: datetime) -> AlertState:
    """Turn what was decided into parcels."""
    state = decided.state
    new = parcels(decided.notices, state, desk.routing, desk.channels, now)
    new += _digest(state, decided.quiet, desk, scene, now)
    if desk.digest and not scene.running and digest.is_due(before, scene.found):
        state = replace(state, digest_through=digest.data_through(scene.found))
    if desk.hook is not None:
        state, asked = _shutoffs(state, desk.hook, now)
        new += asked
    known = {parcel.id for parcel in state.outbox}
    return replace(state, outbox=(*state.outbox, *(parcel for parcel in new if parcel.id not in known)))


def _digest(
    state: AlertState, quiet: Sequence[Notice], desk: Desk, scene: Scene, now: datetime
) -> list[Parcel]:
    due = bool(desk.digest) and not scene.running and digest.is_due(state, scene.found)
    names = set(desk.digest) if due else set()
    for alert in (alert for notice in quiet for alert in notice.alerts):
        names.update(desk.routing.destinations(alert))
    channels = {name: channel for name, channel in desk.channels.items() if name in names}
    if not channels:
        return []
    listed = digest.lines(state, scene.found, scene.decisions, now)
    return digest.digest_parcels(digest.headline(scene.found), listed, channels, quiet, state.revision, now)


def _shutoffs(state: AlertState, hook: Sender, now: datetime) -> tuple[AlertState, list[Parcel]]:
    """Ask the hook once per told incident whose split is wrong and whose failure blocks."""
    asked: list[Parcel] = []
    incidents = dict(state.incidents)
    for name, incident in state.incidents.items():
        alerts = [state.alerts[alert] for alert in incident.alerts.values()]
        wrong = tuple(a.id for a in alerts if a.check in SHUTOFF_CHECKS and a.blocks and not a.contained)
        if not wrong or incident.shutoff or incident.told_at is None:
            continue
        incidents[name] = replace(incident, shutoff="asked")
        asked.append(
            Parcel(
                id=parcel_id(SHUTOFF_HOOK, "shutoff", [incident.id], 0),
                destination=SHUTOFF_HOOK,
                channel=hook.channel,
                reason="shutoff",
                alerts=wrong,
                incidents=(incident.id,),
                created_at=now,
                next_attempt_at=now,
            )
        )
    return replace(state, incidents=incidents), asked


def people(channels: Mapping[str, Channel], names: Sequence[str]) -> tuple[str, ...]:
    """Return those of the names that people read: where the digest goes by default."""
    return tuple(name for name in names if channels.get(name) in PEOPLE)
