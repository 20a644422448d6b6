"""The evaluation record: which columns are read, under which names, and which rows are quarantined.

A record states that one unit was given one variant of one flag at one instant. The columns are those of exd's
`flag_evaluations`; a log with other names is mapped with `columns`, a value it does not have with
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
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from exd_dagster.config import Scalar
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.instants import AMBIGUOUS, AWARE, INTEGERS, time_sql
from exd_dagster.telemetry.paths import Step, field_sql, fields_of, parse_path
from exd_dagster.telemetry.unit_hash import NATIVE, seeded_sql

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
    "manifest_version": "manifest versions are unknown",
    "evaluation_reason": "evaluations without an assignment are not left out",
    "ingested_at": "late rows are not recognised",
}
"""What is not known when an optional column is absent."""

UNREADABLE_LINE = "unreadable_line"
UNREADABLE_TIME = "unreadable_time"
AMBIGUOUS_TIME = "ambiguous_time"
BEFORE_2000 = "time_before_2000"
FUTURE = "time_in_the_future"
NO_FLAG = "no_flag"
QUARANTINE_REASONS = (UNREADABLE_LINE, UNREADABLE_TIME, AMBIGUOUS_TIME, BEFORE_2000, FUTURE, NO_FLAG)
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
    """An open source: a relation that DuckDB can read, with what was found on opening.

    Attributes:
        place: its name in messages.
        relation: SQL for a FROM clause.
        types: DuckDB type of each raw column.
        unreadable: files and lines that are missing from the relation.
        others: other columns of the log, for messages.
        files: the files the relation reads, where each could be left out.
        renamed: SQL names of raw columns renamed in the relation because they differ only in case.
    """

    place: str
    relation: str
    types: Mapping[str, str]
    unreadable: tuple[Unreadable, ...] = ()
    others: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def sql(self, name: str) -> str:
        """Return SQL for a raw column."""
        return ident(self.renamed.get(name, name))

    def hint(self, name: str) -> str:
        """Return " Did you mean ...?" for a missing column, or field of one."""
        return did_you_mean(name, self.near(name))

    def near(self, name: str) -> list[str]:
        """Return the existing columns, or the fields of one if a field was requested."""
        path = parse_path(name)
        base = path[0] if path else ""
        inner = [f"{base}.{field}" for field in fields_of(self.types.get(base, ""))]
        inner += [other for other in self.others if other.startswith(f"{base}.")] if base else []
        return inner or [*self.types, *self.others]


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
        hash_function: SQL function that makes text units whole numbers; see `unit_hash`.
    """

    scan: Scan
    expressions: Mapping[str, str]
    extras: Mapping[str, str]
    absent: tuple[str, ...]
    raw_time: str
    time_type: str
    time_zone: str
    unit_type: str
    hash_function: str = NATIVE

    def between(self, start: int, end: int | None) -> str:
        """Return a condition for records in `[start, end)` (ms), in a form that skips row groups."""
        bounds = [(">=", start)] + ([("<", end)] if end is not None else [])
        if self._aware or (self.time_type.startswith("TIMESTAMP") and self.time_zone == "UTC"):
            return " AND ".join(f"{self.raw_time} {sign} {self._stamp(at)}" for sign, at in bounds)
        return " AND ".join(f"{self.expressions['us']} {sign} {at * 1000}" for sign, at in bounds)

    @property
    def implausible(self) -> str:
        """A condition for records without a usable time; cheap if the file has statistics."""
        if self.time_type.startswith("TIMESTAMP"):
            return f"{self.raw_time} IS NULL OR {self.raw_time} < {self._stamp(EARLIEST)}"
        return f"{self.expressions['us']} IS NULL OR {self.expressions['us']} < {EARLIEST * 1000}"

    @property
    def ambiguous(self) -> str:
        """A condition for records whose time can be read in two ways."""
        if self.time_type != "VARCHAR":
            return "false"
        return f"regexp_matches({self.raw_time}, '{AMBIGUOUS}')"

    @property
    def _aware(self) -> bool:
        return self.time_type in AWARE

    def _stamp(self, ms: int) -> str:
        text = from_ms(ms).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"'{text}+00'::{self.time_type}" if self._aware else f"TIMESTAMP '{text}'"


_NESTED = ("STRUCT", "MAP", "UNION")


