"""Where evaluation records are read from: plain values, opened only when they are used."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import duckdb
from pydantic import Field, PrivateAttr, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.config import ConfigModel, Scalar
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.files import list_files
from exd_dagster.telemetry.parquet import damaged_files, open_parquet
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, ColumnMap, Scan, Unreadable, ident
from exd_dagster.telemetry.text import TextStage, text_format

if TYPE_CHECKING:
    import pandas as pd

Connection: TypeAlias = duckdb.DuckDBPyConnection

_serial = count()


def scratch_name(what: str) -> str:
    """Return a name for a temporary object that no other scan of this process uses."""
    return f"exd_{what}_{next(_serial)}"


class Records(ConfigModel):
    """What every source has: how its columns are named.

    A log without a column that every row would repeat says so once, for example
    `constants={"flag_key": "landing-page"}`.
    """

    columns: dict[str, str] = Field(default={}, description="exd's column name: the log's own name.")
    constants: dict[str, Scalar] = Field(
        default={}, description="exd's column name: the one value of every row."
    )
    time_zone: str = Field(default="UTC", description="Zone of timestamps without an offset (IANA name).")
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

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        twice = sorted(set(self.columns) & set(self.constants))
        if twice:
            raise ValueError(f"{', '.join(twice)}: given in columns and in constants; keep one")
        if "timestamp" in self.constants or "unit_id_hash" in self.constants:
            raise ValueError(
                "constants cannot stand for timestamp or unit_id_hash; map the columns that hold them"
            )
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
        return ColumnMap(self.columns, self.constants, self.time_zone)

    def open(
        self, connection: Connection, start: datetime, end: datetime, extras: Sequence[str] = ()
    ) -> AbstractContextManager[Scan]:
        """Open the records for reading with DuckDB.

        Args:
            connection: an open connection; what is created in it is temporary and gone on exit.
            start: records before this instant (UTC) need not be listed.
            end: nor records at or after this one.
            extras: columns wanted beside the contract's.

        Raises:
            RecordsError: when nothing can be read, naming file, column and fix.
        """
        raise NotImplementedError

    def without_damaged(self, connection: Connection, files: Sequence[str]) -> Self | None:  # noqa: ARG002
        """Return this source without the damaged ones of these files, None where none can be left out."""
        return None

    def raw_columns(self, extras: Sequence[str] | None = None) -> list[str]:
        """Return the log's own names of the columns read; without `extras`, those that must be there."""
        names = REQUIRED if extras is None else (*REQUIRED, *OPTIONAL, *extras)
        raw = [self.columns.get(name, name) for name in names if name not in self.constants]
        objects = [name.partition(".")[0] for name in raw if "." in name]
        return list(dict.fromkeys([*raw, *objects]))


class _Files(Records):
    path: str | tuple[str, ...] = Field(
        description="Paths or globs, local or of any fsspec URL. %Y %m %d %H stand for the hour of the "
        "records: then only the files of the window are listed."
    )

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, path: object) -> object:
        if isinstance(path, PathLike):
            return fspath(path)
        return tuple(fspath(p) for p in path) if isinstance(path, (list, tuple)) else path

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path or glob."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def place(self) -> str:
        """The paths, separated by commas."""
        return ", ".join(self.paths)


class ParquetRecords(_Files):
    """Parquet files; a file that cannot be read is named and left out, the others count."""

    _damaged: tuple[Unreadable, ...] = PrivateAttr(default=())

    @contextmanager
    def open(
        self, connection: Connection, start: datetime, end: datetime, extras: Sequence[str] = ()
    ) -> Iterator[Scan]:
        """Open the files; see `Records.open`."""
        lost = {fault.file for fault in self._damaged}
        files = [file for file in list_files(connection, self.paths, start, end) if file not in lost]
        scan = open_parquet(connection, files, self.raw_columns(extras), self.raw_columns(), self.place)
        yield replace(scan, unreadable=(*scan.unreadable, *self._damaged))

    def without_damaged(self, connection: Connection, files: Sequence[str]) -> Self | None:
        """Leave out the files that turned out to be damaged inside, behind a footer that can be read."""
        damaged = damaged_files(connection, files)
        if not damaged:
            return None
        source = self.model_copy()
        source._damaged = (*self._damaged, *damaged)
        return source


