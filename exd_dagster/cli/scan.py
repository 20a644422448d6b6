"""Records -> the counts a telemetry command needs: the bins of one flag, or an overview of all."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.select import select_bins
from exd_dagster.bins.store import BinStore
from exd_dagster.cli.progress import scanning
from exd_dagster.cli.request import Request
from exd_dagster.config import AT_ONCE, FlagAudit
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.records import (
    EARLIEST,
    UNREADABLE_LINE,
    Columns,
    Unreadable,
    from_ms,
    instant_ms,
    literal,
)


@dataclass(frozen=True, slots=True)
class Counted:
    """The bins of one flag, and what a reader of them should know.

    Attributes:
        bins: its hours.
        notes: one sentence each.
    """

    bins: FlagBins
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of one flag in the window.

    Attributes:
        flag: flag key.
        namespace: "" where the log has none.
        environment: "" where the log has none.
        variant: variant key; None for records without one.
        evaluations: records, each id once.
        units: distinct units.
        without_unit: records without a unit.
        first_ms: earliest record, milliseconds since 1970.
        last_ms: latest record.
    """

    flag: str
    namespace: str
    environment: str
    variant: str | None
    evaluations: int
    units: int
    without_unit: int
    first_ms: int
    last_ms: int


def count_flag(request: Request, flag: FlagAudit, *, closed_only: bool = False) -> Counted:
    """Build the bins of one flag in memory, from its start to its end.

    Args:
        request: what to read.
        flag: who is counted.
        closed_only: leave out the hour the newest record lies in.

    Raises:
        RecordsError: when the records cannot be read, or the flag cannot be counted.
    """
    with duckdb.connect() as connection, scanning(connection, f"Counting {flag.key}"):
        store = BinStore(connection)
        report = store.update(
            request.records, [flag], flag.start, flag.end or request.now, timing=AT_ONCE, now=request.now
        )
        build = report.flags[flag.id]
        if build.error:
            raise RecordsError(_as_options(build.error))
        bins = select_bins(connection, flag, closed_only=closed_only)
    apart = [(why, count) for why, count in report.quarantined.items() if count and why != UNREADABLE_LINE]
    notes = [f"set apart, {why}: {count:,} of the log's rows" for why, count in apart]
    return Counted(bins, (*_left_out(report.unreadable), *notes))


def variant_rows(request: Request) -> tuple[list[Row], tuple[str, ...]]:
    """Count evaluations and units by flag, namespace, environment and variant."""
    with _opened(request) as (connection, columns):
        sql = columns.expressions
        measures = (
            f"count(DISTINCT {sql['id']})" if "id" in sql else "count(*)",
            f"count(DISTINCT {sql['unit']}) FILTER ({sql['has_unit']})",
            f"count(*) FILTER (NOT {sql['has_unit']})",
            f"min({sql['us']}) // 1000",
            f"max({sql['us']}) // 1000",
        )
        keys = (sql[name] for name in ("flag", "namespace", "environment", "variant"))
        rows = _grouped(connection, request, columns, keys, measures)
    notes = _left_out(columns.scan.unreadable)
    return [Row(*row) for row in rows], notes


def version_rows(request: Request) -> tuple[dict[int, int], tuple[str, ...]]:
    """Count evaluations by manifest version, the most frequent first."""
    with _opened(request) as (connection, columns):
        version = f"TRY_CAST({columns.expressions['version']} AS BIGINT)"
        rows = _grouped(connection, request, columns, (version,), ("count(*)",))
    counts = sorted(((v, n) for v, n in rows if v is not None), key=lambda row: (-row[1], -row[0]))
    return dict(counts), _left_out(columns.scan.unreadable)


def whereabouts(request: Request) -> str:
    """Say what the log holds where nothing was found: the nearest flag, or when its records are."""
    everything = replace(request.window, start=from_ms(EARLIEST), end=request.now + AT_ONCE.future_tolerance)
    asked = replace(request, window=everything, flag=None, namespace=None, environment=None)
    with _opened(asked) as (connection, columns):
        sql = columns.expressions
        spans = (f"min({sql['us']}) // 1000", f"max({sql['us']}) // 1000")
        rows = _grouped(connection, asked, columns, (sql["flag"],), spans)
    seen = {flag: (from_ms(first), from_ms(last)) for flag, first, last in rows if flag}
    if request.flag is not None and request.flag not in seen:
        return f"The log has no flag '{request.flag}'.{did_you_mean(request.flag, seen)}"
    flags = seen if request.flag is None else {request.flag: seen[request.flag]}
    if not flags:
        return "The log has no readable record."
    first, last = min(first for first, _ in flags.values()), max(last for _, last in flags.values())
    return f"Its records are from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC."


@contextmanager
def _opened(request: Request) -> Iterator[tuple[duckdb.DuckDBPyConnection, Columns]]:
    window = request.window
    with (
        duckdb.connect() as connection,
        request.records.open(connection, window.start, window.end) as scan,
        scanning(connection, "Counting"),
    ):
        yield connection, request.records.column_map.resolve(scan)


def _grouped(
    connection: duckdb.DuckDBPyConnection,
    request: Request,
    columns: Columns,
    keys: Iterable[str],
    measures: Iterable[str],
) -> list[tuple[Any, ...]]:
    """Measure the records of the request by the keys."""
    window = request.window
    tests = [columns.between(instant_ms(window.start), instant_ms(window.end))]
    asked = {"flag": request.flag, "namespace": request.namespace, "environment": request.environment}
    tests += [f"{columns.expressions[name]} = {literal(v)}" for name, v in asked.items() if v is not None]
    query = (
        f"SELECT {', '.join([*keys, *measures])} FROM {columns.scan.relation} "  # noqa: S608 - values are literals
        f"WHERE {' AND '.join(tests)} GROUP BY ALL ORDER BY ALL"
    )
    return connection.execute(query).fetchall()


def _as_options(message: str) -> str:
    """Name the command's options where an error names the arguments behind them."""
    return message.replace("environment=", "--environment").replace("namespace=", "--namespace")


def _left_out(unreadable: Sequence[Unreadable]) -> tuple[str, ...]:
    return tuple(f"left out: {item}" for item in unreadable)
