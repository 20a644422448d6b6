"""NDJSON and CSV: every line that can be read becomes a row of text, every other one is counted."""

import csv
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.paths import field_sql, parse_path
from exd_dagster.telemetry.records import Scan, Unreadable, ident, literal
from exd_dagster.telemetry.sources.base import reason_of
from exd_dagster.telemetry.sources.files import open_bytes
from exd_dagster.telemetry.sources.text_head import Header, Layout, csv_head, json_layout

Format: TypeAlias = Literal["ndjson", "csv"]

_ENDINGS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
}
_FAULTS = (duckdb.Error, OSError, EOFError, ValueError, csv.Error, zlib.error, RecordsError)
_NAMED_LINES = 5
"""How many line numbers a message names."""


def text_format(path: str) -> Format | None:
    """Return the format of a path by its suffix, None when it is not a text format."""
    endings = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if endings and endings[-1] == ".gz":
        endings.pop()
    return _ENDINGS.get(endings[-1]) if endings else None


@dataclass(frozen=True, slots=True)
class TextStage:
    """A temporary table that takes the lines of text files.

    Attributes:
        connection: an open connection.
        table: name of the table to make.
        wanted: raw names of the columns that may be read, or paths.
        required: those of them that every log must have.
        found: the wanted columns that the files have.
        others: further columns they have.
        unreadable: files and lines that were left out.
    """

    connection: duckdb.DuckDBPyConnection
    table: str
    wanted: Sequence[str]
    required: Sequence[str]
    found: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)

    def read(self, files: Sequence[str], kind: Format, place: str) -> Scan:
        """Read all files, one by one where they cannot be read together.

        Args:
            files: paths or URLs.
            kind: ndjson or csv.
            place: the name of the log in messages.

        Raises:
            RecordsError: when no file can be read.
        """
        columns = ", ".join(f"{ident(name)} VARCHAR" for name in self.wanted)
        self.connection.execute(f"CREATE TEMP TABLE {self.table} ({columns})")
        read = self._read_ndjson if kind == "ndjson" else self._read_csv
        try:
            read(files)
        except _FAULTS:
            self.unreadable.clear()
            self.connection.execute(f"DELETE FROM {self.table}")
            for file in files:
                self._read_alone(read, file)
        nothing = not (self.found or self.others)
        lost = [str(fault) for fault in self.unreadable if nothing or fault.lines is None]
        if lost and (nothing or len(lost) == len(files)):
            fix = "write one JSON object a line, or an array of objects" if kind == "ndjson" else ""
            told = "\n  - ".join([f"{place}: no file can be read:", *lost[:10]])
            raise RecordsError("\n".join(filter(None, [told, fix if nothing else ""])))
        if not (self.found or self.others or self.unreadable):
            self.found.update(self.required)  # no line was written yet, so nothing is known to be missing
        types = {name: "VARCHAR" for name in self.wanted if name in self.found}
        others = tuple(sorted(self.others - self.found))
        return Scan(place, self.table, types, tuple(self.unreadable), others)

    def _read_alone(self, read: Callable[[Sequence[str]], None], file: str) -> None:
        try:
            read([file])
        except _FAULTS as error:
            self.unreadable.append(Unreadable(file, f"cannot be read: {reason_of(error)}"))

    def _read_ndjson(self, files: Sequence[str]) -> None:
        layouts: dict[Layout, list[str]] = defaultdict(list)
        for file in files:
            layouts[json_layout(file)].append(file)
        for layout, group in layouts.items():
            self._read_json(group, layout)

    def _read_json(self, files: Sequence[str], layout: Layout) -> None:
        listed = ", ".join(literal(file) for file in files)
        keys = list(dict.fromkeys([*self.wanted, *self._bases.values()]))
        objects = json_objects(listed, layout)
        lines = json_rows(listed, layout, keys)
        empty = " AND ".join(f"{ident(name)} IS NULL" for name in keys)
        values = ", ".join(self._value(name, {key: ident(key) for key in keys}) for name in self.wanted)
        self._insert(self.wanted, values, f"{lines} WHERE NOT ({empty})")
        if layout == "newline_delimited":
            self._name_lines(f"{lines} WHERE {empty}", self._says_nothing)
        elif layout == "marked":  # lines that are not UTF-8 are not in the rows
            named = [(file, list(_bad_numbers(file, self._says_nothing))) for file in files]
            self.unreadable.extend(_named(file, len(found), found) for file, found in named if found)
        else:
            query = f"SELECT exd_file, count(*) FROM {lines} WHERE {empty} GROUP BY 1 ORDER BY 1"
            for file, count in self.connection.execute(query).fetchall():
                what = f"{count} of its JSON values hold none of the columns"
                self.unreadable.append(Unreadable(file, what, count))
        counts = ", ".join(f"count({ident(name)})" for name in self.wanted)
        filled = self.connection.execute(f"SELECT {counts} FROM {self.table}").fetchall()[0]
        self.found.update(name for name, count in zip(self.wanted, filled, strict=True) if count)
        if not self.found.issuperset(self.required):  # empty everywhere, or missing?
            query = f"SELECT DISTINCT unnest(json_keys(json)) FROM {objects}"
            self._meet([row[0] for row in self.connection.execute(query).fetchall()])
            for base in sorted(set(self._bases.values()) & self.others):
                path = literal("$." + ident(base))
                query = f"SELECT DISTINCT unnest(json_keys(json, {path})) FROM {objects}"
                self.others.update(f"{base}.{row[0]}" for row in self.connection.execute(query).fetchall())

    def _read_csv(self, files: Sequence[str]) -> None:
        groups: dict[Header, list[str]] = defaultdict(list)
        for file in files:
            header = csv_head(file)
            if header.text:  # an empty file has no lines, and none that are wrong
                groups[header].append(file)
        for header, group in groups.items():
            wrapped, delimiter, names = csv_header(header.text)
            read = self._read_wrapped if wrapped else self._read_plain
            known = {*self.wanted, *self._bases.values()}
            if twice := sorted(name for name in known if names.count(name) > 1):
                raise csv.Error(f"column '{twice[0]}' is twice in its header; rename one of them")
            if known & set(names):  # else there is nothing to read, and the columns show why
                read(", ".join(literal(file) for file in group), names, delimiter, header.skip)
            self._meet(names)

    def _read_plain(self, files: str, names: Sequence[str], delimiter: str, skip: int) -> None:
        errors, scans = f"{self.table}_errors", f"{self.table}_scans"
        columns = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(names)))
        values = self._values({name: f"c{place}" for place, name in enumerate(names)})
        rows = (
            f"read_csv([{files}], columns={{{columns}}}, header=true, skip={skip}, auto_detect=false, "
            f"delim={literal(delimiter)}, quote='\"', escape='\"', store_rejects=true, "
            f"rejects_table='{errors}', rejects_scan='{scans}')"
        )
        self._insert([*values], ", ".join(values.values()), rows)
        rejects = self.connection.execute(
            f"SELECT file_path, list(DISTINCT line ORDER BY line), "
            f"bool_or(error_type IN ('INVALID ENCODING', 'INVALID UNICODE')) FROM {errors} "
            f"JOIN {scans} USING (scan_id, file_id) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        self.unreadable.extend(
            _named(file, len(lines), lines, "not UTF-8 text; convert the file" if coded else "")
            for file, lines, coded in rejects
        )
        self.connection.execute(f"DROP TABLE {errors}; DROP TABLE {scans}")

    def _read_wrapped(self, files: str, names: Sequence[str], delimiter: str, skip: int) -> None:
        lines = (
            f"(SELECT exd_file, string_split(line, {literal(delimiter)}) AS fields "
            f"FROM read_csv([{files}], columns={{'line': 'VARCHAR'}}, header=true, skip={skip}, "
            "auto_detect=false, delim='\x01', quote='\"', escape='\"', filename='exd_file'))"
        )
        values = self._values({name: f"fields[{place}]" for place, name in enumerate(names, 1)})
        whole = f"len(fields) = {len(names)}"
        self._insert([*values], ", ".join(values.values()), f"{lines} WHERE {whole}")
        self._name_lines(f"{lines} WHERE NOT ({whole})", lambda line: line.count(delimiter) != len(names) - 1)

    @property
    def _bases(self) -> dict[str, str]:
        """The column at the start of each path."""
        return {name: path[0] for name in self.wanted if (path := parse_path(name)) is not None}

    def _values(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return SQL of each wanted column that there is, given that of each column of the file."""
        found = [name for name in self.wanted if name in columns or self._bases.get(name) in columns]
        return {name: self._value(name, columns) for name in found}

    def _value(self, name: str, columns: Mapping[str, str]) -> str:
        """Return SQL of one wanted column; a column of that very name goes before the path."""
        path, own = parse_path(name), columns.get(name)
        base = columns.get(path[0]) if path else None
        inner = field_sql(base, "VARCHAR", path[1]) if path and base is not None else None
        return f"coalesce({own}, {inner[0]})" if own and inner else own or (inner[0] if inner else "NULL")

    def _insert(self, names: Sequence[str], values: str, rows: str) -> None:
        if names:
            columns = ", ".join(ident(name) for name in names)
            self.connection.execute(f"INSERT INTO {self.table} ({columns}) SELECT {values} FROM {rows}")

    def _name_lines(self, rows: str, is_bad: Callable[[str], bool]) -> None:
        query = f"SELECT exd_file, count(*) FROM {rows} GROUP BY 1 ORDER BY 1"
        for file, count in self.connection.execute(query).fetchall():
            numbers = list(islice(_bad_numbers(file, is_bad), _NAMED_LINES))
            self.unreadable.append(_named(file, count, numbers))

    def _says_nothing(self, line: str) -> bool:
        """Return True for a line of JSON with none of the wanted columns."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return bool(line.strip())
        keys = [*self.wanted, *self._bases.values()]
        return not isinstance(value, dict) or all(value.get(name) is None for name in keys)

    def _meet(self, names: Sequence[str]) -> None:
        self.found.update(set(names) & set(self.wanted))
        paths = [name for name, base in self._bases.items() if base in names and name not in self.found]
        if paths:
            counts = ", ".join(f"count({ident(name)})" for name in paths)
            filled = self.connection.execute(f"SELECT {counts} FROM {self.table}").fetchall()[0]
            self.found.update(name for name, count in zip(paths, filled, strict=True) if count)
        self.others.update(names)


def _named(file: str, count: int, numbers: Sequence[int], why: str = "") -> Unreadable:
    shown = ", ".join(map(str, numbers[:_NAMED_LINES])) + (", ..." if count > _NAMED_LINES else "")
    what = "1 line cannot be read: line" if count == 1 else f"{count} lines cannot be read: lines"
    return Unreadable(file, f"{what} {shown}{f' ({why})' if why else ''}", count)


def _bad_numbers(file: str, is_bad: Callable[[str], bool]) -> Iterator[int]:
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace")
            if "\N{REPLACEMENT CHARACTER}" in text or is_bad(text):
                yield number


def json_objects(files: str, layout: Layout) -> str:
    """Return SQL that stands in a FROM clause for the objects of JSON files, as `json`."""
    if layout == "marked":
        return f"(SELECT line::JSON AS json FROM {_marked_lines(files)}) WHERE json_type(json) = 'OBJECT'"
    kind = f"format='{layout}', ignore_errors={str(layout != 'unstructured').lower()}"
    return f"read_json_objects([{files}], {kind}) WHERE json_type(json) = 'OBJECT'"


def json_rows(files: str, layout: Layout, keys: Sequence[str]) -> str:
    """Return SQL for one row of text for each JSON value, with these keys and the name of its file."""
    if layout == "marked":
        values = ", ".join(f"line ->> {literal('$.' + ident(key))} AS {ident(key)}" for key in keys)
        return f"(SELECT exd_file, {values} FROM {_marked_lines(files)})"
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in keys)
    kind = f"format='{layout}', ignore_errors={str(layout != 'unstructured').lower()}"
    return f"read_json([{files}], {kind}, columns={{{columns}}}, filename='exd_file')"


def _marked_lines(files: str) -> str:
    """Return SQL for lines of JSON; only the reader of CSV passes over a byte order mark."""
    return (
        f"(FROM read_csv([{files}], columns={{'line': 'VARCHAR'}}, header=false, auto_detect=false, "
        "delim='\x01', quote='', escape='', ignore_errors=true, filename='exd_file') "
        "WHERE json_valid(line))"
    )


def csv_header(line: str) -> tuple[bool, str, list[str]]:
    """Return whether lines are wrapped in quotes, the delimiter, and the column names."""
    delimiter = max(",\t;|", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter))
    if len(names) == 1 and delimiter in names[0]:
        return True, delimiter, names[0].split(delimiter)
    return False, delimiter, names
