"""Run the checks affected by a decision at once instead of at the next audit.

This happens twice: when the decision is recorded, and when it ends.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from exd_dagster.alerts.model import instant
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.config import FlagAudit
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.decisions.asset import load_decisions
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.run_tags import AUDIT_TAG

UNBLOCKS = ("waive", "end")
"""Decisions that change the result of a check; a silence changes only what is sent."""


def build_decision_sensor(
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    *,
    fleet: str = DEFAULT_FLEET,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> tuple[dg.SensorDefinition, Any]:
    """Build the sensor, and the job it runs, that repeat the checks of a flag after a decision about it.

    Args:
        monitored: every check and its flag, `trust` included: a flag's checks run together.
        fleet: name of the fleet.
        default_status: whether the sensor starts automatically; running by default.
    """
    name = FleetNames(fleet).decision_checks
    job = dg.define_asset_job(
        name,
        selection=dg.AssetSelection.checks(*monitored),
        executor_def=dg.in_process_executor,
        description="Repeats the checks of flags affected by a decision.",
        tags={AUDIT_TAG: "true"},
    )

    @dg.sensor(
        name=name,
        job=job,
        minimum_interval_seconds=30,
        default_status=default_status,
        description="Repeats the checks of a flag when a decision about it begins or ends.",
    )
    def decision_checks(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        made, _, ended = (context.cursor or "").partition(" ")
        now = utc_now()
        decisions = load_decisions(context.instance, fleet)
        new, over = begun(decisions, instant(made)), gone(decisions, instant(ended), now)
        if not new and not over:
            return dg.SkipReason("no decision began or ended")
        made = max((decision.made_at.isoformat() for decision in new), default=made)
        ended = max((decision.until.isoformat() for decision in over), default=ended)
        context.update_cursor(f"{made} {ended}")
        keys = [key for key, flag in monitored.items() if any(d.covers(flag.id) for d in (*new, *over))]
        if not keys:
            named = ", ".join(sorted({f"'{decision.flags}'" for decision in (*new, *over)}))
            return dg.SkipReason(f"no flag audited here is {named}, named in a decision")
        return dg.RunRequest(run_key=f"{name}:{made}:{ended}", asset_check_keys=keys)

    return decision_checks, job


def begun(decisions: tuple[Decision, ...], seen: datetime | None) -> list[Decision]:
    """Return the decisions that unblock and were recorded after `seen` (UTC)."""
    return [d for d in decisions if d.kind in UNBLOCKS and (seen is None or d.made_at > seen)]


def gone(decisions: tuple[Decision, ...], seen: datetime | None, now: datetime) -> list[Decision]:
    """Return the decisions that unblocked and ended after `seen` (UTC)."""
    over = [d for d in decisions if d.kind in UNBLOCKS and d.until <= now]
    return [d for d in over if seen is None or d.until > seen]
