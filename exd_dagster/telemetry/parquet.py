"""Parquet files as one relation; the ones that cannot be read are named."""

from collections import defaultdict
from collections.abc import Sequence

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import Scan, Unreadable, literal


def open_parquet(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    wanted: Sequence[str],
    required: Sequence[str],
    place: str,
) -> Scan:
    """Return a scan over every file whose footer can be read and that has the columns the others have.

    Args:
        connection: an open connection.
        files: paths or URLs.
        wanted: raw names of the columns that may be read.
        required: those of them that every log must have.
        place: what to call the log in a message.

    Raises:
        RecordsError: when no file can be read.
    """
    schemas, unreadable = _schemas(connection, files)
    known = set().union(*schemas.values()) & set(wanted) if schemas else set()
    for file in list(schemas):
        lacking = [name for name in required if name in known and name not in schemas[file]]
        if lacking:
            columns = ", ".join(f"'{name}'" for name in lacking)
            unreadable.append(Unreadable(file, f"has no column {columns}, which the other files have"))
            del schemas[file]
    if not schemas:
        faults = [str(fault) for fault in unreadable]
        raise RecordsError("\n  - ".join([f"{place}: no file can be read:", *faults[:10]]))
    relation = _relation(list(schemas), mixed=_differ(schemas))
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise RecordsError(f"{place} cannot be read: {error}") from error
    types = {name: kind for name, kind, *_ in rows}
    return Scan(place, relation, types, tuple(unreadable), files=tuple(schemas))


def damaged_files(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> list[Unreadable]:
    """Read every value and return the files that break; for when reading has failed."""
    damaged = []
    for file in files:
        relation = _relation([file])
        try:
            connection.execute(f"SELECT bit_xor(hash(t)) FROM {relation} t").fetchall()
        except duckdb.Error as error:
            damaged.append(Unreadable(file, f"is damaged: {_first_line(error)}"))
    return damaged


def _relation(files: Sequence[str], *, mixed: bool = False) -> str:
    listed = ", ".join(literal(file) for file in files)
    return f"read_parquet([{listed}]{', union_by_name=true' if mixed else ''})"


def _differ(schemas: dict[str, set[str]]) -> bool:
    return len({frozenset(names) for names in schemas.values()}) > 1


def _schemas(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str]
) -> tuple[dict[str, set[str]], list[Unreadable]]:
    try:
        return _read_schemas(connection, files), []
    except duckdb.Error:
        pass
    schemas: dict[str, set[str]] = {}
    unreadable = []
    for file in files:
        try:
            schemas |= _read_schemas(connection, [file])
        except duckdb.Error as error:
            unreadable.append(Unreadable(file, f"is not a whole Parquet file: {_first_line(error)}"))
    return schemas, unreadable


def _read_schemas(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, set[str]]:
    listed = ", ".join(literal(file) for file in files)
    schemas: dict[str, set[str]] = defaultdict(set)
    for file, name in connection.execute(
        f"SELECT file_name, name FROM parquet_schema([{listed}])"
    ).fetchall():
        schemas[file].add(name)
    return dict(schemas)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
