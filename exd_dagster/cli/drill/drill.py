"""A drill: inject a fault into a copy of a flag's records and find when each check detects it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import duckdb
import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins, FlagSegments, no_segments
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Thresholds, Timing, floor_hour
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.errors import ConfigError, RecordsError, did_you_mean
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.checks import CHECKS
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
_FAULTY = "exd_drill_faulty"
_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """The injected fault.

    Attributes:
        kind: srm (an arm loses some of its units), dead_arm (it loses them all) or drop (all arms lose some).
        since: first instant of the fault (UTC).
        size: share of the units whose records are lost.
        arm: the variant that loses them; "" for a drop.
        where: (column, value) of the records that are affected, all of them; empty: every record.
    """

    kind: FaultKind
    since: datetime
    size: float
    arm: str = ""
    where: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return it as one sentence."""
        share = f"{100 * self.size:.4g} % of the units"
        who = f"{share} of '{self.arm}'" if self.arm else share
        if self.where:
            who += f" with {' and '.join(f'{column} = {value}' for column, value in self.where)}"
        return f"From {self.since:%Y-%m-%d %H:%M} UTC on, {who} are lost."

    def lost(self, columns: Columns) -> str:
        """Return the SQL condition of the records that the fault removes."""
        sql = columns.expressions
        conditions = [
            f"{sql['us']} >= {instant_ms(self.since) * 1000}",
            f"hash(CAST({sql['unit']} AS VARCHAR), 7) % {_BUCKETS} < {round(self.size * _BUCKETS)}",
        ]
        if self.arm:
            conditions.append(f"{sql['variant']} = {literal(self.arm)}")
        conditions += [_holds(columns, *one) for one in self.where]
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
        fault: what was injected.
        through: end of the last hour audited (UTC).
        checks: when each check failed.
        note: what keeps a check from seeing the fault, "" for nothing.
    """

    flag: FlagAudit
    fault: Fault
    through: datetime
    checks: tuple[Detection, ...]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as strict JSON; delays are in hours from the start of the fault."""
        return {
            "flag": str(self.flag.id),
            "fault": {
                "kind": self.fault.kind,
                "since": plain(self.fault.since),
                "size": self.fault.size,
                "arm": self.fault.arm or None,
                **({"where": dict(self.fault.where)} if self.fault.where else {}),
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
    where: Mapping[str, str] | None = None,
) -> DrillResult:
    """Inject a fault into a copy of the flag's records and audit it hour by hour, as the checks would.

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
        where: value by record column: only these records are affected, and the checks of segments are asked
            too; None: every record.

    Raises:
        ConfigError: when the flag has no split for a fault of the split, or the arm, the instant or the
            segment is not in the log.
        RecordsError: when the log has no closed hour of this flag.
    """
    if isinstance(records, IbisRecords):
        fix = "export this flag's records to Parquet and name that file in a project of its own"
        raise RecordsError(f"{records.place} stays where it is; a drill copies logs that DuckDB reads: {fix}")
    wanted = tuple((where or {}).items())
    with duckdb.connect() as connection, _copied(connection, records, flag, now, wanted) as copy:
        healthy, _ = _count(connection, copy, flag, timing, now)
        if not len(healthy):
            raise RecordsError(
                f"{records.place} has no closed hour of flag '{flag.id}' yet; nothing to inject a fault into"
            )
        begins = _beginning(healthy, since)
        lost = SIZES[kind] if size is None else size
        fault = Fault(kind, begins, lost, _arm(flag, kind, arm, begins), wanted)
        injected = _inject(connection, copy, fault)
        faulty, segments = as_delivered(*_count(connection, injected, flag, timing, now), healthy)
    answers = hourly_answers(flag, faulty, thresholds, begins, segments if wanted else None)
    found = tuple(_detection(history) for history in answers)
    return DrillResult(flag, fault, faulty.audited_through, found, _unseen(flag, wanted))


def _unseen(flag: FlagAudit, where: tuple[tuple[str, str], ...]) -> str:
    """Return which column of the segment the flag is not divided by."""
    unknown = [column for column, _ in where if column not in dimensions_of(flag)]
    if not unknown:
        return ""
    listed = ", ".join(map(repr, (*flag.dimensions, *unknown)))
    return f"segment_srm does not see {', '.join(unknown)}: it does with dimensions=[{listed}] of the flag."


@contextmanager
def _copied(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    flag: FlagAudit,
    now: datetime,
    where: tuple[tuple[str, str], ...],
) -> Iterator[TableRecords]:
    """Copy the records of one flag into a temporary table of this connection."""
    connection.execute("SET enable_progress_bar = false")  # it would print to standard output
    extras = sorted({*flag.include, *flag.exclude, *dimensions_of(flag), *(column for column, _ in where)})
    with records.resolved(connection, flag.start, now, extras) as columns:
        scope = {"flag": flag.key, "namespace": flag.namespace, "environment": flag.environment}
        scoped = [
            f"{columns.expressions[name]} = {literal(value)}"
            for name, value in scope.items()
            if value is not None and name not in columns.absent
        ]
        kept = " AND ".join([columns.between(instant_ms(flag.start), instant_ms(now)), *scoped])
        connection.execute(f"CREATE TEMP TABLE {_COPY} AS {columns.select()} WHERE {kept}")
    copy = TableRecords(table=_COPY, time_zone=records.time_zone, time_format=records.time_format)
    with copy.resolved(connection, flag.start, now, extras) as columns:
        _check_where(connection, columns, where)
    # under exd's names: what renamed, chose and unnested the rows of the log is not applied again
    yield copy


def _holds(columns: Columns, column: str, value: str) -> str:
    return f"CAST({columns.extras[column]} AS VARCHAR) = {literal(value)}"


def _check_where(
    connection: duckdb.DuckDBPyConnection, columns: Columns, where: tuple[tuple[str, str], ...]
) -> None:
    """Refuse a segment that is not in the records of the flag."""
    for column, value in where:
        if column not in columns.extras:
            fix = did_you_mean(column, columns.values)
            raise ConfigError("these options", [f"where: '{column}' is no column of this log.{fix}"])
        found = f"SELECT count(*) FROM {columns.scan.relation} WHERE {_holds(columns, column, value)}"
        if (connection.execute(found).fetchone() or (0,))[0]:
            continue
        text = f"CAST({columns.extras[column]} AS VARCHAR)"
        most = f"SELECT {text} FROM {columns.scan.relation} GROUP BY ALL ORDER BY count(*) DESC LIMIT 50"
        values = [str(one) for (one,) in connection.execute(most).fetchall() if one is not None]
        near = did_you_mean(value, values)
        raise ConfigError("these options", [f"where: no record of this flag has {column} = '{value}'.{near}"])


def _inject(connection: duckdb.DuckDBPyConnection, copy: TableRecords, fault: Fault) -> TableRecords:
    named = [column for column, _ in fault.where]
    with copy.resolved(connection, fault.since, fault.since, named) as columns:
        lost = fault.lost(columns)
    connection.execute(
        f"CREATE TEMP TABLE {_FAULTY} AS SELECT * FROM {_COPY} WHERE NOT coalesce({lost}, false)"
    )
    return copy.model_copy(update={"table": _FAULTY})


def _count(
    connection: duckdb.DuckDBPyConnection,
    records: TableRecords,
    flag: FlagAudit,
    timing: Timing,
    now: datetime,
) -> tuple[FlagBins, FlagSegments]:
    store = BinStore(connection)
    built = store.rebuild(records, [flag], timing=timing, now=now).flags[flag.id]
    if built.error:
        raise RecordsError(built.error)
    bins = store.read(flag)
    return bins, store.segments(flag, bins)


def as_delivered(
    faulty: FlagBins, segments: FlagSegments, healthy: FlagBins
) -> tuple[FlagBins, FlagSegments]:
    """Return the faulty bins on the calendar of the healthy ones: other flags' records went on landing."""
    columns = [healthy.variants.index(variant) for variant in faulty.variants]

    def padded(counts: Any) -> Any:
        whole = np.zeros((*counts.shape[:-2], *healthy.units.shape), counts.dtype)
        whole[..., : len(faulty), columns] = counts[..., : len(healthy), :]
        return whole

    bins = replace(
        healthy,
        new_units=padded(faulty.new_units),
        units=padded(faulty.units),
        evaluations=padded(faulty.evaluations),
        facts=faulty.facts,
    )
    if not segments.segments:
        return bins, no_segments(bins)
    return bins, replace(segments, variants=bins.variants, new_units=padded(segments.new_units))


def _beginning(bins: FlagBins, since: datetime | None) -> datetime:
    """Return the hour in which the fault begins."""
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
    flag: FlagAudit,
    bins: FlagBins,
    thresholds: Thresholds,
    since: datetime,
    segments: FlagSegments | None = None,
) -> list[list[Verdict]]:
    """Return the verdicts of each check, one per hour: at `since`, and at the end of every hour after it.

    The checks that block by default; with `segments` those of segments too.
    """
    divided = segments is not None
    checks = [
        check
        for check in CHECKS.values()
        if check.blocks == "by default" or (divided and check.evidence == "segments")
    ]
    first, audits = bins.index(since), []
    for through in range(first, len(bins) + 1):
        end = bins.start + HOUR * through
        parts = None if segments is None else segments.between(bins.start, end)
        seen = bins.between(bins.start, end)
        audits.append(audit_flag(flag, seen, thresholds, checks=checks, segments=parts))
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
