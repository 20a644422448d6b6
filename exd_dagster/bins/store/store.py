"""The bin store: what was counted, in one database that is brought up to date window by window."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from os import PathLike

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.engine.log import EngineLog
from exd_dagster.bins.engine.state import EngineState
from exd_dagster.bins.engine.survey import Survey
from exd_dagster.bins.hours import ceil_hour, hour_of
from exd_dagster.bins.model import FlagBins, FlagSegments, Segment, SharedUnits
from exd_dagster.bins.places import place_at
from exd_dagster.bins.places.lake import tidy
from exd_dagster.bins.places.turns import StoreBusyError, current, in_turn, is_conflict, transaction
from exd_dagster.bins.report import BuildReport
from exd_dagster.bins.store.reading.changes import Changes, find_changes, first_other_count, save_changes
from exd_dagster.bins.store.reading.log import DuckLog, OpenLog
from exd_dagster.bins.store.reading.plan import Reading, extra_columns, first_instant, plan_targets
from exd_dagster.bins.store.registry import Registry
from exd_dagster.bins.store.schema import ensure_schema
from exd_dagster.bins.store.segments import select_segments
from exd_dagster.bins.store.select import Prefetch
from exd_dagster.bins.store.shared import select_shared
from exd_dagster.bins.store.update import ExposuresLostError, Update
from exd_dagster.bins.store.within import Units, select_within
from exd_dagster.config import FlagAudit, FlagId, Timing
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.config.stages import stage_of
from exd_dagster.errors import RecordsError, StoreError
from exd_dagster.telemetry.records import from_ms, instant_ms
from exd_dagster.telemetry.sources.base import holds_values, reason_of
from exd_dagster.telemetry.sources.duckdb import IbisRecords, as_records
from exd_dagster.telemetry.unit_hash import hash_function

_log = logging.getLogger("exd_dagster")


class BinStore:
    """The bins of many flags in the exd_* tables of one open DuckDB connection.

    Args:
        connection: an open, writable connection; the caller closes it.

    Raises:
        StoreError: when the store was written by a newer version or another hash.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._prefetch = Prefetch(connection)
        with _store_errors():
            self._seed = in_turn(connection, "schema", partial(ensure_schema, connection))
            self._hash_function = hash_function(connection)

    def update(
        self,
        source: object,
        flags: Sequence[FlagAudit],
        start: datetime,
        end: datetime,
        *,
        timing: Timing | None = None,
        now: datetime,
    ) -> BuildReport:
        """Update the bins of these flags from the records of `[start, end)`.

        Reads the log once for all flags, from `lookback` before `start`, and for a flag not counted so far
        (or counted otherwise) from that flag's own start. The update is atomic and idempotent:
        any order and division of updates gives the same bins.

        Args:
            source: a records object, DataFrame, path or glob.
            flags: the flags to count.
            start: start of the window (UTC); rounded down to the hour.
            end: end of the window (UTC), exclusive; rounded up to the hour.
            timing: lateness, lookback and tolerance of clocks ahead.
            now: the clock (UTC).

        Returns:
            The report. It has an error for each flag that could not be counted; the others are counted.

        Raises:
            RecordsError: when the log cannot be read.
            StoreError: when the store cannot be written; it is unchanged.
        """
        reading = Reading(
            as_records(source), tuple(flags), hour_of(start), ceil_hour(end), timing or Timing(), now
        )
        return self._run(reading)

    def rebuild(
        self, source: object, flags: Sequence[FlagAudit], *, timing: Timing | None = None, now: datetime
    ) -> BuildReport:
        """Count these flags again from their start up to `now`; see `update`."""
        starts = [hour_of(flag.start) for flag in flags]
        first = min(starts, default=hour_of(now))
        last = max(ceil_hour(now), first)
        return self._run(
            Reading(as_records(source), tuple(flags), first, last, timing or Timing(), now, anew=True)
        )

    def read(self, flag: FlagAudit) -> FlagBins:
        """Return the closed hourly bins of a flag from its start: a complete calendar, empty hours included.

        Raises:
            StoreError: when the stored counts are of another definition of `flag`.
        """
        with _store_errors():
            return self._prefetch.read(flag)

    def read_many(self, flags: Sequence[FlagAudit]) -> Iterator[FlagBins]:
        """Return the bins of each flag, in order, for little more than those of one; see `read`.

        A fleet is to be read so first: then `read` hands each flag's bins out without reading them again.
        """
        with _store_errors():
            yield from self._prefetch.read_many(flags)

    def row_counts(self) -> dict[FlagId, int]:
        """Return how many rows the view `flag_bins` has of each flag."""
        with _store_errors():
            rows = self._connection.execute(
                "SELECT namespace, environment, flag_key, count(*) FROM flag_bins GROUP BY ALL"
            ).fetchall()
        return {FlagId(namespace, environment, key): count for namespace, environment, key, count in rows}

    def segments(self, flag: FlagAudit, bins: FlagBins) -> FlagSegments:
        """Return the segments of a flag over the hours of its bins; see `select_segments`."""
        with _store_errors():
            return select_segments(self._connection, flag, bins)

    def within(
        self,
        source: object,
        flag: FlagAudit,
        segment: Segment,
        start: datetime,
        end: datetime,
        *,
        timing: Timing | None = None,
        now: datetime,
    ) -> Units:
        """Return the units of one segment first exposed in `[start, end)` (UTC) by each other dimension.

        The records of these hours are read again, on an engine those since the flag began. See
        `select_within`.

        Raises:
            RecordsError: when the log cannot be read, or no longer has the column of the segment.
        """
        known = Registry(self._connection).flags().get(flag.id)
        if known is None:
            return {}
        records = as_records(source)
        first = flag.start if isinstance(records, IbisRecords) else start
        reading = Reading(records, (flag,), hour_of(first), ceil_hour(end), timing or Timing(), now)
        target = Target(known.number, flag, instant_ms(first), instant_ms(end))
        with _store_errors(), self._open(reading, [target]) as opened:
            return select_within(self._connection, opened, target, segment, start)

    def shared_units(self, flags: Sequence[FlagAudit]) -> SharedUnits:
        """Return the first exposures of units that several flags share; see `select_shared`."""
        with _store_errors():
            return select_shared(self._connection, flags)

    def drop_ended_units(self, *, before: datetime) -> tuple[FlagId, ...]:
        """Drop the units of flags that ended before an instant (UTC) and were read to their end.

        Their bins remain. `Timing(retention=...)` does this with every update. If such a flag is counted
        again, it is counted from its start.

        Returns:
            The flags whose units were dropped.
        """

        def drop() -> tuple[FlagId, ...]:
            with _updating(self._connection):
                return Registry(self._connection).drop_ended_units(instant_ms(before))

        with _store_errors():
            return in_turn(self._connection, "bins", drop)

    def watermark(self, source_name: str) -> datetime | None:
        """Return the newest valid record (UTC) of a log, None when none was read."""
        with _store_errors():
            source = Registry(self._connection).source(source_name)
        return from_ms(source.watermark) if source else None

    def _run(self, reading: Reading) -> BuildReport:
        def attempt(flags: Sequence[FlagAudit]) -> BuildReport:
            report = self._attempt(replace(reading, flags=tuple(flags)))
            self._tidy()
            return report

        engine = isinstance(reading.source, IbisRecords)
        rounds = _by_stage(reading.flags) if engine and reading.flags else [reading.flags]
        reports = [in_turn(self._connection, "bins", partial(attempt, flags)) for flags in rounds]
        return replace(reports[0], flags={flag: b for report in reports for flag, b in report.flags.items()})

    def _attempt(self, reading: Reading) -> BuildReport:
        through: Collection[int] = ()
        changes = Changes()
        surveys: list[Survey] = []
        if reading.flags:
            with _store_errors():
                reading, changes = self._noticed(reading, surveys)
        while True:
            targets, _ = plan_targets(reading, Registry(self._connection).flags(), through)
            with self._open(reading, targets, surveys) as opened:
                try:
                    with _store_errors(), _updating(self._connection):
                        report = Update(self._connection, reading, through).run(opened)
                        save_changes(self._connection, reading.source.label, changes)
                        if reading.timing.retention is not None:
                            before = instant_ms(reading.now - reading.timing.retention)
                            Registry(self._connection).drop_ended_units(before)
                    opened.tidy()
                    return report
                except ExposuresLostError as lost:
                    through = {*through, *lost.flags}
                except RecordsError:
                    rest = reading.source.without_damaged(self._connection, opened.unread_files)
                    if rest is None:
                        raise
                    reading = replace(reading, source=rest)

    def _noticed(self, reading: Reading, surveys: list[Survey]) -> tuple[Reading, Changes]:
        """Add to the reading what changed in the log; an engine is asked once, and the answer kept."""
        source = reading.source
        if not isinstance(source, IbisRecords):
            changes = find_changes(self._connection, reading)
            return replace(reading, since=changes.since), changes
        log = self._engine_log(source, reading, surveys)
        if log.state is None:
            return reading, Changes()
        reading = replace(reading, stated=frozenset(log.state.scopes))
        start = min(flag.start for flag in reading.flags)
        known = Registry(self._connection).flags()
        stated = any(flag.id in known and known[flag.id].number in log.state.scopes for flag in reading.flags)
        columns = {
            name for flag in reading.flags for name in (*flag.include, *flag.exclude, *dimensions_of(flag))
        }
        extras = sorted(columns - {*log.missing(columns)})
        first = reading.fingerprinted_from(known=stated)
        survey = log.survey(instant_ms(start), reading.latest, first, extras, known=stated)
        counts = {hour: count for hour, (_, count) in survey.hours.items()}
        since = first_other_count(self._connection, reading, hour_of(start), counts)
        return replace(reading, since=since), Changes()

    def _engine_log(self, source: IbisRecords, reading: Reading, surveys: list[Survey] | None) -> EngineLog:
        """Return the log, with its state where it is updated: where `surveys` are taken."""
        state = None
        if source.state_schema is not None and reading.flags and surveys is not None:
            stage = stage_of(reading.flags[0])
            state = EngineState.find(self._connection, source, stage, self._seed)
        log = EngineLog(self._connection, source, source.expression(), reading.lateness_ms, state)
        return replace(log, seed=self._seed if state else None, surveys=[] if surveys is None else surveys)

    def _tidy(self) -> None:
        """Tidy a lake; what was written stays whether that works or not."""
        database = current(self._connection)
        if database.kind != "ducklake":
            return
        try:
            tidy(self._connection, database.name)
        except duckdb.Error as error:
            _log.warning("the lake could not be tidied, which the next run tries again: %s", error)

    @contextmanager
    def _open(
        self, reading: Reading, targets: Sequence[Target], surveys: list[Survey] | None = None
    ) -> Iterator[OpenLog]:
        source = reading.source
        if isinstance(source, IbisRecords):
            yield self._engine_log(source, reading, surveys)
            return
        start, extras = from_ms(first_instant(reading, targets)), extra_columns(targets)
        opened = source.resolved(self._connection, start, reading.listed_until, extras, self._hash_function)
        with opened as columns:
            if columns.scan.table:
                columns = columns.computed(self._connection)  # noqa: PLW2901
            yield DuckLog(self._connection, columns, reading.lateness_ms, self._seed)


