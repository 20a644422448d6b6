"""Parquet files as one relation; the ones that cannot be read are named."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.canonical import is_nested, text_sql
from exd_dagster.telemetry.instants import AWARE
from exd_dagster.telemetry.paths import base_of
from exd_dagster.telemetry.records import Scan, Unreadable, ident, literal
from exd_dagster.telemetry.sources.base import describe, reason_of
from exd_dagster.telemetry.sources.files import open_raw
from exd_dagster.telemetry.sources.text_head import not_parquet

Schema: TypeAlias = tuple[tuple[Any, ...], ...]
"""Every node of a file's schema: name, types and number of children."""

_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_LOCAL = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
_AWARE = set(AWARE)


def open_parquet(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    wanted: Sequence[str],
    required: Sequence[str],
    place: str,
) -> Scan:
    """Return a scan over every file whose footer can be read and that has the columns the others have.

    A column whose type is not the same in all files is read as text if no narrower type fits all values.

    Args:
        connection: an open connection.
        files: paths or URLs.
        wanted: raw names of the columns that may be read, or paths.
        required: those of them that every log must have.
        place: the name of the log in messages.

    Raises:
        RecordsError: when no file can be read.
    """
    wanted, required = _with_bases(wanted), _with_bases(required)
    schemas, unreadable = _schemas(connection, files)
    unreadable += _drop_lacking(schemas, set(wanted), required)
    if not schemas:
        faults = [str(fault) for fault in unreadable]
        raise RecordsError("\n  - ".join([f"{place}: no file can be read:", *faults[:10]]))
    groups: dict[Schema, list[str]] = defaultdict(list)
    for file, schema in schemas.items():
        groups[schema].append(file)
    parts = [_described(connection, schema, group, place) for schema, group in groups.items()]
    if len(parts) == 1:
        relation, types, renamed = parts[0].relation, parts[0].types, parts[0].renamed
    else:
        relation, renamed = _united(parts, wanted)
        described = describe(connection, relation, place)
        own = {name: raw for raw, name in renamed.items()}
        types = {own.get(name, name): kind for name, kind in described.items()}
    others = {name for part in parts for name in part.types} - set(types)
    return Scan(
        place, relation, types, tuple(unreadable), tuple(sorted(others)), tuple(schemas), renamed=renamed
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Files of one schema: the relation, the type of each column, and SQL names that differ.

    DuckDB renames columns whose names differ in case only.
    """

    relation: str
    types: Mapping[str, str]
    renamed: Mapping[str, str]

    def sql(self, name: str) -> str:
        return ident(self.renamed.get(name, name))


def _described(
    connection: duckdb.DuckDBPyConnection, schema: Schema, files: Sequence[str], place: str
) -> _Part:
    relation = _relation(files)
    types = describe(connection, relation, place)
    own = _columns(schema)
    if len(own) != len(types):
        return _Part(relation, types, {})
    renamed = {raw: name for raw, name in zip(own, types, strict=True) if raw != name}
    return _Part(relation, dict(zip(own, types.values(), strict=True)), renamed)


def _columns(schema: Schema) -> list[str]:
    """Return the names of the columns: the nodes below the root that are inside no other."""
    names: list[str] = []
    inside = 0
    for name, _, _, _, children in schema[1:]:
        names += [] if inside else [name]
        inside = max(inside - 1, 0) + (children or 0)
    return names


def _with_bases(names: Sequence[str]) -> list[str]:
    """Return the names, and the columns at the start of paths."""
    return list(dict.fromkeys([*names, *map(base_of, names)]))


def _drop_lacking(
    schemas: dict[str, Schema], wanted: Set[str], required: Sequence[str]
) -> Iterator[Unreadable]:
    """Drop the files that lack a required column which others have, and report them."""
    names = {file: {name for name, *_ in schema} for file, schema in schemas.items()}
    known = wanted & set().union(*names.values())
    for file, own in names.items():
        lacking = [name for name in required if name in known and name not in own]
        if lacking:
            del schemas[file]
            columns = ", ".join(f"'{name}'" for name in lacking)
            yield Unreadable(file, f"has no column {columns}, which the other files have")


def _united(parts: Sequence[_Part], wanted: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return SQL for the wanted columns of parts whose schemas differ, each column of one type."""
    # Names that differ in case only get SQL names of their own; these are returned by the column's name.
    chosen = {name.lower() for name in wanted}
    kinds: dict[str, set[str]] = defaultdict(set)
    spellings: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for name, kind in part.types.items():
            if name.lower() in chosen:
                kinds[name].add(kind)
                spellings[name.lower()] += [name] if name not in spellings[name.lower()] else []
    own = (
        {
            name: f"{name}_{place}"
            for same in spellings.values()
            for place, name in enumerate(same)
            if place > 0
        }
        if any(len({*same} & {*part.types}) > 1 for same in spellings.values() for part in parts)
        else {}
    )
    if not own:  # one column, spelled otherwise in some files
        for same in spellings.values():
            together = set().union(*(kinds[name] for name in same))
            kinds.update(dict.fromkeys(same, together))
    selects = []
    for part in parts:
        columns = [
            f"{_as_one_of(kinds[name], part.sql(name), kind)} AS {ident(own.get(name, name))}"
            for name, kind in part.types.items()
            if name in kinds
        ]
        selects.append(f"SELECT {', '.join(columns) or 'NULL AS exd_nothing'} FROM {part.relation}")
    return f"({' UNION ALL BY NAME '.join(selects)})", own


def _as_one_of(kinds: Set[str], column: str, kind: str) -> str:
    """Return SQL that gives a column of this type the type it has everywhere."""
    if len(kinds) == 1:
        return column
    if kinds <= _WHOLE:
        return f"CAST({column} AS BIGINT)"
    if kinds <= _LOCAL:
        return f"CAST({column} AS TIMESTAMP)"
    if kinds <= _AWARE:
        return f"CAST({column} AS TIMESTAMPTZ)"
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
            unreadable.append(Unreadable(file, f"is not a whole Parquet file: {_instead(file, error)}"))
    return schemas, unreadable


def _instead(file: str, error: duckdb.Error) -> str:
    """Return what a file is that is no Parquet, else what DuckDB says of it."""
    with suppress(OSError, RecordsError, ValueError), open_raw(file) as raw:
        return not_parquet(raw.read(1 << 12)) or reason_of(error)
    return reason_of(error)


def _read_schemas(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, Schema]:
    schemas: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    columns = "file_name, name, type, converted_type, logical_type, num_children"
    query = f"SELECT {columns} FROM parquet_schema([{', '.join(map(literal, files))}])"
    for file, *node in connection.execute(query).fetchall():
        schemas[file].append(tuple(node))
    return {file: tuple(nodes) for file, nodes in schemas.items()}