class FileRecords(_Files):
    """NDJSON or CSV files, also gzipped; a line that cannot be read is counted and left out.

    A CSV whose lines are each wrapped in one pair of quotes is read as if they were not.
    """

    format: Literal["ndjson", "csv"] | None = Field(
        default=None, description="None: by the ending of the path (.ndjson, .jsonl, .json, .csv, .tsv)."
    )

    @model_validator(mode="after")
    def _known_format(self) -> Self:
        for path in self.paths:
            if self.format is None and text_format(path) is None:
                raise ValueError(
                    f"'{path}' does not end in .ndjson, .jsonl, .json, .csv or .tsv; give format="
                )
        return self

    @contextmanager
    def open(
        self, connection: Connection, start: datetime, end: datetime, extras: Sequence[str] = ()
    ) -> Iterator[Scan]:
        """Read the files into a temporary table; see `Records.open`."""
        files = list_files(connection, self.paths, start, end)
        kind = self.format or text_format(self.paths[0]) or "ndjson"
        table = scratch_name("lines")
        try:
            stage = TextStage(connection, table, self.raw_columns(extras), self.raw_columns())
            yield stage.read(files, kind, self.place)
        finally:
            connection.execute(f"DROP TABLE IF EXISTS {table}")


class TableRecords(Records):
    """A DuckDB table or view, in the store's own database or in another file, which is opened read-only."""

    table: str = Field(min_length=1, description='Name of the table; "schema.table" too.')
    database: str | None = Field(default=None, description="DuckDB file; None: the store's own database.")

    @field_validator("database", mode="before")
    @classmethod
    def _path(cls, database: object) -> object:
        return fspath(database) if isinstance(database, PathLike) else database

    @property
    def place(self) -> str:
        """File and table."""
        return f"{self.database}:{self.table}" if self.database else self.table

    @contextmanager
    def open(
        self,
        connection: Connection,
        start: datetime,  # noqa: ARG002 - a table is pruned when it is read
        end: datetime,  # noqa: ARG002
        extras: Sequence[str] = (),  # noqa: ARG002
    ) -> Iterator[Scan]:
        """Attach the file if there is one; see `Records.open`.

        It stays attached until the connection closes: DuckDB detaches nothing inside a transaction.
        """
        alias = self._attach(connection)
        parts = ([alias] if alias else []) + self.table.split(".")
        relation = ".".join(ident(part) for part in parts)
        yield Scan(self.place, relation, describe(connection, relation, self.place))

    def _attach(self, connection: Connection) -> str | None:
        if self.database is None:
            return None
        path = str(Path(self.database).resolve())
        attached = connection.execute("SELECT database_name, path FROM duckdb_databases()").fetchall()
        for name, known in attached:
            if known and str(Path(known).resolve()) == path:
                return str(name)
        if not Path(path).is_file():
            raise RecordsError(f"{self.database} does not exist; correct database= of TableRecords")
        alias = scratch_name("database")
        try:
            connection.execute(f"ATTACH '{path.replace(chr(39), chr(39) * 2)}' AS {alias} (READ_ONLY)")
        except duckdb.Error as error:
            raise RecordsError(
                f"{self.database} cannot be opened: {error}\nIf another process writes to it, run again "
                f"later."
            ) from error
        return alias


class DataFrameRecords(Records):
    """A pandas DataFrame; made by `as_records`."""

    frame: Any

    @property
    def place(self) -> str:
        """What it is."""
        return "DataFrame"

    @contextmanager
    def open(
        self,
        connection: Connection,
        start: datetime,  # noqa: ARG002 - a frame is pruned when it is read
        end: datetime,  # noqa: ARG002
        extras: Sequence[str] = (),
    ) -> Iterator[Scan]:
        """Show the frame to DuckDB; see `Records.open`."""
        view = scratch_name("frame")
        wanted = set(self.raw_columns(extras))
        connection.register(view, _plain_objects(self.frame, wanted))
        try:
            others = tuple(str(name) for name in self.frame.columns)
            yield Scan(self.place, view, describe(connection, view, self.place), others=others)
        finally:
            connection.unregister(view)


