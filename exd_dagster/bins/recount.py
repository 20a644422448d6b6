"""A flag counted straight from its log, beside the store: for what bins do not hold."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import duckdb

from exd_dagster.bins.audience import HOUR_MS, RANKS, Target
from exd_dagster.bins.count import Counter
from exd_dagster.bins.ranks import place
from exd_dagster.bins.select import OTHER
from exd_dagster.config import FlagAudit
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import from_ms, instant_ms
from exd_dagster.telemetry.sources import as_records

SEGMENTS_PER_DIMENSION = 50
"""Values of one dimension kept by name; rarer ones are summed as `OTHER`."""
NONE = "(none)"

_DAY_US = 86_400_000_000


@contextmanager
def open_counter(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    flag: FlagAudit,
    start: datetime,
    end: datetime,
    extras: Sequence[str] = (),
) -> Iterator[Counter]:
    """Yield a counter whose `rows` are the records of `flag` in `[start, end)`.

    It keeps those of the extra columns that the log has.

    Raises:
        RecordsError: when the log cannot be read or lacks a column that the flag's filters name.
    """
    records = as_records(source)
    target = Target(0, flag, instant_ms(max(start, flag.start)), instant_ms(min(end, flag.end or end)))
    wanted = sorted({*target.extras, *extras})
    with records.open(connection, from_ms(target.start), end, wanted) as scan:
        columns = records.column_map.resolve(scan, wanted)
        for name in sorted(target.extras - set(columns.extras)):
            raise RecordsError(f"{scan.place}: '{name}' is not a column.{scan.hint(name)}")
        kept = [name for name in dict.fromkeys(extras) if name in columns.extras]
        counter = Counter(connection, columns, [target], kept=kept)
        try:
            counter.look_briefly()
            ranks = place({}, (variant for _, variant in counter.variants()))
            counter.label([(0, variant, rank) for variant, rank in ranks.items()])
            yield counter
        finally:
            counter.clear()


def segment_counts(
    connection: duckdb.DuckDBPyConnection,
    source: object,
    flag: FlagAudit,
    dimensions: Sequence[str],
    *,
    end: datetime,
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the units of a flag's current iteration by the segment they were first exposed in: one scan.

    Args:
        connection: any open connection; what is created in it is temporary.
        source: the log.
        flag: the flag, normally one whose check failed.
        dimensions: columns to segment by; those the log does not have are left out.
        end: first instant not counted (UTC), normally `audited_through` of the bins that failed.

    Returns:
        Units by dimension, value (`NONE` where it is empty) and variant; each dimension counts the same
        units.

    Raises:
        RecordsError: when the log cannot be read.
    """
    with open_counter(connection, source, flag, flag.iterations[-1], end, dimensions) as counter:
        values = "".join(
            f", d{i} := coalesce(CAST(kept_{i} AS VARCHAR), '')" for i in range(len(counter.kept))
        )
        first = f"min(struct_pack(exposure := us // 1000 * {RANKS} + rank{values}))"
        rows = counter.rows(["us"], counter.columns.expressions["has_unit"])
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE exd_firsts AS SELECT first.*, first.exposure % {RANKS} AS rank "
            f"FROM (SELECT {first} AS first FROM ({rows}) GROUP BY unit)"
        )
        try:
            return {name: _by_value(connection, f"d{i}") for i, name in enumerate(counter.kept)}
        finally:
            connection.execute("DROP TABLE exd_firsts")


def first_exposures(
    connection: duckdb.DuckDBPyConnection, source: object, flag: FlagAudit, *, end: datetime
) -> dict[tuple[datetime, str], tuple[int, int]]:
    """Count first exposures alone, in less time and memory than all measures need.

    Args:
        connection: any open connection.
        source: the log.
        flag: the flag; its phases do not matter here.
        end: first instant not counted (UTC).

    Returns:
        By hour (UTC) and variant: units first exposed there, and those of them seen in another variant too.

    Raises:
        RecordsError: when the log cannot be read.
    """
    with open_counter(connection, source, flag, flag.start, end) as counter:
        rows = counter.rows(["us"], counter.columns.expressions["has_unit"])
        found = connection.execute(
            f"SELECT first // {RANKS * HOUR_MS} AS hour, variant, count(*), count(*) FILTER (mixed) FROM ("
            f"SELECT min(us // 1000 * {RANKS} + rank) AS first, min(rank) <> max(rank) AS mixed "
            f"FROM ({rows}) GROUP BY unit) "
            f"JOIN exd_labels ON rank = first % {RANKS} GROUP BY hour, variant ORDER BY hour, variant"
        ).fetchall()
    return {(from_ms(hour * HOUR_MS), variant): (new, mixed) for hour, variant, new, mixed in found}


def daily_units(
    connection: duckdb.DuckDBPyConnection, source: object, flag: FlagAudit, *, end: datetime
) -> dict[tuple[datetime, str], int]:
    """Count the distinct units active on each day (UTC), by start of the day and variant.

    Args:
        connection: any open connection.
        source: the log.
        flag: the flag.
        end: first instant not counted (UTC).

    Raises:
        RecordsError: when the log cannot be read.
    """
    with open_counter(connection, source, flag, flag.start, end) as counter:
        rows = counter.rows(["us"], counter.columns.expressions["has_unit"])
        found = connection.execute(
            f"SELECT day, variant, units FROM (SELECT us // {_DAY_US} AS day, rank, "
            f"count(DISTINCT unit) AS units FROM ({rows}) GROUP BY ALL) JOIN exd_labels USING (rank)"
        ).fetchall()
    return {(from_ms(day * _DAY_US // 1000), variant): units for day, variant, units in found}


def _by_value(connection: duckdb.DuckDBPyConnection, column: str) -> dict[str, dict[str, int]]:
    rows = connection.execute(
        f"SELECT {column}, variant, count(*) FROM exd_firsts JOIN exd_labels USING (rank) GROUP BY ALL "
        f"ORDER BY ALL"
    ).fetchall()
    totals: dict[str, int] = {}
    for value, _, units in rows:
        totals[value] = totals.get(value, 0) + units
    named = set(sorted(totals, key=lambda value: (-totals[value], value))[:SEGMENTS_PER_DIMENSION])
    counts: dict[str, dict[str, int]] = {}
    for value, variant, units in rows:
        segment = counts.setdefault((value or NONE) if value in named else OTHER, {})
        segment[variant] = segment.get(variant, 0) + units
    return counts