def text_sql(column: str, kind: str) -> str:
    """Return SQL for a column as text; 5 and 5.0 and '5' are the same name."""
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"TRY_CAST({column} AS BIGINT)"
        return (
            f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} = {column} "
            f"THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
        whole = f"TRY_CAST({column} AS HUGEINT)"
        return (
            f"CASE WHEN {whole} = {column} THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    return column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"


def is_nested(kind: str) -> bool:
    """Return True for a DuckDB type with more than one value."""
    return kind.startswith(_NESTED) or kind.endswith("[]")


def unit_sql(column: str, kind: str, function: str = NATIVE) -> tuple[str, str]:
    """Return SQL for the unit (text by this hash function), and for whether there is one; see above."""
    if kind in INTEGERS:
        return column, f"{column} IS NOT NULL"
    text = text_sql(column, kind)
    return f"{function}({text})", f"coalesce({text}, '') <> ''"


def stored_unit_sql(unit: str, columns: "Columns", seed: int) -> str:
    """Return SQL for the stored form of a unit: the same for 5 and '5', different in every store."""
    function = columns.hash_function
    hashed = f"{function}(CAST({unit} AS VARCHAR))" if columns.unit_type in INTEGERS else unit
    return seeded_sql(function, hashed, seed)


TEXTS = {
    "flag": "flag_key",
    "variant": "variant_key",
    "namespace": "namespace",
    "environment": "environment",
    "version": "manifest_version",
    "reason": "evaluation_reason",
}


class ColumnMap:
    """The raw column, or field of one, for each of exd's names.

    Args:
        columns: exd's name to the log's own name, or to a path (see `paths`).
        constants: exd's name to one value for every row, for columns that the log does not have.
        time_zone: of timestamps without an offset.
        time_format: strptime pattern of timestamps written as text.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        constants: Mapping[str, Scalar],
        time_zone: str,
        time_format: str | None = None,
    ) -> None:
        self.columns = columns
        self.constants = constants
        self.time_zone = time_zone
        self.time_format = time_format

    def resolve(self, scan: Scan, extras: Sequence[str] = (), hash_function: str = NATIVE) -> Columns:
        """Find every column in the scan.

        Args:
            scan: the open source.
            extras: further columns wanted (filters, dimensions); those not found are left out.
            hash_function: of units that are text; the store's own when its units are reused.

        Raises:
            RecordsError: naming every required column that is missing or of a wrong type, with the fix.
        """
        faults = list(self._faults(scan))
        if faults:
            raise RecordsError("\n  - ".join([f"{scan.place} cannot be read:", *faults]))
        names = dict.fromkeys([*REQUIRED, *OPTIONAL, *extras])
        found = {name: value for name in names if (value := self.find(name, scan)) is not None}
        raw_time, kind = found["timestamp"]
        unit, has_unit = unit_sql(*found["unit_id_hash"], hash_function)
        expressions = {
            "us": self._time("timestamp", scan, found),
            "unit": unit,
            "has_unit": has_unit,
            **{name: text_sql(*found[source]) if source in found else "''" for name, source in TEXTS.items()},
        }
        if "evaluation_reason" in found:
            expressions["reason"] = reason_sql(*found["evaluation_reason"])
        if "evaluation_id" in found:
            text = text_sql(*found["evaluation_id"])
            expressions["id"] = f"CASE WHEN {text} <> '' THEN hash({text}) END"
        if "ingested_at" in found:
            expressions["ingested"] = self._time("ingested_at", scan, found)
        return Columns(
            scan,
            expressions,
            extras={name: found[name][0] for name in extras if name in found},
            absent=tuple(name for name in OPTIONAL if name not in found),
            raw_time=raw_time,
            time_type=kind,
            time_zone=self.time_zone,
            unit_type=found["unit_id_hash"][1],
            hash_function=hash_function,
        )

    def find(self, name: str, scan: Scan) -> tuple[str, str] | None:
        """Return SQL and DuckDB type of a column by exd's name or the log's own, None without it."""
        if name in self.constants:
            return literal(_constant(self.constants[name])), "VARCHAR"
        wanted = self.columns.get(name, name)
        raw = _spelled(wanted, scan)
        if raw is not None:
            return scan.sql(raw), scan.types[raw]
        path = parse_path(wanted)
        base = _spelled(path[0], scan) if path else None
        return field_sql(scan.sql(base), scan.types[base], path[1]) if path and base is not None else None

    def _time(self, name: str, scan: Scan, found: Mapping[str, tuple[str, str]]) -> str:
        try:
            return time_sql(*found[name], self.time_zone, self.time_format)
        except RecordsError as error:
            raise RecordsError(f"{scan.place}: column '{self.columns.get(name, name)}' {error}") from None

    def _faults(self, scan: Scan) -> Iterator[str]:
        for name in (*REQUIRED, *OPTIONAL):
            wanted = self.columns.get(name, name)
            alike = [raw for raw in scan.types if raw.lower() == wanted.lower()]
            value = self.find(name, scan)
            if name not in self.constants and len(alike) > 1 and wanted not in alike:
                yield (
                    f"it has the columns {', '.join(alike)}, of which any could be {name}; name one with "
                    f"columns={{'{name}': ...}}"
                )
            elif value is None and name in REQUIRED:
                yield (
                    f"it has no column '{wanted}' for {name}.{scan.hint(wanted)} Map it with "
                    f"columns={{'{name}': ...}}, "
                    f"or give constants={{'{name}': ...}} when every row has the same."
                )
            elif value is not None and is_nested(value[1]) and name in REQUIRED:
                yield (
                    f"column '{wanted}' for {name} has type {value[1]}; map a single value, for example "
                    f"columns={{'{name}': '{wanted}.key'}}"
                )


def _spelled(wanted: str, scan: Scan) -> str | None:
    """Return the log's own name of a column, exact spelling first, or None."""
    if wanted in scan.types:
        return wanted
    return next((raw for raw in scan.types if raw.lower() == wanted.lower()), None)


def _constant(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def reason_sql(column: str, kind: str) -> str:
    """Return SQL for an evaluation reason as text; of an object, as LaunchDarkly writes it, its `kind`."""
    if (found := field_sql(column, kind, [Step(name="kind")])) is None:
        return text_sql(column, kind)
    if kind != "VARCHAR":
        return text_sql(*found)
    return f"CASE WHEN starts_with({column}, '{{') THEN coalesce({found[0]}, {column}) ELSE {column} END"
