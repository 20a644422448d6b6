"""Diagnose alerts: can every destination be used, and does alerting work?"""

from datetime import datetime

from exd_dagster.alerts.model import AlertState
from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, warn
from exd_dagster.definitions.alerting.health import health_faults
from exd_dagster.definitions.alerting.plan import AlertPlan, alerts_off


def diagnose_alerts(plan: AlertPlan, state: AlertState | None, now: datetime) -> list[Diagnosis]:
    """Diagnose the destinations of one alert sensor; nothing is sent.

    Args:
        plan: the sensor as configured.
        state: what alerting remembers, None where it never ticked or the instance is not known.
        now: the clock (UTC).
    """
    if not plan.alerts:
        return [
            warn("alerts", "no destination: no alert is sent", "give alerts=[...], for example SlackAlerts")
        ]
    unready = plan.setup().unready
    found = [
        fail("alerts", f"{name}: {why}", "correct it where the daemon runs, and start the daemon again")
        for name, why in unready.items()
    ]
    ready = [alert.name for alert in plan.alerts if alert.name not in unready]
    if ready:
        found.append(ok("alerts", f"ready: {', '.join(ready)} (try one with exd-dagster test-alert)"))
    found += [warn("routes", fault, "correct the route, or the flag it names") for fault in plan.idle_routes]
    if off := alerts_off():
        found.append(warn("alerts", f"only logged, not sent: {off}", "unset it where alerts should be sent"))
    faults = health_faults(state, now) if state is not None else []
    found += [warn("alerts", fault, "see exd-dagster alerts status") for fault in faults]
    return [*found, _links(plan)]


def _links(plan: AlertPlan) -> Diagnosis:
    if plan.base_url:
        return ok("base_url", plan.base_url)
    return warn(
        "base_url", "alerts carry no links", 'give base_url="https://your-dagster", the address of the UI'
    )
