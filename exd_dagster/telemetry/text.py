"""NDJSON and CSV: every line that can be read becomes a row of text, every other one is counted."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.files import open_bytes
from exd_dagster.telemetry.records import Scan, Unreadable, ident, literal

Format = Literal["ndjson", "csv"]

_ENDINGS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
}
_LINE = "{'line': 'VARCHAR'}"
_NAMED_LINES = 5
"""How many line numbers a message names."""


def is_text_path(path: str) -> Format | None:
    """Return the format that the ending of a path stands for, None when it is not one of text."""
    endings = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if endings and endings[-1] == ".gz":
        endings.pop()
    return _ENDINGS.get(endings[-1]) if endings else None


def stage_text(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    kind: Format,
    wanted: Sequence[str],
    table: str,
    place: str,
) -> Scan:
    """Read the wanted columns of all files, as text, into a temporary table.

    Args:
        connection: an open connection.
        files: paths or URLs.
        kind: ndjson or csv.
        wanted: raw names of the columns that may be read.
        table: name of the temporary table to create.
        place: what to call the log in a message.

    Returns:
        A scan whose `unreadable` names each file with lines that were left out, and which lines.
    """
    columns = ", ".join(f"{ident(name)} VARCHAR" for name in wanted)
    connection.execute(f"CREATE TEMP TABLE {table} ({columns})")
    stage = _stage_ndjson if kind == "ndjson" else _stage_csv
    present: set[str] = set()
    unreadable: list[Unreadable] = []
    try:
        stage(connection, files, wanted, table, present, unreadable)
    except duckdb.Error:
        present.clear()
        unreadable.clear()
        connection.execute(f"DELETE FROM {table}")
        for file in files:
            try:
                stage(connection, [file], wanted, table, present, unreadable)
            except duckdb.Error as error:
                unreadable.append(Unreadable(file, f"cannot be read: {str(error).splitlines()[0]}"))
    if len([fault for fault in unreadable if fault.lines is None]) == len(files):
        raise RecordsError("\n  - ".join([f"{place}: no file can be read:", *map(str, unreadable[:10])]))
    return Scan(place, table, dict.fromkeys(sorted(present), "VARCHAR"), tuple(unreadable))


def _stage_ndjson(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    wanted: Sequence[str],
    table: str,
    present: set[str],
    unreadable: list[Unreadable],
) -> None:
    listed = ", ".join(literal(file) for file in files)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in wanted)
    lines = (
        f"read_json([{listed}], format='newline_delimited', columns={{{columns}}}, "
        "ignore_errors=true, filename='exd_file')"
    )
    names = ", ".join(ident(name) for name in wanted)
    empty = " AND ".join(f"{ident(name)} IS NULL" for name in wanted)
    connection.execute(f"INSERT INTO {table} SELECT {names} FROM {lines} WHERE NOT ({empty})")
    bad = connection.execute(
        f"SELECT exd_file, count(*) FROM {lines} WHERE {empty} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    unreadable.extend(_named(file, count, _bad_json) for file, count in bad)
    filled = connection.execute(
        f"SELECT {', '.join(f'count({ident(n)})' for n in wanted)} FROM {table}"
    ).fetchone()
    present.update(name for name, count in zip(wanted, filled or (), strict=False) if count)
    if not set(wanted[:4]) <= present:
        keys = f"SELECT DISTINCT unnest(json_keys(json)) FROM read_ndjson_objects([{listed}], ignore_errors=true)"
        present.update(row[0] for row in connection.execute(keys).fetchall())


def _bad_json(line: str) -> bool:
    try:
        return not isinstance(json.loads(line), dict)
    except ValueError:
        return bool(line.strip())


def _named(file: str, count: int, is_bad: Callable[[str], bool]) -> Unreadable:
    numbers = list(islice(_bad_numbers(file, is_bad), _NAMED_LINES))
    shown = ", ".join(map(str, numbers)) + (", ..." if count > len(numbers) else "")
    what = "1 line cannot be read: line" if count == 1 else f"{count} lines cannot be read: lines"
    return Unreadable(file, f"{what} {shown}", count)


def _bad_numbers(file: str, is_bad: Callable[[str], bool]) -> Iterator[int]:
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, 1):
            if is_bad(line.decode("utf-8", "replace")):
                yield number


def _stage_csv(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    wanted: Sequence[str],
    table: str,
    present: set[str],
    unreadable: list[Unreadable],
) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for file in files:
        with open_bytes(file) as lines:
            header = lines.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
        if header:
            groups[header].append(file)
    for header, group in groups.items():
        wrapped, delimiter, names = _header(header)
        read = _stage_wrapped if wrapped else _stage_plain
        read(connection, group, names, delimiter, [n for n in wanted if n in names], table, unreadable)
        present.update(names)


def _header(line: str) -> tuple[bool, str, list[str]]:
    """Return whether lines are wrapped in quotes, the delimiter, and the column names."""
    delimiter = max(",\t;|", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter))
    if len(names) == 1 and delimiter in names[0]:
        return True, delimiter, names[0].split(delimiter)
    return False, delimiter, names


def _stage_plain(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    names: Sequence[str],
    delimiter: str,
    wanted: Sequence[str],
    table: str,
    unreadable: list[Unreadable],
) -> None:
    listed = ", ".join(literal(file) for file in files)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    chosen = ", ".join(ident(name) for name in wanted)
    connection.execute("DROP TABLE IF EXISTS exd_reject_errors; DROP TABLE IF EXISTS exd_reject_scans")
    connection.execute(
        f"INSERT INTO {table} ({chosen}) SELECT {chosen} FROM read_csv([{listed}], columns={{{columns}}}, "
        f"header=true, auto_detect=false, delim={literal(delimiter)}, quote='\"', escape='\"', "
        "store_rejects=true, rejects_table='exd_reject_errors', rejects_scan='exd_reject_scans')"
    )
    rejects = connection.execute(
        "SELECT file_path, list(DISTINCT line ORDER BY line) FROM exd_reject_errors "
        "JOIN exd_reject_scans USING (scan_id, file_id) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for file, lines in rejects:
        shown = ", ".join(map(str, lines[:_NAMED_LINES])) + (", ..." if len(lines) > _NAMED_LINES else "")
        what = (
            "1 line cannot be read: line" if len(lines) == 1 else f"{len(lines)} lines cannot be read: lines"
        )
        unreadable.append(Unreadable(file, f"{what} {shown}", len(lines)))
    connection.execute("DROP TABLE exd_reject_errors; DROP TABLE exd_reject_scans")


def _stage_wrapped(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    names: Sequence[str],
    delimiter: str,
    wanted: Sequence[str],
    table: str,
    unreadable: list[Unreadable],
) -> None:
    listed = ", ".join(literal(file) for file in files)
    lines = (
        f"(SELECT exd_file, string_split(line, {literal(delimiter)}) AS fields FROM read_csv([{listed}], "
        f"columns={_LINE}, header=true, auto_detect=false, delim='\x01', quote='\"', escape='\"', "
        "filename='exd_file'))"
    )
    chosen = ", ".join(ident(name) for name in wanted)
    fields = ", ".join(f"fields[{names.index(name) + 1}]" for name in wanted)
    whole = f"len(fields) = {len(names)}"
    connection.execute(f"INSERT INTO {table} ({chosen}) SELECT {fields} FROM {lines} WHERE {whole}")
    bad = connection.execute(
        f"SELECT exd_file, count(*) FROM {lines} WHERE NOT ({whole}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for file, count in bad:
        unreadable.append(_named(file, count, lambda line: line.count(delimiter) != len(names) - 1))
