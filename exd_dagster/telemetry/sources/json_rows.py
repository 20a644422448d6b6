"""JSON files as SQL: each object as it is, or a row of some of its fields."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import duckdb

from exd_dagster.telemetry.records import ident, literal
from exd_dagster.telemetry.sources.text_head import Layout

_LARGEST = 1 << 28
"""Bytes of the largest object that is read from a file that is no line of its own."""


def json_objects(files: str, layout: Layout) -> str:
    """Return SQL that stands in a FROM clause for the objects of JSON files, as `json`."""
    if layout == "marked":
        return f"(SELECT line::JSON AS json FROM {_marked_lines(files)}) WHERE json_type(json) = 'OBJECT'"
    return f"read_json_objects([{files}], {_kind(layout)}) WHERE json_type(json) = 'OBJECT'"


def json_rows(files: str, layout: Layout, types: Mapping[str, str]) -> str:
    """Return SQL for one row for each JSON value, with the name of its file and these keys of these types."""
    columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types.items())
    kind = _kind(layout)
    return f"read_json([{files}], {kind}, columns={{{columns}}}, filename='exd_file')"


def json_values(files: str, layout: Layout) -> str:
    """Return SQL for one row for each JSON value, as `json`, with the name of its file."""
    if layout == "marked":
        return f"(SELECT exd_file, line::JSON AS json FROM {_marked_lines(files)})"
    objects = f"read_json_objects([{files}], {_kind(layout)}, filename=true)"
    return f"(SELECT filename AS exd_file, json FROM {objects})"


def json_key(key: str) -> str:
    """Return SQL for one key of what `json_values` gives, as text."""
    return f"(json ->> {literal('$.' + ident(key))})"


def paths_inside(connection: duckdb.DuckDBPyConnection, objects: str, names: Collection[str]) -> list[str]:
    """Return the paths to fields of these names inside the first of some objects, through its lists too."""
    row = connection.execute(f"SELECT json_structure(json) FROM {objects} LIMIT 1").fetchone()
    wanted = {name.lower() for name in names}
    return [] if row is None else list(_inside(json.loads(row[0]), "", wanted))


def _inside(structure: Any, path: str, names: Collection[str]) -> Iterator[str]:
    if isinstance(structure, list) and structure:
        yield from _inside(structure[0], f"{path}[]", names)
    elif isinstance(structure, dict):
        for name, inner in structure.items():
            step = f'"{name}"' if "." in name else name
            below = f"{path}.{step}" if path else step
            if path and isinstance(inner, str) and name.lower() in names:
                yield below
            yield from _inside(inner, below, names)


def _kind(layout: Layout) -> str:
    largest = "" if layout == "newline_delimited" else f", maximum_object_size={_LARGEST}"
    return f"format='{layout}', ignore_errors={str(layout != 'unstructured').lower()}{largest}"


def _marked_lines(files: str) -> str:
    """Return SQL for lines of JSON; only the reader of CSV passes over a byte order mark."""
    return (
        f"(FROM read_csv([{files}], columns={{'line': 'VARCHAR'}}, header=false, auto_detect=false, "
        "delim='\x01', quote='', escape='', ignore_errors=true, filename='exd_file') "
        "WHERE json_valid(line))"
    )
