"""The alert sensor: Dagster's check records in, one tick of alerting, deliveries for those who ask."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from exd_dagster._dagster_internals import CheckRecord, cursor_storage, latest_checks
from exd_dagster.alerts.compose import Context
from exd_dagster.alerts.links import Links
from exd_dagster.alerts.log_only import log_only
from exd_dagster.alerts.model import AlertState, CheckState, Delivery
from exd_dagster.alerts.route import Route, Routing, read_routes
from exd_dagster.alerts.state import StateStore, sensors
from exd_dagster.alerts.tick import Desk, Scene, people, run_tick
from exd_dagster.config import FlagAudit, nearest_faults
from exd_dagster.decisions import load_decisions
from exd_dagster.errors import ConfigError
from exd_dagster.resources import (
    AlertDestination,
    CallbackAlerts,
    WebhookAlerts,
    channels,
    duplicate_faults,
    open_senders,
)

__all__ = ["AlertDestination", "build_check_alert_sensor", "deliveries", "run_alert_sensor"]

REPEATS = frozenset({"trust"})
"""Checks that only repeat the answer of others; they are not told on their own."""


def build_check_alert_sensor(
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    alerts: Sequence[AlertDestination],
    *,
    name: str = "exd_check_alerts",
    routes: Sequence[Route | Mapping[str, Any]] | None = None,
    digest: bool | Sequence[str] = True,
    on_shutoff: WebhookAlerts | CallbackAlerts | None = None,
    base_url: str | None = None,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Build the sensor that tells people about failing checks, once, and again when they pass.

    Args:
        monitored: every check to watch and the flag it belongs to.
        alerts: the destinations.
        name: of the sensor; unique in the Dagster instance, for the alerting state is kept under it.
        routes: who is told; first match wins, the last one has only `to`; None: every destination.
        digest: True sends the digest after each audit to the default destinations that people read; False
            sends none; names send it there.
        on_shutoff: called once per incident in which the split is wrong and the flag blocks.
        base_url: address of the Dagster UI, for links.
        minimum_interval_seconds: time between two ticks.
        default_status: whether the sensor starts by itself; it does.

    Raises:
        ConfigError: for unknown or repeated names and a missing default, all faults at once.
    """
    routing, digested = _validated(alerts, routes, digest)
    watched = {key: flag for key, flag in monitored.items() if key.name not in REPEATS}
    flags = sorted({flag.id for flag in monitored.values()})

    @dg.sensor(
        name=name,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Tells each destination once when a flag's checks fail, are contained or pass again.",
    )
    def check_alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        senders, unready = open_senders(alerts)
        hooks, failed = open_senders([on_shutoff] if on_shutoff else [])
        desk = Desk(
            senders=senders,
            unready={**unready, **failed},
            routing=routing,
            digest=digested,
            hook=next(iter(hooks.values()), None),
            context=Context(links=Links(base_url or "")),
        )
        store = StateStore(cursor_storage(context.instance), name)
        if off := alerts_off():
            desk, store = (
                log_only(desk, context.log),
                StateStore(cursor_storage(context.instance), f"{name} (off)"),
            )
            context.log.info("Alerts: rendered and logged, not sent (%s)", off)
        found, running = check_states(context.instance, watched)
        scene = Scene(
            found=found,
            monitored=flags,
            decisions=load_decisions(context.instance),
            running=running,
            home=_home(context),
            told_before=_revision(context.cursor),
        )
        state = run_tick(store, desk, scene, clock=_now, timer=time.monotonic, log=context.log)
        context.update_cursor(str(state.revision))
        return dg.SkipReason(summary(state))

    return check_alerts


def _validated(
    alerts: Sequence[AlertDestination],
    routes: Sequence[Route | Mapping[str, Any]] | None,
    digest: bool | Sequence[str],
) -> tuple[Routing, tuple[str, ...]]:
    faults = duplicate_faults(alerts)
    names = [alert.name for alert in alerts]
    routing = Routing(routes=())
    try:
        routing = read_routes(routes, names)
    except ConfigError as error:
        faults += error.faults
    if isinstance(digest, bool):
        digested = people(channels(alerts), routing.default) if digest and routing.routes else ()
    else:
        digested = tuple(digest)
        faults += nearest_faults(digested, names, "digest: destination")
    if faults:
        raise ConfigError("alerts", faults)
    return routing, digested


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _revision(cursor: str | None) -> int:
    return int(cursor) if cursor is not None and cursor.isdigit() else 0


