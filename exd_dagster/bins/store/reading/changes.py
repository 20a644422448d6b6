"""Which hours of a log changed since it was last read, without reading it all again.

Changed files are detected by size and time, or by the tag of an object store. New and changed files are
scanned for their hours; the hours of removed files are stored. For a log that is not made of files, the
number of records in each hour is compared. A foreign engine that counts from the start in every run needs
none of this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from exd_dagster.bins.hours import HOUR_MS, hour_of
from exd_dagster.bins.rows import insert_rows
from exd_dagster.bins.store.reading.plan import Reading
from exd_dagster.bins.store.registry import Registry
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import EARLIEST, from_ms


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a log.

    Attributes:
        since: first hour (since 1970) whose records may have changed; None: no such hour.
        marks: by file that is new or changed, its mark and the first hour of its records (None: unknown).
        gone: files that were removed or changed.
    """

    since: int | None = None
    marks: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


def find_changes(connection: duckdb.DuckDBPyConnection, reading: Reading) -> Changes:
    """Compare a log with what the store recorded of it.

    Args:
        connection: the store.
        reading: the request; hours before its flags' starts are ignored.

    Raises:
        RecordsError: when the log cannot be read.
    """
    source, start = reading.source, min(flag.start for flag in reading.flags)
    marks = source.marks(connection, start, reading.listed_until)
    if marks is None:
        return Changes(_first_other_count(connection, reading, hour_of(start)))
    known = {file: (mark, first) for file, mark, first in Registry(connection).files(source.label)}
    other = [file for file, mark in marks.items() if known.get(file, ("", None))[0] != mark]
    gone = tuple(file for file in known if file not in marks or file in other)
    if not known:  # never read file by file: the flags are counted from their start
        return Changes(marks={file: (mark, None) for file, mark in marks.items()})
    firsts = {file: _first_hour(connection, reading, file) for file in other}
    before = [known[file][1] for file in gone]
    touched = [*before, *firsts.values()]
    since = None if not touched else hour_of(start) if None in before else _least(touched)
    return Changes(since, {file: (marks[file], firsts[file]) for file in other}, gone)


def _least(hours: list[int | None]) -> int | None:
    return min((hour for hour in hours if hour is not None), default=None)


def save_changes(connection: duckdb.DuckDBPyConnection, source: str, changes: Changes) -> None:
    """Write down the files as they are now; inside the caller's transaction."""
    gone = [*changes.gone, *changes.marks]
    if gone:
        query = "DELETE FROM exd_files WHERE source = ? AND list_contains(?, file)"
        connection.execute(query, [source, gone])
    rows = [(source, file, mark, first) for file, (mark, first) in changes.marks.items()]
    insert_rows(connection, "exd_files", rows)


def _first_hour(connection: duckdb.DuckDBPyConnection, reading: Reading, file: str) -> int | None:
    """Return the first hour of a file's records; None for one without records, or that cannot be read."""
    source = reading.source.only([file])
    try:
        with source.open(connection, from_ms(EARLIEST), reading.listed_until) as scan:
            columns = source.column_map.resolve(scan)
            inside = columns.between(EARLIEST, reading.latest)
            query = f"SELECT min({columns.expressions['us']}) FROM {columns.scan.relation} WHERE {inside}"
            ((first,),) = connection.execute(query).fetchall()
    except (RecordsError, duckdb.Error):  # the reading itself will name it
        return None
    return None if first is None else int(first // (HOUR_MS * 1000))


def _first_other_count(connection: duckdb.DuckDBPyConnection, reading: Reading, first: int) -> int | None:
    """Count the records of hours before the lookback and compare; see `first_other_count`."""
    last = min(reading.reread_from, max(_known_counts(connection, reading), default=0))
    if first >= last:
        return None
    source = reading.source
    with source.resolved(connection, from_ms(first * HOUR_MS), from_ms(last * HOUR_MS)) as columns:
        hour = f"{columns.expressions['us']} // {HOUR_MS * 1000}"
        rows = connection.execute(
            f"SELECT {hour} AS hour, count(*) FROM {columns.scan.relation} "
            f"WHERE {columns.between(first * HOUR_MS, last * HOUR_MS)} GROUP BY hour"
        ).fetchall()
    return first_other_count(connection, reading, first, dict(rows))


def first_other_count(
    connection: duckdb.DuckDBPyConnection, reading: Reading, first: int, found: Mapping[int, int]
) -> int | None:
    """Return the first hour before the lookback of which a log has more or fewer records than it had.

    Args:
        connection: the store.
        reading: the request.
        first: first hour counted.
        found: the records of the log by hour.
    """
    known = _known_counts(connection, reading)
    last = min(reading.reread_from, max(known, default=0))
    if first >= last:
        return None
    earliest = max(first, min(known))  # no earlier hours are stored
    others = [h for h in {*found, *known} if earliest <= h < last and found.get(h, 0) != known.get(h, 0)]
    return min([*others, *(h for h in found if h < earliest)], default=None)


def _known_counts(connection: duckdb.DuckDBPyConnection, reading: Reading) -> dict[int, int]:
    hours = Registry(connection).hours(reading.source.label)
    return {hour: count for hour, count in hours.items() if count}
