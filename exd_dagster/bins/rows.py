"""Rows into a table."""

from collections.abc import Iterable, Sequence

import duckdb


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows, all in one statement: DuckDB takes columns, and is slow row by row."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if columns:
        values = ", ".join(["unnest(?)"] * len(columns))
        connection.execute(f"INSERT INTO {table} SELECT {values}", columns)
