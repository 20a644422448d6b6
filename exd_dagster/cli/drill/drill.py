"""A drill: inject a fault into a copy of a flag's records and find when each check detects it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import duckdb
import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds, Timing, floor_hour
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.errors import ConfigError, RecordsError, did_you_mean
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.verdict import Verdict, plain
from exd_dagster.telemetry.canonical import Columns
from exd_dagster.telemetry.records import instant_ms, literal
from exd_dagster.telemetry.sources.duckdb import IbisRecords, Records, TableRecords

FaultKind: TypeAlias = Literal["srm", "dead_arm", "drop"]

SIZES: Mapping[FaultKind, float] = {"srm": 0.2, "dead_arm": 1.0, "drop": 0.8}
"""Default share of the units that each fault removes."""

DEFAULT_LENGTH = timedelta(hours=48)
"""Default start of the fault, before the end of the log."""

_COPY = "exd_drill_copy"
_PLANTED = "exd_drill_planted"
_GRAINS = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """The injected fault.

    Attributes:
        kind: srm (an arm loses some of its units), dead_arm (it loses them all) or drop (all arms lose some).
        since: first instant of the fault (UTC).
        size: share of the units whose records are lost.
        arm: the variant that loses them; "" for a drop.
    """

    kind: FaultKind
    since: datetime
    size: float
    arm: str = ""

    def __str__(self) -> str:
        """Return it as one sentence."""
        share = f"{100 * self.size:.4g} % of the units"
        who = f"{share} of '{self.arm}'" if self.arm else share
        return f"From {self.since:%Y-%m-%d %H:%M} UTC on, {who} are lost."

    def lost(self, columns: Columns) -> str:
        """Return the SQL condition of the records that the fault removes."""
        sql = columns.expressions
        conditions = [
            f"{sql['us']} >= {instant_ms(self.since) * 1000}",
            f"hash(CAST({sql['unit']} AS VARCHAR), 7) % {_GRAINS} < {round(self.size * _GRAINS)}",
        ]
        if self.arm:
            conditions.append(f"{sql['variant']} = {literal(self.arm)}")
        return " AND ".join(conditions)


@dataclass(frozen=True, slots=True)
class Detection:
    """When one check failed.

    Attributes:
        check: its name.
        before: its answer at the last hour before the fault.
        warned: end of the hour (UTC) at which it first failed, None when it never did.
        blocked: end of the hour at which it first failed with severity ERROR.
        sentence: what it said then.
    """

    check: str
    before: str
    warned: datetime | None
    blocked: datetime | None
    sentence: str


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The result of a drill.

    Attributes:
        flag: the flag.
        fault: what was planted.
        through: end of the last hour audited (UTC).
        checks: when each check failed.
    """

    flag: FlagAudit
    fault: Fault
    through: datetime
    checks: tuple[Detection, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as strict JSON; delays are in hours from the start of the fault."""
        return {
            "flag": str(self.flag.id),
            "fault": {
                "kind": self.fault.kind,
                "since": plain(self.fault.since),
                "size": self.fault.size,
                "arm": self.fault.arm or None,
            },
            "audited_through": plain(self.through),
            "checks": {
                detection.check: {
                    "before": detection.before,
                    "warned_after_hours": delay(self.fault, detection.warned),
                    "blocked_after_hours": delay(self.fault, detection.blocked),
                    "sentence": detection.sentence,
                }
                for detection in self.checks
            },
        }


def delay(fault: Fault, instant: datetime | None) -> float | None:
    """Return the hours from the beginning of the fault to an instant."""
    return None if instant is None else (instant - fault.since) / HOUR


def run_drill(
    records: Records,
    flag: FlagAudit,
    kind: FaultKind,
    *,
    thresholds: Thresholds,
    timing: Timing,
    now: datetime,
    since: datetime | None = None,
    size: float | None = None,
    arm: str | None = None,
) -> DrillResult:
    """Plant a fault in a copy of the flag's records and audit it hour by hour, as the checks would have.

    Args:
        records: the log; it is only read.
        flag: the flag.
        kind: srm, dead_arm or drop.
        thresholds: the levels of the checks.
        timing: when an hour is closed.
        now: the clock (UTC).
        since: when the fault begins (UTC); None: 48 h before the last closed hour ends.
        size: share of the units lost; None: as in `SIZES`.
        arm: the variant that loses units; None: the last one declared.

    Raises:
        ConfigError: when the flag has no split for a fault of the split, or the arm or instant do not fit.
        RecordsError: when the log has no closed hour of this flag.
    """
    if isinstance(records, IbisRecords):
        fix = "export this flag's records to Parquet and name that file in a project of its own"
        raise RecordsError(f"{records.place} stays where it is; a drill copies logs that DuckDB reads: {fix}")
    with duckdb.connect() as connection, _copied(connection, records, flag, now) as copy:
        healthy = _count(connection, copy, flag, timing, now)
        if not len(healthy):
            raise RecordsError(
                f"{records.place} has no closed hour of flag '{flag.id}' yet; nothing to run_drill on"
            )
        begins = _beginning(healthy, since)
        fault = Fault(kind, begins, SIZES[kind] if size is None else size, _arm(flag, kind, arm, begins))
        planted = _plant(connection, copy, fault)
        faulty = as_landed(_count(connection, planted, flag, timing, now), healthy)
    answers = hourly_answers(flag, faulty, thresholds, begins)
    return DrillResult(flag, fault, faulty.audited_through, tuple(_detection(history) for history in answers))


@contextmanager
def _copied(
    connection: duckdb.DuckDBPyConnection, records: Records, flag: FlagAudit, now: datetime
) -> Iterator[TableRecords]:
    """Copy the records of one flag into a temporary table of this connection."""
    connection.execute("SET enable_progress_bar = false")  # it would print to standard output
    extras = sorted({*flag.include, *flag.exclude, *dimensions_of(flag)})
    with records.resolved(connection, flag.start, now, extras) as columns:
        scope = {"flag": flag.key, "namespace": flag.namespace, "environment": flag.environment}
        conditions = [
            f"{columns.expressions[name]} = {literal(value)}"
            for name, value in scope.items()
            if value is not None and name not in columns.absent
        ]
        where = " AND ".join([columns.between(instant_ms(flag.start), instant_ms(now)), *conditions])
        connection.execute(f"CREATE TEMP TABLE {_COPY} AS {columns.select()} WHERE {where}")
    # under exd's names: what renamed, chose and unnested the rows of the log is not applied again
    yield TableRecords(table=_COPY, time_zone=records.time_zone, time_format=records.time_format)


def _plant(connection: duckdb.DuckDBPyConnection, copy: TableRecords, fault: Fault) -> TableRecords:
    with copy.resolved(connection, fault.since, fault.since) as columns:
        lost = fault.lost(columns)
    connection.execute(
        f"CREATE TEMP TABLE {_PLANTED} AS SELECT * FROM {_COPY} WHERE NOT coalesce({lost}, false)"
    )
    return copy.model_copy(update={"table": _PLANTED})


def _count(
    connection: duckdb.DuckDBPyConnection,
    records: TableRecords,
    flag: FlagAudit,
    timing: Timing,
    now: datetime,
) -> FlagBins:
    store = BinStore(connection)
    built = store.rebuild(records, [flag], timing=timing, now=now).flags[flag.id]
    if built.error:
        raise RecordsError(built.error)
    return store.read(flag)


def as_landed(faulty: FlagBins, healthy: FlagBins) -> FlagBins:
    """Return the faulty bins on the calendar of the healthy ones: other flags' records went on landing."""
    columns = [healthy.variants.index(variant) for variant in faulty.variants]

    def padded(counts: Any) -> Any:
        whole = np.zeros_like(healthy.units)
        whole[: len(faulty), columns] = counts[: len(whole)]
        return whole

    return replace(
        healthy,
        new_units=padded(faulty.new_units),
        units=padded(faulty.units),
        evaluations=padded(faulty.evaluations),
        facts=faulty.facts,
    )


def _beginning(bins: FlagBins, since: datetime | None) -> datetime:
    """Return the hour in which the fault begins.

    Raises:
        ConfigError: when nothing lies before it or after it.
    """
    last = bins.audited_through
    if since is None:
        middle = bins.start + HOUR * (len(bins) // 2)
        return max(last - DEFAULT_LENGTH, middle)
    if not bins.start < since < last:
        span = f"{bins.start:%Y-%m-%dT%H:%MZ} and {last:%Y-%m-%dT%H:%MZ}"
        raise ConfigError(
            "these options", [f"since: {since:%Y-%m-%dT%H:%MZ} is not between {span}, what the log holds"]
        )
    return floor_hour(since)


def _arm(flag: FlagAudit, kind: FaultKind, arm: str | None, begins: datetime) -> str:
    """Return the variant that loses units: by default the last one that has a share when the fault begins."""
    if kind == "drop":
        return ""
    phase = flag.phase_at(begins)
    if phase is None:
        fix = "declare split={...}: without it the SRM checks are skipped"
        raise ConfigError("these options", [f"flag '{flag.id}' declares no split; {fix}"])
    if arm is not None and arm not in flag.variants:
        raise ConfigError(
            "these options", [f"arm: '{arm}' is not declared.{did_you_mean(arm, flag.variants)}"]
        )
    return arm if arm is not None else [name for name, share in phase.split.items() if share][-1]


def hourly_answers(
    flag: FlagAudit, bins: FlagBins, thresholds: Thresholds, since: datetime
) -> list[list[Verdict]]:
    """Return the verdicts of each check, one per hour: at `since`, and at the end of every hour after it."""
    first = bins.index(since)
    audits = [
        audit_flag(flag, bins.between(bins.start, bins.start + HOUR * through), thresholds)
        for through in range(first, len(bins) + 1)
    ]
    return [list(history) for history in zip(*audits, strict=True)]


def _detection(history: list[Verdict]) -> Detection:
    before, *after = history
    failed = [verdict for verdict in after if verdict.failed]
    errors = [verdict for verdict in failed if verdict.severity == "ERROR"]
    said = (errors or failed or history)[0 if failed else -1]
    return Detection(
        check=before.check,
        before=before.verdict,
        warned=failed[0].audited_through if failed else None,
        blocked=errors[0].audited_through if errors else None,
        sentence=said.sentence,
    )
