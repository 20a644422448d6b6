"""The evaluation record: which columns are read, under which names, and what makes a row unusable.

A record says that one unit was given one variant of one flag at one instant. The columns are those of exd's
`flag_evaluations`; a log with other names is mapped with `columns`, a fact it does not carry with
`constants`. This module turns the columns of any DuckDB relation into the one canonical form that
everything else counts:

| canonical | from | form |
|---|---|---|
| us | timestamp | microseconds since 1970 in UTC, NULL where it cannot be read |
| flag, variant, namespace, environment, version, reason | the columns of that name | text; "" and NULL are
the same |
| unit | unit_id_hash | an integer id as it is, anything else as a 64-bit hash of its text |
| has_unit | unit_id_hash | true where there is one |
| id | evaluation_id | 64-bit hash, NULL where empty |
| ingested | ingested_at | as us |
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from exd_dagster.config import Scalar
from exd_dagster.errors import RecordsError, did_you_mean

REQUIRED = ("timestamp", "flag_key", "variant_key", "unit_id_hash")
OPTIONAL = (
    "evaluation_id",
    "namespace",
    "environment",
    "manifest_version",
    "evaluation_reason",
    "ingested_at",
)

PARTITION = "_partition_date"
"""The day (UTC) of a record's timestamp; a table of an engine that has it is read by the window's days."""

FACTS_OFF = {
    "evaluation_id": "repeated rows are counted as evaluations of their own",
    "namespace": "the namespace of a record is not checked",
    "environment": "the environment of a record is not checked",
    "manifest_version": "manifest versions are not told apart",
    "evaluation_reason": "evaluations without an assignment are not left out",
    "ingested_at": "late rows are not recognised",
}
"""What is not known when an optional column is absent."""

UNREADABLE_LINE = "unreadable_line"
UNREADABLE_TIME = "unreadable_time"
BEFORE_2000 = "time_before_2000"
FUTURE = "time_in_the_future"
NO_FLAG = "no_flag"
QUARANTINE_REASONS = (UNREADABLE_LINE, UNREADABLE_TIME, BEFORE_2000, FUTURE, NO_FLAG)
"""Why a row is set apart: it is counted under its reason, and in no bin."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or some lines of it, that could not be read.

    Attributes:
        file: its path or URL.
        why: what is wrong with it, in one sentence; never a value out of it.
        lines: how many lines were set apart; None when the whole file was.
    """

    file: str
    why: str
    lines: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


@dataclass(frozen=True, slots=True)
class Scan:
    """An open source: a relation DuckDB can read, with what was found when it was opened.

    Attributes:
        place: what to call it in a message.
        relation: SQL that stands in a FROM clause.
        types: DuckDB type of each raw column.
        unreadable: files and lines that are missing from the relation.
        others: columns of the log that were not asked for, to name in a message.
        files: the files the relation reads, where each could be left out.
    """

    place: str
    relation: str
    types: Mapping[str, str]
    unreadable: tuple[Unreadable, ...] = ()
    others: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def hint(self, name: str) -> str:
        """Return " Did you mean ...?" for a column that is not there."""
        return did_you_mean(name, [*self.types, *self.others])


def ident(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """Write a value as SQL; text cannot end its own quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    quoted = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    return quoted[0] if len(quoted) == 1 else f"({' || chr(0) || '.join(quoted)})"


def instant_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970 (UTC)."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """Return the instant (UTC) of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EARLIEST = instant_ms(datetime(2000, 1, 1, tzinfo=timezone.utc))
"""Records before this (ms) are set apart: their clock was not set."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The canonical columns of one scan as SQL expressions.

    Attributes:
        scan: what they are read from.
        expressions: canonical name to SQL.
        extras: SQL of further columns, by exd's or the log's own name.
        absent: optional columns the log does not have.
        raw_time: SQL of the timestamp as it is, for skipping what is out of range.
        time_type: its DuckDB type.
        time_zone: zone of timestamps without an offset.
        unit_type: DuckDB type of the unit column.
    """

    scan: Scan
    expressions: Mapping[str, str]
    extras: Mapping[str, str]
    absent: tuple[str, ...]
    raw_time: str
    time_type: str
    time_zone: str
    unit_type: str

    def between(self, start: int, end: int | None) -> str:
        """Return a condition for records in `[start, end)` (ms), in a form that skips row groups."""
        bounds = [(">=", start)] + ([("<", end)] if end is not None else [])
        if self._aware or (self.time_type.startswith("TIMESTAMP") and self.time_zone == "UTC"):
            return " AND ".join(f"{self.raw_time} {sign} {self._stamp(at)}" for sign, at in bounds)
        return " AND ".join(f"{self.expressions['us']} {sign} {at * 1000}" for sign, at in bounds)

    @property
    def implausible(self) -> str:
        """A condition for records without a usable time; cheap where the file keeps statistics."""
        if self.time_type.startswith("TIMESTAMP"):
            return f"{self.raw_time} IS NULL OR {self.raw_time} < {self._stamp(EARLIEST)}"
        return f"{self.expressions['us']} IS NULL OR {self.expressions['us']} < {EARLIEST * 1000}"

    @property
    def _aware(self) -> bool:
        return self.time_type == "TIMESTAMP WITH TIME ZONE"

    def _stamp(self, ms: int) -> str:
        text = from_ms(ms).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"TIMESTAMPTZ '{text}+00'" if self._aware else f"TIMESTAMP '{text}'"


