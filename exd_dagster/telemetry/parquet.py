"""Parquet files as one relation; the ones that cannot be read are named."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import Scan, Unreadable, ident, is_nested, literal, text_sql
from exd_dagster.telemetry.source import describe, reason_of

Schema: TypeAlias = tuple[tuple[Any, ...], ...]
"""Every node of a file's schema: name, types and number of children."""

_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_LOCAL = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}


def open_parquet(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    wanted: Sequence[str],
    required: Sequence[str],
    place: str,
) -> Scan:
    """Return a scan over every file whose footer can be read and that has the columns the others have.

    A column whose type is not the same in all files is read as text where no narrower type holds them all.

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
    unreadable += _drop_lacking(schemas, set(wanted), required)
    if not schemas:
        faults = [str(fault) for fault in unreadable]
        raise RecordsError("\n  - ".join([f"{place}: no file can be read:", *faults[:10]]))
    groups: dict[Schema, list[str]] = defaultdict(list)
    for file, schema in schemas.items():
        groups[schema].append(file)
    parts = {relation: describe(connection, relation, place) for relation in map(_relation, groups.values())}
    relation = next(iter(parts)) if len(parts) == 1 else _united(parts, wanted)
    types = describe(connection, relation, place)
    others = {name for part in parts.values() for name in part} - set(types)
    return Scan(place, relation, types, tuple(unreadable), tuple(sorted(others)), files=tuple(schemas))


def _drop_lacking(
    schemas: dict[str, Schema], wanted: Set[str], required: Sequence[str]
) -> Iterator[Unreadable]:
    """Drop the files that lack a required column which others have, and say so."""
    names = {file: {name for name, *_ in schema} for file, schema in schemas.items()}
    known = wanted & set().union(*names.values())
    for file, own in names.items():
        lacking = [name for name in required if name in known and name not in own]
        if lacking:
            del schemas[file]
            columns = ", ".join(f"'{name}'" for name in lacking)
            yield Unreadable(file, f"has no column {columns}, which the other files have")


def _united(parts: Mapping[str, Mapping[str, str]], wanted: Sequence[str]) -> str:
    """Return SQL for the wanted columns of relations whose schemas differ, each column of one type."""
    chosen = {name.lower() for name in wanted}
    kinds: dict[str, set[str]] = defaultdict(set)
    for types in parts.values():
        for name, kind in types.items():
            kinds[name.lower()].add(kind)
    selects = []
    for relation, types in parts.items():
        columns = [
            f"{_as_one_of(kinds[name.lower()], ident(name), kind)} AS {ident(name)}"
            for name, kind in types.items()
            if name.lower() in chosen
        ]
        selects.append(f"SELECT {', '.join(columns) or 'NULL AS exd_nothing'} FROM {relation}")
    return f"({' UNION ALL BY NAME '.join(selects)})"


def _as_one_of(kinds: Set[str], column: str, kind: str) -> str:
    """Return SQL that gives a column of this type the type it has everywhere."""
    if len(kinds) == 1:
        return column
    if kinds <= _WHOLE:
        return f"CAST({column} AS BIGINT)"
    if kinds <= _LOCAL:
        return f"CAST({column} AS TIMESTAMP)"
    if is_nested(kind):
        return f"CAST(to_json({column}) AS VARCHAR)"
    return text_sql(column, kind)


def damaged_files(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> list[Unreadable]:
    """Read every value and return the files that break; for when reading has failed."""
    damaged = []
    for file in files:
        relation = _relation([file])
        try:
            connection.execute(f"SELECT bit_xor(hash(t)) FROM {relation} t").fetchall()
        except duckdb.Error as error:
            damaged.append(Unreadable(file, f"is damaged: {reason_of(error)}"))
    return damaged


def _relation(files: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(map(literal, files))}])"


def _schemas(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str]
) -> tuple[dict[str, Schema], list[Unreadable]]:
    try:
        return _read_schemas(connection, files), []
    except duckdb.Error:
        pass
    schemas: dict[str, Schema] = {}
    unreadable = []
    for file in files:
        try:
            schemas |= _read_schemas(connection, [file])
        except duckdb.Error as error:
            unreadable.append(Unreadable(file, f"is not a whole Parquet file: {reason_of(error)}"))
    return schemas, unreadable


def _read_schemas(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, Schema]:
    schemas: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    columns = "file_name, name, type, converted_type, logical_type, num_children"
    query = f"SELECT {columns} FROM parquet_schema([{', '.join(map(literal, files))}])"
    for file, *node in connection.execute(query).fetchall():
        schemas[file].append(tuple(node))
    return {file: tuple(nodes) for file, nodes in schemas.items()}
