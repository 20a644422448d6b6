"""Count a flag directly from its log, without the store, for what bins do not contain."""

from collections import Counter as Counts
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import duckdb

from exd_dagster.bins.counting.audience import RANKS, Target
from exd_dagster.bins.counting.count import Counter, seen_variants
from exd_dagster.bins.counting.variant_ranks import place
from exd_dagster.bins.engine.recount import engine_daily_units
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.config import FlagAudit
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import from_ms, instant_ms
from exd_dagster.telemetry.sources.duckdb import Records, as_records
from exd_dagster.telemetry.sources.ibis import IbisRecords

_DAY_US = 86_400_000_000


@contextmanager
def open_counter(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    flag: FlagAudit,
    end: datetime,
) -> Iterator[Counter]:
    """Yield a counter whose `rows` are the records of `flag` up to `end`.

    Raises:
        RecordsError: when the log cannot be read or lacks a column that the flag's filters name.
    """
    target = Target(0, flag, instant_ms(flag.start), instant_ms(min(end, flag.end or end)))
    wanted = sorted(target.extras)
    with records.resolved(connection, from_ms(target.start), end, wanted) as columns:
        for name in sorted(target.extras - set(columns.extras)):
            raise RecordsError(f"{columns.scan.place}: '{name}' is not a column.{columns.scan.hint(name)}")
        counter = Counter(connection, columns, [target])
        try:
            counter.look_briefly()
            ranks = place({}, (variant for _, variant in seen_variants(connection)))
            counter.label([(0, variant, rank) for variant, rank in ranks.items()])
            yield counter
        finally:
            counter.clear()


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
    with open_counter(connection, as_records(source), flag, end) as counter:
        ((rows,),) = connection.execute("SELECT coalesce(sum(n), 0)::BIGINT FROM exd_overview").fetchall()
        found: Counts[tuple[int, str]] = Counts()
        both: Counts[tuple[int, str]] = Counts()
        for units in counter.shares(rows):
            for hour, variant, new, mixed in connection.execute(
                f"SELECT first // {RANKS * HOUR_MS} AS hour, variant, count(*), count(*) FILTER (mixed) "
                f"FROM (SELECT min(us // 1000 * {RANKS} + rank) AS first, {counter.mixed} AS mixed "
                f"FROM ({counter.rows(['us'], units)}) GROUP BY unit) "
                f"JOIN exd_labels ON rank = first % {RANKS} GROUP BY hour, variant"
            ).fetchall():
                found[hour, variant] += new
                both[hour, variant] += mixed
    return {(from_ms(cell[0] * HOUR_MS), cell[1]): (found[cell], both[cell]) for cell in sorted(found)}


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
    records = as_records(source)
    if isinstance(records, IbisRecords):
        found = engine_daily_units(connection, records, flag, end)
    else:
        with open_counter(connection, records, flag, end) as counter:
            rows = counter.rows(["us"])
            found = connection.execute(
                f"SELECT day, variant, units FROM (SELECT us // {_DAY_US} AS day, rank, "
                f"count(DISTINCT unit) AS units FROM ({rows}) GROUP BY ALL) JOIN exd_labels USING (rank)"
            ).fetchall()
    return {(from_ms(day * _DAY_US // 1000), variant): units for day, variant, units in found}