_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_NUMBERS = ("DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UHUGEINT")
_NESTED = ("STRUCT", "MAP", "UNION")


def text_sql(column: str, kind: str) -> str:
    """Return SQL for a column as text; 5 and 5.0 and '5' are the same name."""
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"TRY_CAST({column} AS BIGINT)"
        return (
            f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} = {column} "
            f"THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    return column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"


def is_nested(kind: str) -> bool:
    """Return True for a DuckDB type that holds more than one value."""
    return kind.startswith(_NESTED) or kind.endswith("[]")


def unit_sql(column: str, kind: str) -> tuple[str, str]:
    """Return SQL for the unit, and for whether there is one; see the table above."""
    if kind in _INTEGERS:
        return column, f"{column} IS NOT NULL"
    text = text_sql(column, kind)
    return f"hash({text})", f"coalesce({text}, '') <> ''"


def stored_unit_sql(unit: str, kind: str, seed: int) -> str:
    """Return SQL for a unit as the store keeps it: the same for 5 and '5', different in every store."""
    hashed = f"hash(CAST({unit} AS VARCHAR))" if kind in _INTEGERS else unit
    return f"hash({hashed}, {seed}::UBIGINT)"


def time_sql(column: str, kind: str, zone: str) -> str:
    """Return SQL for microseconds since 1970 in UTC, NULL where a value cannot be read.

    Times without an offset are times of `zone`. Numbers are seconds, milliseconds, microseconds or
    nanoseconds since 1970, told apart by their size, which leaves no doubt from 1973 to 2286.

    Raises:
        RecordsError: for a type that cannot hold an instant.
    """
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({column})"
    if kind == "TIMESTAMP_NS" and zone == "UTC":
        return f"epoch_ns({column}) // 1000"
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return f"epoch_us({_local(f'CAST({column} AS TIMESTAMP)', zone)})"
    if kind in _INTEGERS or kind.startswith(_NUMBERS):
        return _from_number(column)
    if kind == "VARCHAR":
        # a zone that is not understood makes the time unreadable: a guess would be hours off
        aware = f"regexp_matches({column}, ':[0-9.:]+ *[a-zA-Z+-]')"
        tight = f"replace(replace(upper({column}), ' +', '+'), ' -', '-')"
        # 12:30Z has no seconds, which DuckDB asks for before version 2
        whole = f"regexp_replace({tight}, '([T ][0-9]+:[0-9]+)( ?[A-Z+-])', '\\1:00\\2')"
        offset = f"epoch_us(coalesce(TRY_CAST({tight} AS TIMESTAMPTZ), TRY_CAST({whole} AS TIMESTAMPTZ)))"
        local = f"epoch_us({_local(f'TRY_CAST({column} AS TIMESTAMP)', zone)})"
        stamp = f"CASE WHEN {aware} THEN {offset} ELSE {local} END"
        return f"coalesce({stamp}, {_from_number(f'TRY_CAST({column} AS DOUBLE)')})"
    raise RecordsError(
        f"has type {kind}, which holds no instant; give a timestamp, RFC 3339 text, or a number since 1970"
    )


def _local(stamp: str, zone: str) -> str:
    return stamp if zone == "UTC" else f"timezone({literal(zone)}, {stamp})"


def _from_number(number: str) -> str:
    value = f"CAST({number} AS DOUBLE)"
    scale = f"CASE WHEN abs({value}) < 1e11 THEN 1e6 WHEN abs({value}) < 1e14 THEN 1e3 "
    scale += f"WHEN abs({value}) < 1e17 THEN 1 ELSE 1e-3 END"
    return f"TRY_CAST(floor({value} * ({scale})) AS BIGINT)"


