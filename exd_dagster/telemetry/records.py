"""The evaluation record: which columns are read, under which names, and which rows are quarantined.

A record states that one unit was given one variant of one flag at one instant. The columns are those of exd's
`flag_evaluations`; a log with other names is mapped with `columns`, a value it does not have with
`constants`. `columns` turns those of any DuckDB relation into the one canonical form that everything else
counts:

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

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from exd_dagster.config import Scalar
from exd_dagster.errors import did_you_mean, folded
from exd_dagster.telemetry.paths import fields_of, parse_path

REQUIRED = ("timestamp", "flag_key", "variant_key", "unit_id_hash")
OPTIONAL = (
    "evaluation_id",
    "namespace",
    "environment",
    "manifest_version",
    "evaluation_reason",
    "ingested_at",
)

MEANINGS: Mapping[str, tuple[str, str]] = {
    "timestamp": ("timestamp", "When the unit was evaluated; without an offset in the log's time zone."),
    "flag_key": ("text", "Key of the flag."),
    "variant_key": ("text", "Variant that was served."),
    "unit_id_hash": ("text or integer", "The unit that was evaluated: a user, a device."),
    "evaluation_id": ("text", "Id of the evaluation; a repeated one counts once."),
    "namespace": ("text", "Namespace of the flag."),
    "environment": ("text", "Environment of the flag."),
    "manifest_version": ("text", "Version of the manifest that the evaluation used."),
    "evaluation_reason": ("text", "Why this variant was served; some reasons are no assignments."),
    "ingested_at": ("timestamp", "When the record arrived; later than its hour by more is a late row."),
}
"""Kind and meaning of each column of the contract."""

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
"""Why a row is quarantined, these six: it is counted under its reason, and in no bin."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or some lines of it, that could not be read.

    Attributes:
        file: its path or URL.
        why: what is wrong with it, in one sentence; never a value out of it.
        lines: how many lines were quarantined; None when the whole file was.
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
        lacking: paths that no row of the relation has.
        table: the temporary table that holds the rows, "" where they are read from the log itself.
    """

    place: str
    relation: str
    types: Mapping[str, str]
    unreadable: tuple[Unreadable, ...] = ()
    others: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()
    table: str = ""

    def sql(self, name: str) -> str:
        """Return SQL for a raw column."""
        return ident(self.renamed.get(name, name))

    def hint(self, name: str) -> str:
        """Return " Did you mean ...?" for a missing column, or field of one: that of the name first."""
        for other in self.others:
            path = parse_path(other)
            if path is not None and folded(path[1][-1].name) == folded(name):
                return f" Did you mean '{other}'?"
        return did_you_mean(name, self.near(name))

    def near(self, name: str) -> list[str]:
        """Return the existing columns, or the fields of one if a field was requested."""
        path = parse_path(name)
        base = path[0] if path else ""
        inner = [f"{base}.{field}" for field in fields_of(self.types.get(base, ""))]
        inner = [other for other in inner if other not in self.lacking]
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


def as_text(value: object) -> str:
    """Return a value as records hold it: truth in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def instant_ms(instant: datetime) -> int:
    """Return whole milliseconds since 1970 (UTC)."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """Return the instant (UTC) of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EARLIEST = instant_ms(datetime(2000, 1, 1, tzinfo=timezone.utc))
"""Records before this (ms) are quarantined: their clock was not set."""
