"""One tick: read, decide, remember, deliver. The only place where the parts of alerting meet."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from exd_dagster.alerts.channels.sender import Sender
from exd_dagster.alerts.deliver import BUDGET, Round, deliver
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.model import AlertState, Channel, CheckState, OutboxEntry
from exd_dagster.alerts.policy import digest
from exd_dagster.alerts.policy.decide import decide
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.incidents import AlertEvent, Decided, data_through
from exd_dagster.alerts.policy.routes import Routing, entry_id, outbox_entries
from exd_dagster.alerts.policy.timing.hold import DeliveryRules, time_entries
from exd_dagster.alerts.state import AlertStateError, StateStore, prune
from exd_dagster.config import FlagId
from exd_dagster.stats.checks import check_of

SHUTOFF_HOOK = "on_shutoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertingSetup:
    """The destinations and routes of one sensor.

    Attributes:
        senders: destinations that can be used now, by name.
        unready: by name, why a configured destination cannot be used now.
        routing: the routes.
        digest: names of the destinations of the digest; empty: no digest.
        hook: sender of `on_shutoff`, or None.
        rules: when and how often a destination is notified, by name; those not named at once.
        context: for the messages.
    """

    senders: Mapping[str, Sender]
    unready: Mapping[str, str] = field(default_factory=dict)
    routing: Routing
    digest: tuple[str, ...] = ()
    hook: Sender | None = None
    rules: Mapping[str, DeliveryRules] = field(default_factory=dict)
    context: Context = field(default_factory=Context)

    @property
    def channels(self) -> dict[str, Channel]:
        """Channel of each destination that can be used now."""
        return {name: sender.channel for name, sender in self.senders.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The input of a tick.

    Attributes:
        found: the latest state of every monitored check that ever ran.
        monitored: names of the checks the sensor monitors, by flag.
        decisions: every decision people recorded.
        running: True while an audit is running; the digest is sent after it.
        home: code location of the sensor, "" when unknown.
        last_revision: revision the sensor last saw; 0 for none.
    """

    found: Sequence[CheckState]
    monitored: Mapping[FlagId, Collection[str]]
    decisions: Sequence[Decision] = ()
    running: bool = False
    home: str = ""
    last_revision: int = 0


def run_tick(
    store: StateStore,
    setup: AlertingSetup,
    snapshot: Snapshot,
    *,
    clock: Callable[[], datetime],
    timer: Callable[[], float],
    log: logging.Logger,
    budget: float = BUDGET,
) -> AlertState:
    """Run one tick and return the saved state.

    Args:
        store: holds the state.
        setup: destinations and routes.
        snapshot: the input.
        clock: the time (UTC).
        timer: seconds, monotonic.
        log: receives one line per attempt, without secrets.
        budget: seconds after which no attempt is started.

    Raises:
        AlertStateError: when the state cannot be read or belongs to another code location; nothing was sent.
    """
    begun = timer()
    before = _load(store, snapshot, log)
    now = clock()
    for name, why in setup.unready.items():
        log.warning("Alerts: destination '%s' is skipped: %s", name, why)
    if not setup.senders:
        if setup.unready:
            log.warning("Alerts: no destination can be used; nothing is decided until one can")
        return before
    state = _decided(before, setup, snapshot, store.replay_asked(), now)
    if state != before:
        state = state.bump()
        store.save(state)
    after = deliver(
        state,
        Round(
            senders={**setup.senders, **({SHUTOFF_HOOK: setup.hook} if setup.hook else {})},
            configured={*setup.senders, *setup.unready, *([SHUTOFF_HOOK] if setup.hook else [])},
            fallback=tuple(dict.fromkeys((*setup.routing.default, *setup.senders))),
            context=setup.context,
            save=store.save,
            clock=clock,
            timer=timer,
            log=log,
            budget=budget - (timer() - begun),
            rules=setup.rules,
        ),
    )
    pruned = prune(after, clock())
    if pruned != after:
        pruned = pruned.bump()
        store.save(pruned)
    return pruned


def _decided(
    before: AlertState, setup: AlertingSetup, snapshot: Snapshot, replay: datetime | None, now: datetime
) -> AlertState:
    """Decide what to send, and when."""
    decided = decide(
        before,
        snapshot.found,
        snapshot.monitored,
        now,
        decisions=snapshot.decisions,
        pace=lambda alert: setup.routing.route(alert).pace,
    )
    state = _replayed(_queue(before, decided, setup, snapshot, now), replay, now)
    return time_entries(state, setup.rules, now)


