"""The alert sensor, and functions that list deliveries and run a tick."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import dagster as dg

from exd_dagster.alerts.deliveries import Delivery
from exd_dagster.alerts.deliveries import deliveries as sent
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.policy.routes import Route
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import AlertDestination, CallbackAlerts, WebhookAlerts
from exd_dagster.definitions.alerting.plan import AlertPlan, plan_alerts
from exd_dagster.definitions.alerting.states import load_states
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET
from exd_dagster.definitions.internals import downstream_assets

__all__ = ["AlertDestination", "alert_plans", "build_check_alert_sensor", "deliveries", "run_alert_sensor"]

_PLANS: dict[str, AlertPlan] = {}


def build_check_alert_sensor(
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    alerts: Sequence[AlertDestination],
    *,
    name: str = "exd_check_alerts",
    fleet: str = DEFAULT_FLEET,
    routes: Sequence[Route | Mapping[str, Any]] | None = None,
    digest: bool | Sequence[str] = True,
    on_shutoff: WebhookAlerts | CallbackAlerts | None = None,
    base_url: str | None = None,
    grain: Literal["hour", "day"] = "hour",
    collisions: dg.AssetCheckKey | None = None,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Build the sensor that sends one alert when checks fail and one when they pass again.

    Args:
        monitored: every monitored check and the flag it belongs to.
        alerts: the destinations.
        name: of the sensor; unique in the Dagster instance, since it is the key of the alerting state.
        fleet: whose decisions apply.
        routes: which alert goes where; first match wins, the last one has only `to`; None: every destination.
        digest: True sends the digest after each audit to the default destinations for people; False
            sends none; names send it there.
        on_shutoff: called once per incident in which the split is wrong and the flag blocks.
        base_url: address of the Dagster UI, for links.
        grain: whether a partition of the bins is an hour or a day, for links.
        collisions: the check `assignment_collision` of the fleet, whose pairs of flags are sent too.
        minimum_interval_seconds: time between two ticks.
        default_status: whether the sensor starts automatically; running by default.

    Raises:
        ConfigError: for unknown or repeated names and a missing default, all faults at once.
    """
    plan = plan_alerts(
        name,
        monitored,
        alerts,
        fleet=fleet,
        routes=routes,
        digest=digest,
        on_shutoff=on_shutoff,
        base_url=base_url,
        grain=grain,
        collisions=collisions,
    )
    _PLANS[name] = plan

    @dg.sensor(
        name=name,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Sends one alert per destination when a flag's checks fail, are contained or pass again.",
    )
    def check_alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        origin = context.code_location_origin
        state = plan.tick(
            context.instance,
            context.log,
            home=origin.location_name if origin is not None else "",
            cursor=context.cursor,
            blocked=_blocked(context.repository_def, plan),
        )
        context.update_cursor(str(state.revision))
        return dg.SkipReason(summary(state))

    return check_alerts


def alert_plans() -> list[AlertPlan]:
    """Return the plan of every alert sensor built in this process, for the command line."""
    return list(_PLANS.values())


def _blocked(repository: dg.RepositoryDefinition | None, plan: AlertPlan) -> dict[str, Sequence[str]]:
    """Return, by flag, what is downstream of its bins."""
    assets = {key.asset_key for key in plan.monitored}
    below = downstream_assets(repository, assets) if repository is not None else {}
    found: dict[str, list[str]] = {}
    for asset, flag in {(key.asset_key, flag.id) for key, flag in plan.monitored.items()}:
        found.setdefault(str(flag), []).extend(below.get(asset, ()))
    return {flag: sorted(set(names)) for flag, names in found.items() if names}


def summary(state: AlertState) -> str:
    """Return the summary of a tick for the Automation page."""
    last = max((receipt.at for receipt in state.receipts if receipt.status == "sent"), default=None)
    dead = sum(receipt.status == "dead" for receipt in state.receipts)
    last_delivery = f"last delivery {last:%Y-%m-%d %H:%M} UTC" if last else "nothing delivered yet"
    counts = f"{len(state.incidents)} open incidents, {len(state.outbox)} messages pending, {dead} given up"
    return f"{counts}; {last_delivery}"


def deliveries(instance: dg.DagsterInstance, since: datetime | None = None) -> list[Delivery]:
    """Return one row for each alert and destination, oldest first.

    Args:
        instance: the Dagster instance.
        since: what was sent before this instant (UTC) reads "already_sent".
    """
    rows = [row for state in load_states(instance).values() for row in sent(state, since)]
    return sorted(rows, key=lambda row: row.at)


def run_alert_sensor(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, defs: dg.Definitions | None = None
) -> str:
    """Run one tick of an alert sensor now, without a daemon.

    Args:
        sensor: what `build_check_alert_sensor` returned.
        instance: the Dagster instance.
        defs: the project, so that messages can name the assets a flag blocks.

    Returns:
        The summary of the tick: open incidents, pending messages, last delivery.
    """
    repository = None if defs is None else defs.get_repository_def()
    data = sensor.evaluate_tick(
        dg.build_sensor_context(instance=instance, sensor_name=sensor.name, repository_def=repository)
    )
    return data.skip_message or ""
