"""The base of all sources of evaluation records."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from itertools import count
from re import DOTALL, sub
from typing import TypeAlias
from zoneinfo import ZoneInfo

import duckdb
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.config import ConfigModel, Scalar
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, ColumnMap, Scan

Connection: TypeAlias = duckdb.DuckDBPyConnection

_serial = count()


def scratch_name(what: str) -> str:
    """Return a name for a temporary object that no other scan of this process uses."""
    return f"exd_{what}_{next(_serial)}"


def holds_values(error: BaseException) -> bool:
    """Return True for an error of DuckDB's that may quote a record; it must not be shown as it is."""
    return isinstance(error, (duckdb.DataError, duckdb.InvalidInputException))


def reason_of(error: BaseException) -> str:
    """Return the first line of an error, without what it may quote of a record."""
    text = sub(r"[\"'].*[\"']", "...", str(error), flags=DOTALL) if holds_values(error) else str(error)
    return text.strip().split("\n", maxsplit=1)[0]


class Records(ConfigModel):
    """The base of all sources: the names of its columns.

    For a column that every row would repeat, set a constant, for example
    `constants={"flag_key": "landing-page"}`.
    """

    columns: dict[str, str] = Field(default={}, description="exd's column name: the log's own name.")
    constants: dict[str, Scalar] = Field(
        default={}, description="exd's column name: the one value of every row."
    )
    time_zone: str = Field(default="UTC", description="Zone of timestamps without an offset (IANA name).")
    time_format: str | None = Field(
        default=None,
        description="strptime pattern of timestamps written as text, such as '%d/%m/%Y %H:%M'; None: every "
        "usual form.",
    )
    name: str | None = Field(
        default=None, min_length=1, description="Name of this log in the store; None: its place."
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"'{zone}' is not an IANA time zone such as UTC or Europe/Berlin") from None
        return zone

    @field_validator("time_format")
    @classmethod
    def _strptime_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            datetime.strptime(datetime(2026, 3, 14, tzinfo=timezone.utc).strftime(pattern), pattern)  # noqa: DTZ007
        except ValueError:
            raise ValueError(f"{pattern!r} is not a strptime pattern such as %d/%m/%Y %H:%M:%S") from None
        if "'" in pattern or "%" not in pattern:
            raise ValueError(f"{pattern!r} is not a strptime pattern such as %d/%m/%Y %H:%M:%S")
        return pattern

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        twice = sorted(set(self.columns) & set(self.constants))
        if twice:
            raise ValueError(f"{', '.join(twice)}: given in columns and in constants; keep only one")
        if "timestamp" in self.constants or "unit_id_hash" in self.constants:
            raise ValueError("constants cannot replace timestamp or unit_id_hash; map their columns")
        return self

    @property
    def place(self) -> str:
        """Where the records are, as text for messages."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The name of this log in the store."""
        return self.name or self.place

    @property
    def column_map(self) -> ColumnMap:
        """How this log's columns become the canonical ones."""
        return ColumnMap(self.columns, self.constants, self.time_zone, self.time_format)

    def open(
        self, connection: Connection, start: datetime, end: datetime, extras: Sequence[str] = ()
    ) -> AbstractContextManager[Scan]:
        """Open the records for reading with DuckDB.

        Args:
            connection: an open connection; objects created in it are temporary and dropped on exit.
            start: records before this instant (UTC) need not be listed.
            end: nor records at or after this one.
            extras: further columns.

        Raises:
            RecordsError: when nothing can be read, naming file, column and fix.
        """
        raise NotImplementedError

    def without_damaged(self, connection: Connection, files: Sequence[str]) -> Self | None:  # noqa: ARG002
        """Return this source without the damaged ones of these files, None where none can be left out."""
        return None

    def marks(self, connection: Connection, start: datetime, end: datetime) -> Mapping[str, str] | None:  # noqa: ARG002
        """Return a mark for each file that changes with it; None if the log is not made of files.

        Args:
            connection: an open connection.
            start: files of records before this instant (UTC) need not be listed.
            end: nor those of records at or after this one.
        """
        return None

    def only(self, files: Sequence[str]) -> Self:  # noqa: ARG002
        """Return this log as if it had these of its files alone."""
        return self

    def raw_columns(self, extras: Sequence[str] | None = None) -> list[str]:
        """Return the log's own names, or paths, of what is read; without `extras`, of what must be there."""
        names = REQUIRED if extras is None else (*REQUIRED, *OPTIONAL, *extras)
        raw = [self.columns.get(name, name) for name in names if name not in self.constants]
        return list(dict.fromkeys(raw))


def describe(connection: Connection, relation: str, place: str) -> Mapping[str, str]:
    """Return the DuckDB type of each column of a relation.

    Raises:
        RecordsError: when the relation does not exist or cannot be read.
    """
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise RecordsError(f"{place} cannot be read: {error}") from error
    return {name: kind for name, kind, *_ in rows}
