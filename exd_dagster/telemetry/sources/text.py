"""JSON and CSV: every line that can be read becomes a row, every other one is counted."""

import csv
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.paths import base_of, field_sql, lists_of, parse_path
from exd_dagster.telemetry.records import Scan, Unreadable, ident, literal
from exd_dagster.telemetry.shapes import Shape, shapes
from exd_dagster.telemetry.sources.base import reason_of
from exd_dagster.telemetry.sources.files import open_bytes
from exd_dagster.telemetry.sources.json_rows import (
    json_key,
    json_objects,
    json_rows,
    json_values,
    paths_inside,
)
from exd_dagster.telemetry.sources.text_head import (
    Header,
    by_layout,
    csv_head,
    csv_header,
    json_layout,
)

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
_FIRST_ROWS = 1000
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
    """A temporary table that takes the rows of text files.

    Attributes:
        connection: an open connection.
        table: name of the table to make.
        wanted: raw names of the columns that may be read, or paths.
        required: those of them that every log must have.
        keep: gives the condition for the rows to keep, from the scan of all.
        found: the wanted columns that the files have.
        others: further columns they have.
        unreadable: files and lines that were left out.
        written: columns that were found to hold objects as text.
        first: names in the first rows of the first file.
        passed_over: spellings of columns that are not read, for another was chosen.
        spelled: columns that the files spell in another case, and how.
        renamed: SQL names of columns that differ in case only from others that are read.
    """

    connection: duckdb.DuckDBPyConnection
    table: str
    wanted: Sequence[str]
    required: Sequence[str]
    keep: Callable[[Scan], str]
    found: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    first: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    spelled: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def read(self, files: Sequence[str], kind: Format, place: str) -> Scan:
        """Read all files, one by one where they cannot be read together.

        Args:
            files: paths or URLs.
            kind: ndjson or csv.
            place: the name of the log in messages.

        Raises:
            RecordsError: when no file can be read.
        """
        self._choose_spellings(files, kind)
        columns = ", ".join(f"{self._sql(name)} {shape.type}" for name, shape in self._shapes.items())
        self.connection.execute(f"CREATE TEMP TABLE {self.table} ({columns}, exd_file VARCHAR)")
        self._read_all(files, kind)
        if kind == "ndjson" and (written := self._objects_as_text(files)):
            self.written.update(written)
            self._read_all(files, kind)
        self._find()
        nothing = not (self.found or self.others)
        lost = [str(fault) for fault in self.unreadable if nothing or fault.lines is None]
        if lost and (nothing or len(lost) == len(files)):
            fix = "write one JSON object a line, or an array of objects" if kind == "ndjson" else ""
            head = "\n  - ".join([f"{place}: no file can be read:", *lost[:10]])
            raise RecordsError("\n".join(filter(None, [head, fix if nothing else ""])))
        if not (self.found or self.others or self.unreadable):
            self.found.update(self.required)  # no line was written yet, so nothing is known to be missing
        there = {*self.found, *map(base_of, self.found)}
        types = {name: shape.type for name, shape in self._shapes.items() if name in there}
        others = tuple(sorted(self.others - self.found))
        lacking = frozenset(name for name in self.wanted if parse_path(name) and name not in self.found)
        return Scan(
            place,
            self.table,
            types,
            tuple(self.unreadable),
            others,
            renamed=self.renamed,
            lacking=lacking,
            table=self.table,
        )

    @property
    def _shapes(self) -> dict[str, Shape]:
        """What is read of each column: those wanted, and those that wanted paths begin with."""
        return {name: shape for name, shape in shapes(self.wanted).items() if name not in self.passed_over}

    def _choose_spellings(self, files: Sequence[str], kind: Format) -> None:
        """Read columns as the first file spells them: those wanted, else one in another case."""
        spellings: dict[str, list[str]] = defaultdict(list)
        for name in shapes(self.wanted):
            spellings[name.lower()].append(name)
        there = self._first_names(files[0], kind)
        self.first.update(there)
        for lowered, same in spellings.items():
            chosen = [name for name in same if name in there] or same[:1]
            self.passed_over.update(name for name in same if name not in chosen)
            self.renamed.update({name: f"{name} ({place})" for place, name in enumerate(chosen) if place})
            alike = [own for own in there if own.lower() == lowered]
            if chosen[0] not in there and len(alike) == 1:
                self.spelled[chosen[0]] = alike[0]

    def _sql(self, name: str) -> str:
        """Return SQL for a column of the table."""
        return ident(self.renamed.get(name, name))

    def _own(self, name: str) -> str:
        """Return the files' own name of a column."""
        return self.spelled.get(name, name)

    def _first_names(self, file: str, kind: Format) -> set[str]:
        """Return the names of the columns in the first rows of a file; none of one that cannot be read."""
        with suppress(*_FAULTS):
            if kind == "csv":
                return set(csv_header(csv_head(file).text)[2])
            objects = json_objects(literal(file), json_layout(file))
            return self._keys(f"(SELECT json FROM {objects} LIMIT {_FIRST_ROWS})")
        return set()

    def _keys(self, objects: str, path: str = "$") -> set[str]:
        """Return the keys that JSON objects have at a path."""
        query = f"SELECT DISTINCT unnest(json_keys(json, {literal(path)})) FROM {objects}"
        return {key for (key,) in self.connection.execute(query).fetchall()}

    def _find(self) -> None:
        """Note which of the wanted columns, and fields, some row has."""
        read = self._shapes
        scan = Scan("", self.table, {name: shape.type for name, shape in read.items()})
        counts = {name: f"count({self._sql(name)})" for name in read}
        for name in self.wanted:
            path = parse_path(name)
            if path is None or lists_of(name) or path[0] not in read:
                continue
            inner = field_sql(self._sql(path[0]), scan.types[path[0]], path[1])
            values = [self._sql(name)] * (name in read) + ([inner[0]] if inner else [])
            counts[name] = f"count(coalesce({', '.join(values) or 'NULL'}, NULL))"
        # what is known, or what the first rows have, need not be looked for in the others
        some = set(self.found)
        for part in (f"(FROM {self.table} LIMIT {_FIRST_ROWS})", self.table):
            counts = {name: sql for name, sql in counts.items() if name not in some}
            rows, filled = self._filled(counts, part)
            some |= filled
        some |= {name for name in self.wanted if lists_of(name) and base_of(name) in some}
        if not rows:  # no row is an exposure, so nothing is known of fields
            some |= {name for name in self.wanted if parse_path(name) and base_of(name) in self.others}
        self.found.update(some & set(self.wanted))

    def _filled(self, counts: Mapping[str, str], rows: str) -> tuple[int, set[str]]:
        """Return the number of rows, and the names whose counts are not zero."""
        query = f"SELECT {', '.join(['count(*)', *counts.values()])} FROM {rows}"
        total, *filled = self.connection.execute(query).fetchall()[0]
        return total, {name for name, count in zip(counts, filled, strict=True) if count}

    def _read_all(self, files: Sequence[str], kind: Format) -> None:
        read = self._read_json if kind == "ndjson" else self._read_csv
        self._forget()
        try:
            read(files)
        except _FAULTS:
            self._forget()
            for file in files:
                try:
                    read([file])
                except _FAULTS as error:
                    self.unreadable.append(Unreadable(file, f"cannot be read: {reason_of(error)}"))

    def _forget(self) -> None:
        self.unreadable.clear()
        self.connection.execute(f"DELETE FROM {self.table}")

    def _read_json(self, files: Sequence[str]) -> None:
        for layout, group in by_layout(files).items():
            listed = ", ".join(map(literal, group))
            by_key = layout == "marked" or bool(self.renamed)  # a row has no two columns that differ in case
            rows = json_values(listed, layout) if by_key else json_rows(listed, layout, self._json_types())
            values = {name: self._json_value(name, shape, by_key) for name, shape in self._shapes.items()}
            empty = f"{self.table} WHERE exd_file IS NOT NULL"
            self._insert(values, rows, keep_empty=layout != "marked")
            if layout == "newline_delimited":
                self._name_lines(empty, self._says_nothing)
            elif layout == "marked":  # lines that are not UTF-8 are not in the rows
                named = [(file, list(_bad_numbers(file, self._says_nothing))) for file in group]
                self.unreadable.extend(_named(file, len(found), found) for file, found in named if found)
            else:
                query = f"SELECT exd_file, count(*) FROM {empty} GROUP BY 1 ORDER BY 1"
                for file, count in self.connection.execute(query).fetchall():
                    what = f"{count} of its JSON values hold none of the columns"
                    self.unreadable.append(Unreadable(file, what, count))
            self.connection.execute(f"DELETE FROM {empty}")
            self._look_for_names(json_objects(listed, layout))

    def _json_types(self) -> dict[str, str]:
        kinds = {n: "VARCHAR" if n in self.written else shape.type for n, shape in self._shapes.items()}
        return {self._own(name): kind for name, kind in kinds.items()}

    def _json_value(self, name: str, shape: Shape, by_key: bool) -> str:
        if by_key:
            return shape.transformed(json_key(self._own(name)))
        own = ident(self._own(name))
        return shape.transformed(own) if name in self.written else own

    def _objects_as_text(self, files: Sequence[str]) -> set[str]:
        """Return the columns in which some file writes objects as text that holds JSON."""
        doubtful = [
            name
            for name, shape in self._shapes.items()
            if not shape.is_text
            and (
                self._own(name) in self.first
                or self._any(f"{self.table} WHERE {self._sql(name)} IS NOT NULL")
            )
            and self._any(f"{self.table} WHERE {shape.empty(self._sql(name))}")
        ]
        found: set[str] = set()
        if not doubtful:
            return found
        lost = {fault.file for fault in self.unreadable if fault.lines is None}
        owns = [self._own(name) for name in doubtful]
        texts = ", ".join(f"bool_or(starts_with(CAST({ident(own)} AS VARCHAR), '\"'))" for own in owns)
        for layout, group in by_layout([file for file in files if file not in lost]).items():
            if layout != "marked":
                rows = json_rows(", ".join(map(literal, group)), layout, dict.fromkeys(owns, "JSON"))
                (as_text,) = self.connection.execute(f"SELECT {texts} FROM {rows}").fetchall()
                found.update(name for name, text in zip(doubtful, as_text, strict=True) if text)
        return found

    def _any(self, rows: str) -> bool:
        return self.connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone() is not None

    def _look_for_names(self, objects: str) -> None:
        """Where a column that must be there has no value: is it empty everywhere, or not there at all?"""
        self._find()
        if self.found.issuperset(self.required):
            return
        names = self._keys(objects)
        self.others.update(names)
        self.found.update(names & set(self.wanted))
        self.others.update(paths_inside(self.connection, objects, {*self.required} - self.found))
        for base in sorted({base_of(name) for name in self.wanted if parse_path(name)} & self.others):
            self.others.update(f"{base}.{key}" for key in self._keys(objects, "$." + ident(base)))

    def _read_csv(self, files: Sequence[str]) -> None:
        groups: dict[Header, list[str]] = defaultdict(list)
        for file in files:
            header = csv_head(file)
            if header.text:  # an empty file has no lines, and none that are wrong
                groups[header].append(file)
        for header, group in groups.items():
            wrapped, delimiter, names = csv_header(header.text)
            read = self._read_wrapped if wrapped else self._read_plain
            known = {self._own(name) for name in self._shapes}
            if twice := sorted(name for name in known if names.count(name) > 1):
                raise csv.Error(f"column '{twice[0]}' is twice in its header; rename one of them")
            if known & set(names):  # else there is nothing to read, and the columns show why
                read(", ".join(literal(file) for file in group), names, delimiter, header.skip)
            self.others.update(names)
            self.found.update(name for name in self.wanted if self._own(name) in names)

    def _read_plain(self, files: str, names: Sequence[str], delimiter: str, skip: int) -> None:
        errors, scans = f"{self.table}_errors", f"{self.table}_scans"
        columns = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(names)))
        values = self._values({name: f"c{place}" for place, name in enumerate(names)})
        rows = (
            f"read_csv([{files}], columns={{{columns}}}, header=true, skip={skip}, auto_detect=false, "
            f"delim={literal(delimiter)}, quote='\"', escape='\"', nullstr=['', '\\N'], store_rejects=true, "
            f"rejects_table='{errors}', rejects_scan='{scans}')"
        )
        self._insert(values, rows)
        if not self._any(f"duckdb_tables() WHERE table_name = {literal(errors)}"):
            return  # no row can be an exposure, so none was read
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
        self._insert(values, f"(FROM {lines} WHERE {whole})")
        self._name_lines(f"{lines} WHERE NOT ({whole})", lambda line: line.count(delimiter) != len(names) - 1)

    def _values(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Return SQL of each column to read that there is, given that of each column of the file."""
        read = {name: (self._own(name), shape) for name, shape in self._shapes.items()}
        return {n: shape.transformed(columns[own]) for n, (own, shape) in read.items() if own in columns}

    def _insert(self, values: Mapping[str, str], rows: str, *, keep_empty: bool = False) -> None:
        """Add rows, those that say something and are to be kept."""
        # Rows that say nothing can be added too: they alone have the name of their file.
        read = self._shapes
        selected = ", ".join(f"{sql} AS {self._sql(name)}" for name, sql in values.items())
        some = " OR ".join(f"{self._sql(name)} IS NOT NULL" for name in values)
        types = {name: read[name].type for name in values}
        kept = self.keep(Scan("", "", types, renamed=self.renamed)) or "true"
        if keep_empty:
            selected = f"{selected}, exd_file"
            star = f"* REPLACE (CASE WHEN NOT ({some}) THEN exd_file END AS exd_file)"
            kept = f"({kept}) OR NOT"
        else:
            star, kept = "*", f"({kept}) AND"
        self.connection.execute(
            f"INSERT INTO {self.table} BY NAME SELECT {star} FROM (SELECT {selected} FROM {rows}) "
            f"WHERE {kept} ({some})"
        )

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
        return not isinstance(value, dict) or all(value.get(self._own(name)) is None for name in self._shapes)


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
