"""The bin store: what was counted, in one DuckDB database that is brought up to date window by window."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path

import duckdb

from exd_dagster.bins.engine.count import EngineLog
from exd_dagster.bins.hours import ceil_hour, hour_of
from exd_dagster.bins.model import FlagBins, FlagSegments, SharedUnits
from exd_dagster.bins.report import BuildReport
from exd_dagster.bins.store.changes import Changes, find_changes, save_changes
from exd_dagster.bins.store.log import DuckLog, OpenLog
from exd_dagster.bins.store.reading import Reading, extra_columns, first_instant, plan_targets
from exd_dagster.bins.store.registry import Registry
from exd_dagster.bins.store.schema import ensure_schema
from exd_dagster.bins.store.segments import select_segments
from exd_dagster.bins.store.select import Prefetch
from exd_dagster.bins.store.shared import select_shared
from exd_dagster.bins.store.update import ExposuresLostError, Update
from exd_dagster.config import FlagAudit, FlagId, Timing
from exd_dagster.errors import RecordsError, StoreError
from exd_dagster.telemetry.records import from_ms, instant_ms
from exd_dagster.telemetry.sources.base import holds_values, reason_of
from exd_dagster.telemetry.sources.duckdb import IbisRecords, as_records
from exd_dagster.telemetry.unit_hash import hash_function


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
            self._seed = ensure_schema(connection)
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
        with _store_errors(), _transaction(self._connection):
            return Registry(self._connection).drop_ended_units(instant_ms(before))

    def watermark(self, source_name: str) -> datetime | None:
        """Return the newest valid record (UTC) of a log, None when none was read."""
        with _store_errors():
            source = Registry(self._connection).source(source_name)
        return from_ms(source.watermark) if source else None

    def _run(self, reading: Reading) -> BuildReport:
        through: Collection[int] = ()
        changes = Changes()
        if reading.flags and not isinstance(reading.source, IbisRecords):
            with _store_errors():
                changes = find_changes(self._connection, reading)
            reading = replace(reading, since=changes.since)
        while True:
            with self._open(reading, through) as opened:
                try:
                    with _store_errors(), _transaction(self._connection):
                        report = Update(self._connection, reading, through).run(opened)
                        save_changes(self._connection, reading.source.label, changes)
                        if reading.timing.retention is not None:
                            before = instant_ms(reading.now - reading.timing.retention)
                            Registry(self._connection).drop_ended_units(before)
                        return report
                except ExposuresLostError as lost:
                    through = {*through, *lost.flags}
                except RecordsError:
                    rest = reading.source.without_damaged(self._connection, opened.unread_files)
                    if rest is None:
                        raise
                    reading = replace(reading, source=rest)

    @contextmanager
    def _open(self, reading: Reading, through: Collection[int]) -> Iterator[OpenLog]:
        source = reading.source
        if isinstance(source, IbisRecords):
            yield EngineLog(self._connection, source, source.expression(), reading.lateness_ms)
            return
        targets, _ = plan_targets(reading, Registry(self._connection).flags(), through)
        start, extras = from_ms(first_instant(reading, targets)), extra_columns(targets)
        opened = source.resolved(self._connection, start, reading.listed_until, extras, self._hash_function)
        with opened as columns:
            if columns.scan.table:
                columns = columns.computed(self._connection)  # noqa: PLW2901
            yield DuckLog(self._connection, columns, reading.lateness_ms, self._seed)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing. The order of rows means nothing here, and keeping it would cost memory."""
    ((order, bar),) = connection.execute(
        "SELECT current_setting('preserve_insertion_order'), current_setting('enable_progress_bar')"
    ).fetchall()
    connection.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
    connection.execute("BEGIN")
    try:
        connection.execute("UPDATE exd_meta SET updates = updates + 1")
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # the failure itself may have ended the transaction
            connection.execute("ROLLBACK")
        raise
    finally:
        with suppress(duckdb.Error):
            connection.execute(f"SET preserve_insertion_order = {order}; SET enable_progress_bar = {bar}")


@contextmanager
def open_store(path: str | PathLike[str]) -> Iterator[BinStore]:
    """Open the bin store in a DuckDB file and close it on exit.

    Inside Dagster use `DuckDBResource` and `BinStore(connection)` instead, which waits for its turn.

    Raises:
        StoreError: when the file is locked by another process or is no DuckDB database.
    """
    file = fspath(path)
    refuse_sqlite(file)
    try:
        connection = duckdb.connect(file)
    except duckdb.Error as error:
        raise StoreError(cannot_open(file, error)) from error
    try:
        yield BinStore(connection)
    finally:
        connection.close()


def refuse_sqlite(file: str) -> None:
    """Refuse a database of SQLite before DuckDB fetches an extension over the network to open it.

    Raises:
        StoreError: when the file is one.
    """
    with suppress(OSError, ValueError), Path(file).open("rb") as opened:
        if opened.read(16) == b"SQLite format 3\0":
            raise StoreError(
                f"{file} is a database of SQLite; the bin store is a DuckDB file, give another path"
            )


def is_locked(error: Exception) -> bool:
    """Return whether the store is locked by another process, so that waiting can help."""
    reason = str(error).lower()
    return any(sign in reason for sign in ("set lock on file", "conflicting lock", "used by another process"))


def cannot_open(file: str, error: Exception) -> str:
    """Return the error for a store that cannot be opened, with the fix."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    cannot = f"{file} cannot be opened: {reason}"
    low, path = reason.replace(file, "").lower(), Path(file)
    if is_locked(error):
        return f"{file} is in use by another process ({reason}); wait for it, or stop it, and run again"
    if "version number" in low or "newer version" in low or "storage version" in low:
        return (
            f"{file} was written by another version of DuckDB than the {duckdb.__version__} installed here "
            f"({reason}); install the version that wrote it, or give a new store and materialize again"
        )
    with suppress(OSError, ValueError):
        if path.is_dir():
            return f"{file} is a folder; give the path of a file, for example {path / 'exd.duckdb'}"
        if path.parent.exists() and not path.parent.is_dir():
            return f"{file} cannot be opened: {path.parent} is a file, not a folder; give another path"
        if not file.startswith((":", "md:")) and not path.parent.is_dir():
            return f"{file} cannot be opened: its folder does not exist; create {path.parent}"
    if "does not exist" in low:
        return f"{file} does not exist; correct the path, or materialize the bins first"
    if "permission" in low or "read-only" in low or "read only" in low:
        return f"{cannot}; let this user write the file and its folder, or give another path"
    if "corrupt" in low or "checksum" in low:
        return f"{cannot}; restore a copy of it, or give a new store and materialize the bins again"
    return f"{file} cannot be opened as a DuckDB database: {reason}; give another path"


_WRITING = ("write", "space left", "too large", "fsync", "truncate", "read-only", "read only", '.wal"')
"""Words that identify a file system error of the store, as opposed to the log."""


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
        text = str(error).lower().replace("write-write conflict", "conflict")
        if any(word in text for word in _WRITING):
            raise StoreError(
                f"the bin store cannot be written: {error}\nNothing was changed; free disk space or correct "
                "the permissions, and run again"
            ) from error
        if isinstance(error, duckdb.TransactionException):
            raise StoreError(
                f"another run wrote to the bin store at the same time: {error}\nNothing was changed; run "
                "again, and put the audit assets in one pool with a limit of 1 so that runs take turns"
            ) from error
        if holds_values(error):
            raise RecordsError(_UNCOUNTED.format(reason_of(error))) from None
        raise RecordsError(_UNCOUNTED.format(error)) from error