class IbisRecords(Records):
    """A table of a foreign engine (Spark, PostgreSQL, Snowflake, BigQuery, ...), through Ibis.

    The engine counts, from the flag's start in every run; only bins leave it. Its timestamps must be
    timestamps.
    """

    connection: Any = Field(description="An Ibis backend, for example ibis.postgres.connect(...).")
    table: str = Field(min_length=1, description="Name of the table.")
    database: str | None = Field(
        default=None, description="Schema or database of the table, as Ibis takes it."
    )

    @property
    def place(self) -> str:
        """Engine and table."""
        return f"{self.connection.name}:{self.database + '.' if self.database else ''}{self.table}"

    def expression(self) -> Any:
        """Return the table as an Ibis expression.

        Raises:
            RecordsError: when it cannot be reached, lacks a column, or its timestamp is none.
        """
        try:
            table = self.connection.table(self.table, database=self.database)
        except Exception as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error
        faults = [
            f"it has no column '{self.columns.get(name, name)}' for {name}.{self.hint(table, name)}"
            for name in REQUIRED
            if self.column(table, name) is None
        ]
        if not faults and not self.column(table, "timestamp").type().is_timestamp():
            kind = self.column(table, "timestamp").type()
            faults = [f"timestamp has type {kind}; give a view in which it is a timestamp in UTC"]
        if self.time_zone != "UTC":
            faults.append(f"time_zone is {self.time_zone}; give a view in which timestamp is in UTC")
        if faults:
            raise RecordsError("\n  - ".join([f"{self.place} cannot be read:", *faults]))
        return table

    def column(self, table: Any, name: str) -> Any:
        """Return a column by exd's name, None when the table does not have it."""
        import ibis

        if name in self.constants:
            return ibis.literal(str(self.constants[name]))
        wanted = self.columns.get(name, name)
        raw = next((c for c in table.columns if c == wanted), None)
        raw = raw or next((c for c in table.columns if c.lower() == wanted.lower()), None)
        base, _, key = wanted.partition(".")
        if raw is None and key and base in table.columns:
            kind = table[base].type()
            has = kind.is_map() or (kind.is_struct() and key in kind.names)
            return table[base][key] if has else None
        return None if raw is None else table[raw]

    def hint(self, table: Any, name: str) -> str:
        """Return " Did you mean ...?" for a column that is not there."""
        return did_you_mean(self.columns.get(name, name), table.columns)


def _plain_objects(frame: "pd.DataFrame", wanted: set[str]) -> "pd.DataFrame":
    """Keep the wanted columns; a column of mixed Python objects becomes text, missing values stay missing."""
    import pandas as pd

    names = [name for name in frame.columns if str(name) in wanted] or list(frame.columns)
    columns = {str(name): frame[name] for name in names}
    plain = {
        name: values.map(_as_text, na_action="ignore") if values.dtype == object else values
        for name, values in columns.items()
    }
    shown: pd.DataFrame = pd.DataFrame(plain)
    return shown


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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


def as_records(source: object) -> Records:
    """Return the records object for what a person would call a log.

    Args:
        source: a records object, a DataFrame, an Ibis table, or a path, glob or URL (or a list of them).

    Raises:
        RecordsError: when it is none of these.
    """
    if isinstance(source, Records):
        return source
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if kind == "pandas.DataFrame":
        return DataFrameRecords(frame=source)
    if isinstance(source, (str, PathLike, list, tuple)) and source:
        paths = tuple(fspath(p) for p in (source if isinstance(source, (list, tuple)) else [source]))
        path = paths if len(paths) > 1 else paths[0]
        return FileRecords(path=path) if text_format(paths[0]) else ParquetRecords(path=path)
    raise RecordsError(
        f"{kind} is not a log of evaluations; give a DataFrame, a path or glob to Parquet, NDJSON or CSV "
        f"files, "
        "or ParquetRecords, FileRecords, TableRecords or IbisRecords"
    )