def _home(context: dg.SensorEvaluationContext) -> str:
    origin = context.code_location_origin
    return origin.location_name if origin is not None else ""


def alerts_off() -> str:
    """Return why alerts are only logged here: EXD_DAGSTER_ALERTS=off or a branch deployment; else ""."""
    if os.environ.get("EXD_DAGSTER_ALERTS", "").lower() == "off":
        return "EXD_DAGSTER_ALERTS=off"
    if os.environ.get("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT") == "1":
        return "branch deployment"
    return ""


def check_states(
    instance: dg.DagsterInstance, monitored: Mapping[dg.AssetCheckKey, FlagAudit]
) -> tuple[list[CheckState], bool]:
    """Read the latest state of every monitored check, and whether one is being executed now.

    Args:
        instance: the Dagster instance.
        monitored: every check and the flag it belongs to.
    """
    records, running = latest_checks(instance, list(monitored))
    return [_state(record, monitored[record.key]) for record in records], bool(running)


def _state(record: CheckRecord, flag: FlagAudit) -> CheckState:
    verdict = record.metadata.get("verdict", "pass" if record.passed else "fail")
    facts = dict(record.metadata)
    sentence = str(facts.pop("sentence", "") or record.description.partition("\n")[0])
    if record.passed is None:
        verdict, facts = "not_checked", {"reason": "the run ended without an answer"}
    elif record.key.name == "bins_built" and not record.passed:
        verdict, facts = "not_checked", {**facts, "reason": "the bins could not be built"}
    return CheckState(
        flag=flag.id,
        check=record.key.name,
        verdict=verdict,
        severity=_severity(record) if verdict == "fail" else None,
        sentence=sentence,
        at=record.at,
        run_id=record.run_id,
        facts=_slim(facts),
        mode=flag.mode,
        owners=flag.owners,
        asset=tuple(record.key.asset_key.path),
    )


def _severity(record: CheckRecord) -> Any:
    return record.metadata.get("severity") or record.severity or "ERROR"


def _slim(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out long values: the alert state holds message facts, not evidence."""
    return {name: value for name, value in facts.items() if len(str(value)) <= 2000}


def summary(state: AlertState) -> str:
    """Return what the Automation page shows of a tick."""
    last = max((receipt.at for receipt in state.receipts if receipt.status == "sent"), default=None)
    dead = sum(receipt.status == "dead" for receipt in state.receipts)
    told = f"last delivery {last:%Y-%m-%d %H:%M} UTC" if last else "nothing delivered yet"
    counts = (
        f"{len(state.incidents)} open incidents, {len(state.outbox)} messages waiting, {dead} undeliverable"
    )
    return f"{counts}; {told}"


def load_states(instance: dg.DagsterInstance) -> dict[str, AlertState]:
    """Return the alerting state of each alert sensor of an instance, by sensor name."""
    storage = cursor_storage(instance)
    found = {name: StateStore(storage, name).load() for name in sensors(storage)}
    return {name: state for name, state in found.items() if state is not None}


def deliveries(instance: dg.DagsterInstance, since: datetime | None = None) -> list[Delivery]:
    """Return one row for each alert and destination ever told, oldest first.

    Args:
        instance: the Dagster instance.
        since: what was sent before this instant (UTC) reads "already_sent".
    """
    rows = [row for state in load_states(instance).values() for row in state.deliveries(since)]
    return sorted(rows, key=lambda row: row.at)


def run_alert_sensor(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> str:
    """Do one tick's work of an alert sensor now, without a daemon.

    Args:
        sensor: what `build_check_alert_sensor` returned.
        instance: the Dagster instance.

    Returns:
        What the tick said: open incidents, messages waiting, last delivery.
    """
    data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, sensor_name=sensor.name))
    return data.skip_message or ""