def _load(store: StateStore, snapshot: Snapshot, log: logging.Logger) -> AlertState:
    state = store.load()
    if state is None:
        if snapshot.last_revision:
            log.warning("Alerts: the alerting state is gone; every check that still fails is sent again")
        return AlertState(home=snapshot.home)
    store.enlist()
    if state.home and snapshot.home and state.home != snapshot.home:
        raise AlertStateError(
            f"the alert sensor of code location '{snapshot.home}' has the same name as that of "
            f"'{state.home}'. "
            "Give one of them another: build_check_alert_sensor(..., name=...). If the location was renamed, "
            f"run: exd-dagster alerts adopt {snapshot.home}"
        )
    return replace(state, home=state.home or snapshot.home)


def _replayed(state: AlertState, asked: datetime | None, now: datetime) -> AlertState:
    """Queue dead letters again if this was requested since the last time."""
    if asked is None or (state.replayed is not None and asked <= state.replayed):
        return state
    again = tuple(
        replace(receipt.entry, attempts=0, created_at=now, next_attempt_at=now, released_at=None)
        for receipt in state.receipts
        if receipt.status == "dead" and receipt.entry.reason != "dead_letter"
    )
    kept = tuple(receipt for receipt in state.receipts if receipt.status == "sent")
    return replace(state, outbox=(*state.outbox, *again), receipts=kept, replayed=asked)


def _queue(
    before: AlertState, decided: Decided, setup: AlertingSetup, snapshot: Snapshot, now: datetime
) -> AlertState:
    """Turn what was decided into entries."""
    state = decided.state
    new = outbox_entries(decided.events, state, setup.routing, setup.channels, now)
    due = not snapshot.running and digest.is_due(before, snapshot.found)
    new += _digest(state, decided.digest_only, setup, snapshot, setup.digest if due else (), now)
    if setup.digest and due:
        state = replace(state, digest_through=data_through(snapshot.found))
    if setup.hook is not None:
        state, asked = _shutoffs(state, setup.hook, now)
        new += asked
    known = {entry.id for entry in state.outbox}
    return replace(state, outbox=(*state.outbox, *(entry for entry in new if entry.id not in known)))


def _digest(
    state: AlertState,
    digest_only: Sequence[AlertEvent],
    setup: AlertingSetup,
    snapshot: Snapshot,
    subscribed: Sequence[str],
    now: datetime,
) -> list[OutboxEntry]:
    names = set(subscribed)
    for alert in (alert for event in digest_only for alert in event.alerts):
        names.update(setup.routing.destinations(alert))
    channels = {name: channel for name, channel in setup.channels.items() if name in names}
    if not channels:
        return []
    listed = digest.lines(state, snapshot.found, snapshot.decisions, now)
    return digest.digest_entries(
        digest.headline(snapshot.found), listed, channels, digest_only, state.revision, now
    )


def _shutoffs(state: AlertState, hook: Sender, now: datetime) -> tuple[AlertState, list[OutboxEntry]]:
    """Call the hook once per notified incident whose split is wrong and whose failure blocks."""
    asked: list[OutboxEntry] = []
    incidents = dict(state.incidents)
    for name, incident in state.incidents.items():
        alerts = [state.alerts[alert] for alert in incident.alerts.values()]
        wrong = tuple(a.id for a in alerts if check_of(a.check).shutoff and a.blocks and not a.contained)
        if not wrong or incident.shutoff or incident.notified_at is None:
            continue
        incidents[name] = replace(incident, shutoff="asked")
        asked.append(
            OutboxEntry(
                id=entry_id(SHUTOFF_HOOK, "shutoff", [incident.id], 0),
                destination=SHUTOFF_HOOK,
                channel=hook.channel.name,
                reason="shutoff",
                alerts=wrong,
                incidents=(incident.id,),
                created_at=now,
                next_attempt_at=now,
            )
        )
    return replace(state, incidents=incidents), asked


def people(channels: Mapping[str, Channel], names: Sequence[str]) -> tuple[str, ...]:
    """Return the destinations read by people, the default for the digest."""
    return tuple(name for name in names if name in channels and channels[name].read_by_people)