@contextmanager
def _updating(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing. The order of rows means nothing here, and keeping it would cost memory."""
    ((order, bar),) = connection.execute(
        "SELECT current_setting('preserve_insertion_order'), current_setting('enable_progress_bar')"
    ).fetchall()
    connection.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
    try:
        with transaction(connection):
            connection.execute("UPDATE exd_meta SET updates = updates + 1")
            yield
    finally:
        with suppress(duckdb.Error):
            connection.execute(f"SET preserve_insertion_order = {order}; SET enable_progress_bar = {bar}")


def _by_stage(flags: Sequence[FlagAudit]) -> list[Sequence[FlagAudit]]:
    """Divide flags so that no two count the same records: counts of an engine are known by key and scope."""
    rounds: dict[str, list[FlagAudit]] = {}
    for flag in flags:
        rounds.setdefault(stage_of(flag), []).append(flag)
    return [*rounds.values()]


@contextmanager
def open_store(address: str | PathLike[str]) -> Iterator[BinStore]:
    """Open the bin store in a DuckDB file, a lake (`ducklake:<catalog>`) or MotherDuck, and close it on exit.

    Inside Dagster use the resource instead, which waits for its turn on a file.

    Raises:
        StoreError: when it cannot be opened, for example because another process has the file open.
    """
    with closing(place_at(address).connect()) as connection:
        yield BinStore(connection)


_WRITING = ("write", "space left", "too large", "fsync", "truncate", "read-only", "read only", '.wal"')
"""Words that identify a file system error of the store, as opposed to the log."""


_BUSY = (
    "another run wrote to the bin store at the same time: {}\nNothing was changed; run again, and put the "
    "audit assets in one pool with a limit of 1 so that runs take turns"
)
_UNCOUNTED = "the records cannot be counted: {}\nNothing was changed"


@contextmanager
def _store_errors() -> Iterator[None]:
    """Convert DuckDB's errors of the store, and state that nothing was changed."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StoreError(
            f"not enough memory or disk: {error}\nNothing was changed; free some and run again"
        ) from error
    except duckdb.Error as error:
        busy = is_conflict(error)
        if not busy and any(word in str(error).lower() for word in _WRITING):
            raise StoreError(
                f"the bin store cannot be written: {error}\nNothing was changed; free disk space or correct "
                "the permissions, and run again"
            ) from error
        if busy or isinstance(error, duckdb.TransactionException):
            raise StoreBusyError(_BUSY.format(error)) from error
        if holds_values(error):
            raise RecordsError(_UNCOUNTED.format(reason_of(error))) from None
        raise RecordsError(_UNCOUNTED.format(error)) from error
