"""What each fleet of this process audits, and where: remembered for the command line."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit, FlagId, Thresholds, Timing
from exd_dagster.definitions.fleet.clash import Claim, clash
from exd_dagster.definitions.store import place_of
from exd_dagster.telemetry.sources.duckdb import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """One call of `build_flag_audit_defs`.

    Attributes:
        name: of the fleet.
        bins: the bins asset of each flag.
        flags: the audited flags.
        records: where the evaluation records are.
        store: where the bins are.
        thresholds: the levels of the checks.
        timing: when an hour is closed.
        pool: concurrency pool of every op that writes the store.
        running: name of each schedule and sensor, and whether it starts automatically.
    """

    name: str
    bins: Mapping[FlagId, dg.AssetKey]
    flags: tuple[FlagAudit, ...]
    records: Records
    store: DuckDBResource
    thresholds: Thresholds
    timing: Timing
    pool: str
    running: Mapping[str, bool]

    @property
    def claim(self) -> Claim:
        """What the fleet takes for itself."""
        return Claim(self.name, self.bins, self.store_path)

    @property
    def store_path(self) -> str:
        """Address of the store; "" where it comes from an environment variable that is not set."""
        return place_of(self.store).address


def running(defs: dg.Definitions) -> dict[str, bool]:
    """Return the name of each schedule and sensor, and whether it starts automatically."""
    return {
        each.name: each.default_status.value == "RUNNING"
        for each in (*(defs.schedules or ()), *(defs.sensors or ()))
        if isinstance(each, (dg.ScheduleDefinition, dg.SensorDefinition))
    }


_PLANS: dict[str, AuditPlan] = {}


def remember(plan: AuditPlan) -> None:
    """Register the plan of a fleet; a fleet built again replaces the one of the same name.

    Warns of a conflict, because Dagster's own error names no fix.
    """
    _PLANS[plan.name] = plan
    for other in _PLANS.values():
        for fault in clashes([other, plan]) if other is not plan else ():
            warnings.warn(fault, stacklevel=3)


def audit_plans() -> list[AuditPlan]:
    """Return the plan of every fleet built in this process."""
    return list(_PLANS.values())


def clashes(plans: Sequence[AuditPlan]) -> list[str]:
    """Return what two of these fleets cannot both have, one fault each."""
    return [fault for one, other in combinations(plans, 2) for fault in clash(one.claim, other.claim)]
