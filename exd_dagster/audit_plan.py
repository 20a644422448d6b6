"""What each fleet of this process audits, and where: remembered for the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit, Thresholds, Timing
from exd_dagster.telemetry.sources import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """One call of `build_flag_audit_defs`.

    Attributes:
        name: prefix of its job, schedule and sensors.
        flags: what is audited.
        records: where the evaluation records are.
        store: the DuckDB file of the bins.
        thresholds: the levels of the checks.
        timing: when an hour is closed.
        running: name of each schedule and sensor, and whether it starts by itself.
    """

    name: str
    flags: tuple[FlagAudit, ...]
    records: Records
    store: DuckDBResource
    thresholds: Thresholds
    timing: Timing
    running: Mapping[str, bool]

    @property
    def store_path(self) -> str:
        """Path of the store; "" where it comes from an environment variable that is not set."""
        path = self.store.database
        return path.get_value() or "" if isinstance(path, dg.EnvVar) else path


def plan_audit(
    name: str,
    flags: Sequence[FlagAudit],
    records: Records,
    store: DuckDBResource,
    thresholds: Thresholds | None,
    timing: Timing | None,
    defs: dg.Definitions,
) -> AuditPlan:
    """Return the plan of a fleet whose schedules and sensors are those of `defs`."""
    starting = {
        each.name: each.default_status.value == "RUNNING"
        for each in (*(defs.schedules or ()), *(defs.sensors or ()))
        if isinstance(each, (dg.ScheduleDefinition, dg.SensorDefinition))
    }
    return AuditPlan(
        name=name,
        flags=tuple(flags),
        records=records,
        store=store,
        thresholds=thresholds or Thresholds(),
        timing=timing or Timing(),
        running=starting,
    )


_PLANS: dict[str, AuditPlan] = {}


def remember(plan: AuditPlan) -> None:
    """Keep the plan of a fleet; a fleet built again replaces the one of the same name."""
    _PLANS[plan.name] = plan


def audit_plans() -> list[AuditPlan]:
    """Return the plan of every fleet built in this process."""
    return list(_PLANS.values())
