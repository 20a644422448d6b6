"""The asset of the alerts, and a check of undelivered messages."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from exd_dagster.alerts.deliveries import Delivery, deliveries
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.policy.retry import begun
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.catalog import declared_at
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.metadata import table
from exd_dagster.definitions.run_tags import audit_op_tags

HEALTH = "alerting_health"
LATE = timedelta(hours=1)
"""An undelivered message older than this makes the check warn."""
RECENT = timedelta(hours=24)
LISTED = 20


def build_alerting_health(
    fleet: str = DEFAULT_FLEET, *, group_name: str = "experiments"
) -> tuple[dg.AssetSpec, dg.AssetChecksDefinition]:
    """Build the asset `alerting` and its check, which warns when messages wait too long or were given up.

    Args:
        fleet: name of the fleet.
        group_name: asset group.
    """
    names = FleetNames(fleet)
    spec = dg.AssetSpec(
        names.alerting,
        description="Alerts sent to people and services; its check shows the last deliveries.",
        group_name=group_name,
        kinds={"alert"},
        metadata=declared_at(),
    )

    @dg.asset_check(
        asset=names.alerting,
        name=HEALTH,
        op_tags=audit_op_tags(),
        description="Are alerts delivered? Warns of messages undelivered for 1 h, or given up within 24 h.",
    )
    def alerting_health(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        state = load_states(context.instance).get(names.alert_sensor) or AlertState()
        now = utc_now()
        return health_result(state, health_faults(state, now), now)

    return spec, alerting_health


def health_result(state: AlertState, faults: Sequence[str], now: datetime) -> dg.AssetCheckResult:
    """Return the answer of the check.

    Args:
        state: of the alert sensor.
        faults: what is wrong, one sentence each.
        now: the time (UTC).
    """
    return dg.AssetCheckResult(
        passed=not faults,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(faults) or "Every alert was delivered.",
        metadata={
            "open_incidents": len(state.incidents),
            "waiting": len(state.outbox),
            "oldest_waiting_minutes": oldest_waiting(state, now) / timedelta(minutes=1),
            "undeliverable": sum(receipt.status == "dead" for receipt in state.receipts),
            "last_deliveries": _table(deliveries(state)[-LISTED:]),
        },
    )


def oldest_waiting(state: AlertState, now: datetime) -> timedelta:
    """Return how long the oldest undelivered message has waited; zero when none waits."""
    waiting = (entry for entry in state.outbox if entry.held_until is None)
    return max((now - begun(entry) for entry in waiting), default=timedelta())


def health_faults(state: AlertState, now: datetime) -> list[str]:
    """Return what is wrong with alerting itself, one sentence each.

    Args:
        state: of the alert sensor.
        now: the time (UTC).
    """
    late = [entry for entry in state.outbox if entry.held_until is None and now - begun(entry) >= LATE]
    dead = [r for r in state.receipts if r.status == "dead" and now - r.at < RECENT]
    faults = []
    if late:
        names = ", ".join(sorted({entry.destination for entry in late}))
        hours = oldest_waiting(state, now) / timedelta(hours=1)
        why = late[0].last_error
        faults.append(
            f"{len(late)} messages to {names} are undelivered, the oldest for {hours:.0f} h: {why}."
        )
    if dead:
        names = ", ".join(sorted({receipt.entry.destination for receipt in dead}))
        faults.append(
            f"{len(dead)} messages to {names} were given up: {dead[-1].detail}. "
            "Correct the destination, then run: exd-dagster alerts retry."
        )
    return faults


def _table(deliveries: Sequence[Delivery]) -> dg.TableMetadataValue:
    """Return the newest first."""
    columns = ("status", "destination", "reason", "flag", "check", "provider_id", "detail")
    rows = [
        {"at": f"{row.at:%Y-%m-%d %H:%M:%S}", **{name: str(getattr(row, name)) for name in columns}}
        for row in reversed(deliveries)
    ]
    return table(rows, "at", *columns)
