"""Run the checks again that a person's decision touches, at once instead of at the next audit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from exd_dagster.alerts.decision import Decision
from exd_dagster.alerts.model import instant
from exd_dagster.config import FlagAudit
from exd_dagster.decisions import load_decisions

UNBLOCKS = ("waive", "end")
"""Decisions that change what a check answers; a silence changes only what is told."""


def build_decision_sensor(
    monitored: Mapping[dg.AssetCheckKey, FlagAudit],
    *,
    name: str = "exd_decision_checks",
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> tuple[dg.SensorDefinition, Any]:
    """Build the sensor, and the job it runs, that repeat the checks of a flag after a decision about it.

    Args:
        monitored: every check and its flag, `trust` included: a flag's checks run together.
        name: of sensor and job.
        minimum_interval_seconds: time between two ticks.
        default_status: whether the sensor starts by itself; it does.
    """
    job = dg.define_asset_job(
        name,
        selection=dg.AssetSelection.checks(*monitored),
        executor_def=dg.in_process_executor,
        description="Repeats the checks of flags a person decided about.",
    )

    @dg.sensor(
        name=name,
        job=job,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Repeats the checks of a flag as soon as a person decided about it.",
    )
    def decision_checks(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        seen = instant(context.cursor)
        new = news(load_decisions(context.instance), seen)
        if not new:
            return dg.SkipReason("no new decision")
        latest = max(decision.made_at for decision in new).isoformat()
        context.update_cursor(latest)
        keys = [key for key, flag in monitored.items() if any(d.covers(flag.id) for d in new)]
        if not keys:
            return dg.SkipReason("the new decisions touch no check that is audited here")
        return dg.RunRequest(run_key=f"{name}:{latest}", asset_check_keys=keys)

    return decision_checks, job


def news(decisions: tuple[Decision, ...], seen: datetime | None) -> list[Decision]:
    """Return the decisions that unblock and were recorded after `seen` (UTC)."""
    return [d for d in decisions if d.kind in UNBLOCKS and (seen is None or d.made_at > seen)]