TEXTS = {
    "flag": "flag_key",
    "variant": "variant_key",
    "namespace": "namespace",
    "environment": "environment",
    "version": "manifest_version",
    "reason": "evaluation_reason",
}


class ColumnMap:
    """Which raw column stands for which of exd's names.

    Args:
        columns: exd's name to the log's own name.
        constants: exd's name to one value for every row, for what the log does not carry.
        time_zone: of timestamps without an offset.
    """

    def __init__(self, columns: Mapping[str, str], constants: Mapping[str, Scalar], time_zone: str) -> None:
        self.columns = columns
        self.constants = constants
        self.time_zone = time_zone

    def raw_name(self, name: str, scan: Scan) -> str | None:
        """Return the log's own name of a column, exact spelling first, or None."""
        wanted = self.columns.get(name, name)
        if wanted in scan.types:
            return wanted
        return next((raw for raw in scan.types if raw.lower() == wanted.lower()), None)

    def resolve(self, scan: Scan, extras: Sequence[str] = ()) -> Columns:
        """Find every column in the scan.

        Args:
            scan: the open source.
            extras: further columns wanted (filters, dimensions), or attributes of an object column
            ("context_attributes.country"); those not found are left out.

        Raises:
            RecordsError: naming every required column that is missing or of a wrong type, with the fix.
        """
        faults = list(self._missing(scan))
        if faults:
            raise RecordsError("\n  - ".join([f"{scan.place} cannot be read:", *faults]))
        raw_time = self._sql("timestamp", scan)
        kind = self._type("timestamp", scan)
        try:
            time = time_sql(raw_time, kind, self.time_zone)
        except RecordsError as error:
            raise RecordsError(f"{scan.place}: column '{self.raw_name('timestamp', scan)}' {error}") from None
        unit_type = self._type("unit_id_hash", scan)
        unit, has_unit = unit_sql(self._sql("unit_id_hash", scan), unit_type)
        expressions = {"us": time, "unit": unit, "has_unit": has_unit, **dict(self._texts(scan))}
        found = {name: sql for name in extras if (sql := self._extra(name, scan)) is not None}
        absent = tuple(name for name in OPTIONAL if not self._has(name, scan))
        return Columns(scan, expressions, found, absent, raw_time, kind, self.time_zone, unit_type)

    def _texts(self, scan: Scan) -> Iterator[tuple[str, str]]:
        for name, source in TEXTS.items():
            found = self._has(source, scan)
            yield name, text_sql(self._sql(source, scan), self._type(source, scan)) if found else "''"
        if self._has("evaluation_id", scan):
            text = text_sql(self._sql("evaluation_id", scan), self._type("evaluation_id", scan))
            yield "id", f"CASE WHEN {text} <> '' THEN hash({text}) END"
        if self._has("ingested_at", scan):
            kind = self._type("ingested_at", scan)
            yield "ingested", time_sql(self._sql("ingested_at", scan), kind, self.time_zone)

    def _missing(self, scan: Scan) -> Iterator[str]:
        for name in REQUIRED:
            if not self._has(name, scan):
                wanted = self.columns.get(name, name)
                yield (
                    f"it has no column '{wanted}' for {name}.{scan.hint(wanted)} Map it with "
                    f"columns={{'{name}': ...}}, "
                    f"or give constants={{'{name}': ...}} when every row has the same."
                )
            elif is_nested(self._type(name, scan)):
                yield (
                    f"column '{self.raw_name(name, scan)}' for {name} has type {self._type(name, scan)}; "
                    "map a column of single values"
                )

    def _extra(self, name: str, scan: Scan) -> str | None:
        """Return SQL for a column, or for one attribute of an object: `context_attributes.country`."""
        if self._has(name, scan):
            return self._sql(name, scan)
        base, _, key = self.columns.get(name, name).partition(".")
        if not key or base not in scan.types:
            return None
        column, path = ident(base), literal("$." + ident(key))
        if scan.types[base] in ("VARCHAR", "JSON"):
            return f"json_extract_string(CASE WHEN json_valid({column}) THEN {column} END, {path})"
        return f"json_extract_string(to_json({column}), {path})"

    def _has(self, name: str, scan: Scan) -> bool:
        return name in self.constants or self.raw_name(name, scan) is not None

    def _sql(self, name: str, scan: Scan) -> str:
        raw = self.raw_name(name, scan)
        if name in self.constants or raw is None:
            return literal(str(self.constants[name]))
        return ident(raw)

    def _type(self, name: str, scan: Scan) -> str:
        raw = self.raw_name(name, scan)
        return "VARCHAR" if name in self.constants or raw is None else scan.types[raw]
