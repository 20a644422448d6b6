"""JSON files as SQL: each object as it is, or a row of some of its fields."""

from collections.abc import Mapping

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
    """Return SQL for one row for each JSON value, with the name of its file and these keys of these types.

    Of lines after a byte order mark every key is text.
    """
    if layout == "marked":
        values = ", ".join(f"line ->> {literal('$.' + ident(key))} AS {ident(key)}" for key in types)
        return f"(SELECT exd_file, {values} FROM {_marked_lines(files)})"
    columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in types.items())
    kind = _kind(layout)
    return f"read_json([{files}], {kind}, columns={{{columns}}}, filename='exd_file')"


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
