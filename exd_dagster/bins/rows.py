"""Rows into a table, and out of one."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import duckdb


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows, all in one statement: DuckDB takes columns, and is slow row by row."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if columns:
        values = ", ".join(["unnest(?)"] * len(columns))
        connection.execute(f"INSERT INTO {table} SELECT {values}", columns)


def has_rows(connection: duckdb.DuckDBPyConnection, rows: str) -> bool:
    """Return whether there is any row; `rows`: what follows FROM."""
    return connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone() is not None


def read_rows(
    connection: duckdb.DuckDBPyConnection, rows: str, instants: Iterable[str], values: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Return rows by column name; none where the table does not exist yet.

    Args:
        connection: an open connection.
        rows: what follows SELECT *: FROM, WHERE, ORDER BY.
        instants: columns of type TIMESTAMPTZ, returned as UTC-aware datetimes.
        values: of the parameters.
    """
    shown = ", ".join(f"epoch_us({name}) AS {name}" for name in instants)
    try:
        found = connection.execute(f"SELECT * REPLACE ({shown}) {rows}", values)
    except duckdb.CatalogException:
        return []
    names = [name for name, *_ in found.description or ()]
    records = [dict(zip(names, record, strict=True)) for record in found.fetchall()]
    for record in records:
        for name in instants:
            micros = record[name]
            record[name] = None if micros is None else datetime.fromtimestamp(micros / 1e6, timezone.utc)
    return records
