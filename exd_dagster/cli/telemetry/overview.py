"""The contents of a log, by flag and variant or by manifest version, in DuckDB or in an engine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from exd_dagster.bins.engine.log import EngineLog
from exd_dagster.cli.progress import scanning
from exd_dagster.cli.telemetry.request import Request
from exd_dagster.cli.telemetry.scan import left_out
from exd_dagster.config import AT_ONCE
from exd_dagster.errors import did_you_mean
from exd_dagster.telemetry.canonical import Columns
from exd_dagster.telemetry.records import EARLIEST, from_ms, instant_ms, literal
from exd_dagster.telemetry.sources.duckdb import IbisRecords

_KEYS = ("flag", "namespace", "environment", "variant")


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


def variant_rows(request: Request) -> tuple[list[Row], tuple[str, ...]]:
    """Count evaluations and units by flag, namespace, environment and variant; report what was excluded."""
    if isinstance(request.records, IbisRecords):
        return _variants_in_engine(request, request.records), ()
    with _opened(request) as (connection, columns):
        sql = columns.expressions
        measures = (
            f"count(DISTINCT {sql['id']})" if "id" in sql else "count(*)",
            f"count(DISTINCT {sql['unit']}) FILTER ({sql['has_unit']})",
            f"count(*) FILTER (NOT {sql['has_unit']})",
            f"min({sql['us']}) // 1000",
            f"max({sql['us']}) // 1000",
        )
        rows = _grouped(connection, request, columns, [sql[name] for name in _KEYS], measures)
    return [Row(*row) for row in rows], left_out(columns.scan.unreadable)


def version_rows(request: Request) -> tuple[dict[int, int], tuple[str, ...]]:
    """Count evaluations by manifest version, the most frequent first; report what was excluded."""
    if isinstance(request.records, IbisRecords):
        counts = _versions_in_engine(request, request.records)
        unread: tuple[str, ...] = ()
    else:
        with _opened(request) as (connection, columns):
            version = f"TRY_CAST({columns.expressions['version']} AS BIGINT)"
            counts = _grouped(connection, request, columns, (version,), ("count(*)",))
        unread = left_out(columns.scan.unreadable)
    known = [(version, count) for version, count in counts if version is not None]
    return dict(sorted(known, key=lambda row: (-row[1], -row[0]))), unread


def whereabouts(request: Request) -> str:
    """Describe the log when nothing was found: the nearest flag, or when it has records."""
    everything = replace(request.window, start=from_ms(EARLIEST), end=request.now + AT_ONCE.future_tolerance)
    rows, _ = variant_rows(replace(request, window=everything, flag=None, namespace=None, environment=None))
    flags = {row.flag for row in rows if row.flag}
    if request.flag is not None and request.flag not in flags:
        return f"The log has no flag '{request.flag}'.{did_you_mean(request.flag, flags)}"
    spans = [(row.first_ms, row.last_ms) for row in rows if request.flag in (None, row.flag)]
    if not spans:
        return "The log has no readable record."
    first, last = from_ms(min(first for first, _ in spans)), from_ms(max(last for _, last in spans))
    return f"Its records are from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC."


@contextmanager
def _opened(request: Request) -> Iterator[tuple[duckdb.DuckDBPyConnection, Columns]]:
    window = request.window
    with (
        duckdb.connect() as connection,
        request.records.resolved(connection, window.start, window.end) as columns,
        scanning(connection, "Counting"),
    ):
        yield connection, columns


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
    tests += [f"{columns.expressions[name]} = {literal(value)}" for name, value in request.scope.items()]
    query = (
        f"SELECT {', '.join([*keys, *measures])} FROM {columns.scan.relation} "  # noqa: S608 - values are literals
        f"WHERE {' AND '.join(tests)} GROUP BY ALL ORDER BY ALL"
    )
    return connection.execute(query).fetchall()


def _variants_in_engine(request: Request, records: IbisRecords) -> list[Row]:
    log, rows = _engine_rows(request, records)
    measures = {
        "evaluations": rows.id.nullif("").nunique() + (rows.id == "").ifelse(1, 0).sum(),
        "units": rows.unit.nullif("").nunique(),
        "without_unit": (rows.unit == "").ifelse(1, 0).sum(),
        "first_ms": rows.second.min() * 1000,
        "last_ms": rows.second.max() * 1000,
    }
    found = log.execute(rows.group_by(list(_KEYS)).agg(**measures).order_by(list(_KEYS)))
    named = found.astype(dict.fromkeys(measures, "int64")).to_dict("records")
    return [Row(**row) for row in named]


def _versions_in_engine(request: Request, records: IbisRecords) -> list[tuple[int | None, int]]:
    log, rows = _engine_rows(request, records)
    found = log.execute(rows.group_by("version").agg(n=rows.count()))
    counts = zip(found["version"], found["n"], strict=True)
    return [(int(version) if str(version).isdigit() else None, int(n)) for version, n in counts]


def _engine_rows(request: Request, records: IbisRecords) -> tuple[EngineLog, Any]:
    """Return the records of the request, with the second (since 1970) of each, as an Ibis expression."""
    with duckdb.connect() as connection:
        log = EngineLog(connection, records, records.expression(), 0)
    rows = log.rows()
    rows = rows.mutate(second=rows.at.truncate("s").epoch_seconds())
    start, end = (instant.timestamp() for instant in (request.window.start, request.window.end))
    rows = rows.filter(rows.second >= start, rows.second < end)
    for name, value in request.scope.items():
        rows = rows.filter(rows[name] == value)
    return log, rows
