"""The base of all sources of evaluation records."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timezone
from itertools import count
from re import DOTALL, sub
from typing import TypeAlias

import duckdb
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.config import ConfigModel, Scalar
from exd_dagster.config.calendar import Zone
from exd_dagster.errors import ConfigError, RecordsError
from exd_dagster.telemetry.canonical import Columns
from exd_dagster.telemetry.columns import ColumnMap
from exd_dagster.telemetry.export import check_export
from exd_dagster.telemetry.preset import Row, read_preset
from exd_dagster.telemetry.records import Scan
from exd_dagster.telemetry.unit_hash import NATIVE

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

    preset: str | None = Field(
        default=None, description="The vendor or SDK whose export this is, such as posthog; None: no one's."
    )
    unit: str | None = Field(
        default=None, description="Which of the preset's units is randomized; None: its usual one."
    )
    columns: dict[str, str | tuple[str, ...]] = Field(
        default={},
        description="exd's column name: the log's own name, a path to a field, or several of which a row's "
        "first is taken.",
    )
    constants: dict[str, Scalar] = Field(
        default={}, description="exd's column name: the one value of every row."
    )
    where: dict[str, str] = Field(
        default={},
        description="Which rows are exposures: own name or path: values, separated by |; '' is a missing "
        "value, '*' any.",
    )
    time_zone: Zone = Field(default="UTC", description="Zone of timestamps without an offset (IANA name).")
    time_format: str | None = Field(
        default=None,
        description="strptime pattern of timestamps written as text, such as '%d/%m/%Y %H:%M'; None: every "
        "usual form.",
    )
    name: str | None = Field(
        default=None, min_length=1, description="Name of this log in the store; None: its place."
    )

    @field_validator("time_format")
    @classmethod
    def _strptime_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        with suppress(ValueError):
            datetime.strptime(datetime(2026, 3, 14, tzinfo=timezone.utc).strftime(pattern), pattern)  # noqa: DTZ007
            if "'" not in pattern and "%" in pattern:
                return pattern
        raise ValueError(f"{pattern!r} is not a strptime pattern such as %d/%m/%Y %H:%M:%S")

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        twice = sorted(set(self.columns) & set(self.constants))
        if twice:
            raise ValueError(f"{', '.join(twice)}: given in columns and in constants; keep only one")
        if "timestamp" in self.constants or "unit_id_hash" in self.constants:
            raise ValueError("constants cannot replace timestamp or unit_id_hash; map their columns")
        if self.unit is not None and self.preset is None:
            raise ValueError("unit names one of a preset's units; give preset too, or map unit_id_hash")
        try:
            self.column_map  # noqa: B018 - an unknown preset or unit is an error here
        except ConfigError as error:
            raise ValueError(f"{error.subject}: {'; '.join(error.faults)}") from None
        return self

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the records are, as text for messages."""

    @property
    def label(self) -> str:
        """The name of this log in the store."""
        return self.name or self.place

    @property
    def column_map(self) -> ColumnMap:
        """How this log's columns become the canonical ones."""
        zone, form = self.time_zone, self.time_format
        if self.preset is None:
            return ColumnMap(self.columns, self.constants, zone, form, where=self.where)
        preset = read_preset(self.preset)
        return preset.column_map(
            self.unit, self.columns, self.constants, self.where, time_zone=zone, time_format=form
        )

    @contextmanager
    def resolved(
        self,
        connection: Connection,
        start: datetime,
        end: datetime,
        extras: Sequence[str] = (),
        hash_function: str = NATIVE,
    ) -> Iterator[Columns]:
        """Open the records and find their canonical columns; of a preset's log, look at its rows first.

        Args:
            connection: an open connection.
            start: records before this instant (UTC) need not be listed.
            end: nor records at or after this one.
            extras: columns wanted beside the contract's; those not found are left out.
            hash_function: of units that are text.

        Raises:
            RecordsError: when nothing can be read, a column is missing, or the log is not the preset's
                export.
        """
        column_map = self.column_map
        if self.preset is not None:
            check_export(self.place, column_map, self.sample(connection, start, end))
        with self.open(connection, start, end, extras) as scan:
            yield column_map.resolve(scan, extras, hash_function)

    @abstractmethod
    def sample(self, connection: Connection, start: datetime, end: datetime) -> Mapping[str, Sequence[Row]]:
        """Return some rows of the log as Python objects, by file where it is made of files.

        Args:
            connection: an open connection.
            start: files of records before this instant (UTC) need not be listed.
            end: nor those of records at or after this one.

        Raises:
            RecordsError: when the log cannot be read.
        """

    @abstractmethod
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
        return self.column_map.raw(extras)


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
