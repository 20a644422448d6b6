"""The configuration of one alert sensor, shared by the sensor and the command line."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import dagster as dg

from exd_dagster.alerts.deliver import BUDGET
from exd_dagster.alerts.dry_run import log_only
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.links import Links, base_url_faults
from exd_dagster.alerts.model import AlertState, CheckState
from exd_dagster.alerts.policy.decisions import Decision, active_decisions, waiver
from exd_dagster.alerts.policy.routes import Route, Routing, idle_routes, read_routes
from exd_dagster.alerts.state import StateStore
from exd_dagster.alerts.tick import SHUTOFF_HOOK, AlertingSetup, Snapshot, people, run_tick
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.config.faults import nearest_faults
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.destinations import (
    AlertDestination,
    CallbackAlerts,
    WebhookAlerts,
    channels,
    duplicate_faults,
    open_senders,
)
from exd_dagster.definitions.alerting.reading import CheckReader
from exd_dagster.definitions.decisions.asset import decision_launchpad, load_decisions
from exd_dagster.definitions.fleet.collisions import COLLISION, pair_states
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET
from exd_dagster.definitions.internals import cursor_storage, latest_checks
from exd_dagster.errors import ConfigError
from exd_dagster.stats.checks import check_of
from exd_dagster.stats.checks.reconcile import RECONCILE
from exd_dagster.stats.verdict import plain

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPlan:
    """One alert sensor as configured.

    Attributes:
        name: of the sensor; also the key of the alerting state.
        monitored: every monitored check and the flag it belongs to.
        alerts: the destinations.
        routing: the routes.
        digest: names of the destinations of the digest.
        on_shutoff: called once per incident in which the split is wrong and the flag blocks.
        base_url: address of the Dagster UI.
        grain: whether a partition of the bins is an hour or a day.
        fleet: whose decisions apply.
        collisions: the check `assignment_collision` of the fleet; each pair it names is an incident.
        reader: reads the checks, and remembers them from tick to tick.
    """

    name: str
    monitored: Mapping[dg.AssetCheckKey, FlagAudit]
    alerts: tuple[AlertDestination, ...]
    routing: Routing
    digest: tuple[str, ...]
    on_shutoff: WebhookAlerts | CallbackAlerts | None
    base_url: str
    grain: Literal["hour", "day"] = "hour"
    fleet: str = DEFAULT_FLEET
    collisions: dg.AssetCheckKey | None = None
    reader: CheckReader = field(default_factory=CheckReader, compare=False, repr=False)

    @property
    def flags(self) -> list[FlagId]:
        """Every flag the sensor monitors."""
        return sorted({flag.id for flag in self.monitored.values()})

    @property
    def checks(self) -> dict[FlagId, set[str]]:
        """Names of the checks the sensor monitors, by flag."""
        names: dict[FlagId, set[str]] = {}
        for key, flag in self.monitored.items():
            names.setdefault(flag.id, set()).add(key.name)
        return names

    @property
    def idle_routes(self) -> list[str]:
        """What of the routes matches no flag, owner, severity or check there is; one sentence each."""
        checks = {key.name for key in (*self.monitored, *([self.collisions] if self.collisions else []))}
        return idle_routes(self.routing, self.monitored.values(), checks)

    def setup(self, blocked: Mapping[str, Sequence[str]] | None = None, location: str = "") -> AlertingSetup:
        """Return the destinations as they can be used now, with their secrets read."""
        senders, unready = open_senders(self.alerts)
        hooks, failed = open_senders([self.on_shutoff] if self.on_shutoff else [])
        if failed:
            unready[SHUTOFF_HOOK] = " ".join(failed.values())
        return AlertingSetup(
            senders=senders,
            unready=unready,
            routing=self.routing,
            digest=self.digest,
            hook=next(iter(hooks.values()), None),
            rules={alert.name: rules for alert in self.alerts if (rules := alert.rules)},
            context=Context(
                links=Links(self.base_url, self.grain),
                blocked=blocked or {},
                launchpad=decision_launchpad(self.fleet, location, self.base_url),
            ),
        )

    def tick(
        self,
        instance: dg.DagsterInstance,
        log: logging.Logger,
        *,
        home: str = "",
        cursor: str | None = None,
        blocked: Mapping[str, Sequence[str]] | None = None,
    ) -> AlertState:
        """Do one tick's work.

        Args:
            instance: the Dagster instance.
            log: receives one line per attempt.
            home: code location of the sensor.
            cursor: the revision the sensor last saw.
            blocked: by `str(FlagId)`, the assets that wait for the flag.
        """
        begun = time.monotonic()
        found, running = self.reader.read(instance, self.monitored, utc_now())
        setup, key = self.setup(blocked, home), self.name
        if off := alerts_off():
            setup, key = log_only(setup, log), f"{self.name} (off)"
            log.info("Alerts: rendered and logged, not sent (%s)", off)
        store = StateStore(cursor_storage(instance), key)
        pairs = self._pairs(instance, store.load())
        decisions = load_decisions(instance, self.fleet)
        snapshot = Snapshot(
            found=[*(_waived(state, decisions, utc_now()) for state in found), *pairs],
            monitored={**self.checks, **{pair.flag: {pair.check} for pair in pairs}},
            decisions=decisions,
            running=running,
            home=home,
            last_revision=int(cursor) if cursor is not None and cursor.isdigit() else 0,
        )
        budget = BUDGET - (time.monotonic() - begun)
        return run_tick(store, setup, snapshot, clock=utc_now, timer=time.monotonic, log=log, budget=budget)

    def _pairs(self, instance: dg.DagsterInstance, before: AlertState | None) -> list[CheckState]:
        """Return the check of the fleet, a state for each pair of flags that collides, or did."""
        if self.collisions is None:
            return []
        records, _ = latest_checks(instance, [self.collisions])
        known = {} if before is None else {**before.unmonitored, **before.incidents}
        pairs = [incident.flag for incident in known.values() if COLLISION in incident.alerts]
        flags = {flag.id: flag for flag in self.monitored.values()}
        return [state for record in records for state in pair_states(record, flags, pairs)]


def plan_alerts(
    name: str,
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    alerts: Sequence[AlertDestination],
    *,
    fleet: str = DEFAULT_FLEET,
    routes: Sequence[Route | Mapping[str, Any]] | None = None,
    digest: bool | Sequence[str] = True,
    on_shutoff: WebhookAlerts | CallbackAlerts | None = None,
    base_url: str | None = None,
    grain: Literal["hour", "day"] = "hour",
    collisions: dg.AssetCheckKey | None = None,
) -> AlertPlan:
    """Validate how alerts are configured; arguments as of `build_check_alert_sensor`.

    Raises:
        ConfigError: for unknown or repeated names and a missing default, all faults at once.
    """
    faults = duplicate_faults(alerts) + base_url_faults(base_url)
    names = [alert.name for alert in alerts]
    if SHUTOFF_HOOK in names:
        faults.append(f"name '{SHUTOFF_HOOK}' is reserved for on_shutoff; give the destination another")
    routing = Routing(routes=())
    try:
        routing = read_routes(routes, names)
    except ConfigError as error:
        faults += error.faults
    if isinstance(digest, bool):
        digested = people(channels(alerts), routing.default) if digest else ()
    else:
        digested = tuple(digest)
        faults += nearest_faults(digested, names, "digest: destination")
    if faults:
        raise ConfigError("alerts", faults)
    plan = AlertPlan(
        name=name,
        monitored=monitored,
        alerts=tuple(alerts),
        routing=routing,
        digest=digested,
        on_shutoff=on_shutoff,
        base_url=base_url or "",
        grain=grain,
        fleet=fleet,
        collisions=collisions,
    )
    for fault in plan.idle_routes:
        _log.warning("alerts of %s: %s", name, fault)
    return plan


def alerts_off() -> str:
    """Return why alerts are only logged here: EXD_DAGSTER_ALERTS=off or a branch deployment; else ""."""
    if os.environ.get("EXD_DAGSTER_ALERTS", "").lower() == "off":
        return "EXD_DAGSTER_ALERTS=off"
    if os.environ.get("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT") == "1":
        return "branch deployment"
    return ""


def _waived(state: CheckState, decisions: Sequence[Decision], now: datetime) -> CheckState:
    """Return the failure of a report as waived: its check runs again with the report alone."""
    if state.verdict != "fail" or check_of(state.check) is not RECONCILE or state.facts.get("waived_by"):
        return state
    found = waiver(active_decisions(decisions, state.flag, now), state.flag, state.check, state.facts)
    if found is None:
        return state
    facts = {**state.facts, "waived_by": found.by, "waived_until": plain(found.until)}
    facts.pop("would_block", None)
    return replace(state, severity="WARN", facts=facts)
