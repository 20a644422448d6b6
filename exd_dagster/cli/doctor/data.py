"""Diagnose records, flags and store."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from exd_dagster.alerts.messages.words import count
from exd_dagster.bins.engine.log import EngineLog
from exd_dagster.bins.engine.state import EngineState
from exd_dagster.bins.places import Place
from exd_dagster.bins.store.reading.names import MOST_NAMES
from exd_dagster.bins.store.store import BinStore
from exd_dagster.cli.doctor.diagnosis import Diagnosis, fail, ok, warn
from exd_dagster.cli.doctor.splits import diagnose_splits
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.fleet.plan import AuditPlan
from exd_dagster.definitions.store import DuckLakeResource, place_of
from exd_dagster.errors import ExdError, ExtensionError, RecordsError, did_you_mean
from exd_dagster.telemetry.canonical import Columns
from exd_dagster.telemetry.preset import likeliest, read_preset, recognise
from exd_dagster.telemetry.records import FACTS_OFF, from_ms, instant_ms
from exd_dagster.telemetry.sources.duckdb import IbisRecords, Records

STALE = timedelta(hours=48)
"""A log whose newest record is older than this is probably no longer loaded."""
_NAMED = 5
_SCOPE = ("namespace", "environment", "flag")

Seen = Mapping[tuple[str, str, str], datetime]
"""By namespace, environment and key, the newest record (UTC)."""


def diagnose_data(plan: AuditPlan, now: datetime) -> list[Diagnosis]:
    """Diagnose the records, flags and store of one fleet; an error of one hides none of the others."""
    return [*_records_and_flags(plan, now), diagnose_store(plan)]


def _records_and_flags(plan: AuditPlan, now: datetime) -> list[Diagnosis]:
    start = min(flag.start for flag in plan.flags)
    try:
        if isinstance(plan.records, IbisRecords):
            return _in_engine(plan, plan.records, start, now)
        with duckdb.connect() as connection, plan.records.resolved(connection, start, now) as columns:
            connection.execute("SET enable_progress_bar = false")  # it would print to standard output
            seen = _seen(connection, columns, start, now)
    except (ExdError, duckdb.Error) as error:
        lines = str(error).splitlines()
        said = " ".join(line.strip(" -") for line in lines)
        if isinstance(error, ExtensionError):
            return [fail("records", said, "install it where the runs are executed")]
        fix = "correct records= so that it names your log and its columns"
        return [fail("records", said, _other_export(plan.records, start, now) or fix)]
    running = [flag for flag in plan.flags if flag.end is None or flag.end > now]
    found = [diagnose_records(plan.records, columns, seen, now if running else None)]
    return [*found, *diagnose_flags(plan.flags, seen), *_shown_splits(plan, seen, now)]


def _other_export(records: Records, start: datetime, now: datetime) -> str:
    """Return which preset would read the log of records that cannot be read; "" where none is recognised."""
    try:
        with duckdb.connect() as connection:
            sample = records.sample(connection, start, now)
    except (ExdError, duckdb.Error):
        return ""
    matches = likeliest(recognise([row for rows in sample.values() for row in rows]))
    fitting = [match for match in matches if match.preset != records.preset]
    return "; or ".join(f"it {match}: give records= preset='{match.preset}'" for match in fitting)


def _in_engine(plan: AuditPlan, records: IbisRecords, start: datetime, now: datetime) -> list[Diagnosis]:
    """Query the newest record and the flags of an engine, then check both as for files."""
    with duckdb.connect() as connection:
        log = EngineLog(connection, records, records.expression(), 0)
        hours = log.hours(instant_ms(start), instant_ms(now))
        held = log.held(_SCOPE, instant_ms(start), instant_ms(now), most=MOST_NAMES)
    columns = f"{records.place}: columns {', '.join(log.table.columns)}"
    if not hours:
        fix = "check that the loader writes there, and that the flags' start is not in the future"
        return [fail("records", f"{columns}; no record since the first flag's start", fix)]
    newest = from_ms(max(at for at, _ in hours.values()))
    seen: Seen = {scope: newest for scope, _ in held}  # type: ignore[misc]
    said = f"{columns}; newest record {newest:%Y-%m-%d %H:%M} UTC, {count(len(seen), 'flag')}"
    records_to_scan = sum(number for _, number in hours.values())
    whole = f"the {records_to_scan:,} records since {start:%Y-%m-%d}"
    if records.state_schema is None:
        said += f"; every run scans {whole}, in six or more queries; give state_schema= to read what is new"
    else:
        said += (
            f"; the first run scans {whole}, later ones their times once and the records of new and changed "
            f"hours; first exposures are kept in {records.state_schema}"
        )
    return [
        ok("records", said),
        *_kept(records),
        *diagnose_flags(plan.flags, seen),
        *_shown_splits(plan, seen, now),
    ]


def _kept(records: IbisRecords) -> list[Diagnosis]:
    """Fail where the engine cannot keep first exposures, as far as can be seen without making a table."""
    if records.state_schema is None:
        return []
    try:
        EngineState.list_tables(records)
    except RecordsError as error:
        return [
            fail("records", str(error), "make the schema and let the role create tables, or leave it out")
        ]
    return []


def _shown_splits(plan: AuditPlan, seen: Seen, now: datetime) -> list[Diagnosis]:
    """Compare the splits of flags that the log has in one scope with the log."""
    whole = [flag for flag in plan.flags if len(_places(flag, seen)) == 1]
    if not whole:
        return []
    return diagnose_splits(replace(plan, flags=tuple(whole)), max(seen.values()), now)


def _seen(connection: duckdb.DuckDBPyConnection, columns: Columns, start: datetime, now: datetime) -> Seen:
    sql = columns.expressions
    keys = ", ".join(f"coalesce({sql[name]}, '')" for name in _SCOPE)
    rows = connection.execute(
        f"SELECT {keys}, max({sql['us']}) // 1000 FROM {columns.scan.relation} "
        f"WHERE {columns.between(instant_ms(start), instant_ms(now))} GROUP BY 1, 2, 3"
    ).fetchall()
    return {(namespace, environment, key): from_ms(last) for namespace, environment, key, last in rows}


def diagnose_records(records: Records, columns: Columns, seen: Seen, now: datetime | None) -> Diagnosis:
    """Diagnose a scanned log.

    Args:
        records: the log as it was declared.
        columns: its columns.
        seen: the flags in it.
        now: the clock (UTC), None where every flag has ended and no new record is expected.
    """
    scan = columns.scan
    if not seen:
        fix = "check that the loader writes there, and that the flags' start is not in the future"
        return fail("records", f"{scan.place} has no record since the first flag's start", fix)
    newest = max(seen.values())
    said = f"{scan.place}: newest record {newest:%Y-%m-%d %H:%M} UTC, {count(len(seen), 'flag')}"
    if scan.unreadable:
        first = str(scan.unreadable[0]).removeprefix(f"{scan.place}: ")
        return warn("records", f"{said}; {first}", "repair or remove it; the rest is counted")
    if now is not None and now - newest > STALE:
        return warn("records", f"{said}, and nothing since", "check the job that loads the records")
    off = [FACTS_OFF[name] for name in columns.absent if name in ("evaluation_id", "evaluation_reason")]
    if records.preset is not None:
        said += f", read as {read_preset(records.preset).title} (preset '{records.preset}')"
    absent = f"; without {', '.join(columns.absent)}" if columns.absent else ""
    return ok("records", said + absent + (f" ({'; '.join(off)})" if off else ""))


def diagnose_flags(flags: Sequence[FlagAudit], seen: Seen) -> list[Diagnosis]:
    """Report flags without records, with several environments, or without a declared split."""
    found = []
    for flag in flags:
        there = _places(flag, seen)
        if not there:
            found.append(fail("flags", f"'{flag.id}' has no record", _why_absent(flag, seen)))
        elif len(there) > 1:
            scopes = ", ".join("/".join(part for part in scope[:2] if part) for scope in sorted(there))
            fix = "name namespace= and environment= of the one to audit"
            found.append(fail("flags", f"'{flag.id}' has records in {scopes}", fix))
    return [*found, *_splits(flags)] or [
        ok("flags", f"{count(len(flags), 'flag')}, all in the records, all with a split")
    ]


def _places(flag: FlagAudit, seen: Seen) -> list[tuple[str, str, str]]:
    """Return the scopes of the log that match a flag."""
    return [
        scope
        for scope in seen
        if scope[2] == flag.key
        and flag.namespace in (None, scope[0])
        and flag.environment in (None, scope[1])
    ]


def _named(what: str, name: str) -> str:
    return f"{what} '{name}'" if name else f"no {what}"


def _why_absent(flag: FlagAudit, seen: Seen) -> str:
    """Return the fix for a flag without records: correct its key, or else its scope."""
    own = sorted(scope for scope in seen if scope[2] == flag.key)[:_NAMED]
    if not own:
        near = did_you_mean(flag.key, {key for _, _, key in seen})
        return f"write the key as the records do, or end the flag.{near}"
    held = "; ".join(f"{_named('namespace', n)}, {_named('environment', e)}" for n, e, _ in own)
    return f"correct namespace= and environment=; the log has it with {held}"


def _splits(flags: Sequence[FlagAudit]) -> list[Diagnosis]:
    bare = [str(flag.id) for flag in flags if not flag.schedule]
    if not bare:
        return []
    named = ", ".join(bare[:_NAMED]) + (", ..." if len(bare) > _NAMED else "")
    said = f"{len(bare)} of {len(flags)} declare no split, their SRM checks are skipped: {named}"
    return [
        warn(
            "flags", said, "declare split={variant: share}, or read it with flags_from or flags_from_manifest"
        )
    ]


def diagnose_store(plan: AuditPlan) -> Diagnosis:
    """Say whether the store can be written and has a format this version reads."""
    path = plan.store_path
    if path in ("", ":memory:"):
        said = "the store's path is empty" if not path else "bins in memory are lost after each run"
        return fail("store", said, 'give store=DuckDBResource(database="bins.duckdb")')
    if isinstance(plan.store, DuckLakeResource):
        return _opened(path, place_of(plan.store))
    if ":" in path.partition("/")[0]:
        return ok("store", f"{path} is not a local file; not checked")
    file = Path(path)
    if not file.exists():
        if file.parent.is_dir() and os.access(file.parent, os.W_OK):
            return ok("store", f"{path} will be made by the first run")
        return fail(
            "store",
            f"{path} cannot be made",
            f"create the folder {file.parent.resolve()} and let Dagster write to it",
        )
    if not os.access(file, os.W_OK):
        return fail("store", f"{path} cannot be written", "let the user that runs Dagster write to it")
    return _opened(path, place_of(plan.store))


def _opened(path: str, place: Place) -> Diagnosis:
    try:
        with closing(place.connect()) as connection:
            BinStore(connection)
            return ok("store", f"{path} can be written")
    except ExdError as error:
        said, _, fix = str(error).partition("; ")
        if "in use" in said:
            return warn("store", said, "none, while a run or another reader has it open")
        return fail("store", said, fix or "give another path")
