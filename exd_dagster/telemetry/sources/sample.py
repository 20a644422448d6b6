"""Some rows of a log as Python objects, a few of several files, to recognise its export."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import TextIOWrapper
from itertools import islice
from typing import Any

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.preset import Row
from exd_dagster.telemetry.records import literal
from exd_dagster.telemetry.sources.files import open_bytes
from exd_dagster.telemetry.sources.json_rows import json_objects
from exd_dagster.telemetry.sources.text_head import csv_head, csv_header, json_layout

MOST_FILES = 5
MOST_ROWS = 1000
"""Rows looked at of a whole log."""
_FAULTS = (duckdb.Error, OSError, EOFError, csv.Error, ValueError, RecursionError, RecordsError)


def spread(files: Sequence[str]) -> list[str]:
    """Return some of the files: the first, the last and those between at equal distances."""
    many = min(MOST_FILES, len(files))
    return [files[place * (len(files) - 1) // max(many - 1, 1)] for place in range(many)]


def text_rows(connection: duckdb.DuckDBPyConnection, file: str, kind: str, most: int) -> list[Row]:
    """Return the first rows of a text file; none of one that cannot be read.

    Args:
        connection: reads whole JSON documents.
        file: path or URL.
        kind: ndjson or csv.
        most: how many rows.
    """
    with suppress(*_FAULTS):
        if kind == "csv":
            return list(islice(_csv_rows(file), most))
        layout = json_layout(file)
        if layout in ("array", "unstructured"):
            return object_rows(connection, json_objects(literal(file), layout), most)
        return list(islice(_json_lines(file), most))
    return []


def _csv_rows(file: str) -> Iterator[Row]:
    header = csv_head(file)
    with open_bytes(file) as lines:
        text = TextIOWrapper(lines, "utf-8-sig", "replace", newline="")
        for _ in range(header.skip + 1):
            text.readline()
        wrapped, delimiter, names = csv_header(header.text)
        rows = (line.strip().strip('"').split(delimiter) for line in text) if wrapped else None
        for row in rows or csv.reader(text, delimiter=delimiter):
            if len(row) == len(names):
                yield dict(zip(names, row, strict=True))


def _json_lines(file: str) -> Iterator[Row]:
    with open_bytes(file) as lines:
        for line in lines:
            with suppress(ValueError, RecursionError):
                row = json.loads(line.decode("utf-8-sig"))
                if isinstance(row, dict):
                    yield row


def relation_rows(connection: duckdb.DuckDBPyConnection, relation: str, most: int) -> list[Row]:
    """Return the first rows of what DuckDB can read; none of what it cannot."""
    with suppress(*_FAULTS):
        query = f"SELECT CAST(to_json(t) AS VARCHAR) FROM (FROM {relation} LIMIT {most}) t"
        return [json.loads(row[0]) for row in connection.execute(query).fetchall()]
    return []


def object_rows(connection: duckdb.DuckDBPyConnection, objects: str, most: int) -> list[Row]:
    """Return the first of the JSON objects that DuckDB reads as `json`."""
    query = f"SELECT CAST(json AS VARCHAR) FROM (SELECT json FROM {objects} LIMIT {most})"
    return [json.loads(row[0]) for row in connection.execute(query).fetchall()]


def frame_rows(frame: Any, most: int) -> list[Row]:
    """Return the first rows of a pandas or polars DataFrame, or an Arrow table."""
    kind = type(frame).__module__.split(".")[0]
    if kind == "pandas":
        return list(frame.head(most).to_dict("records"))
    rows = frame.head(most).to_dicts() if kind == "polars" else frame.slice(0, most).to_pylist()
    return list(rows)
