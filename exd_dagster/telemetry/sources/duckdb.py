"""Sources of evaluation records: plain values, opened only when used."""

import glob
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import duckdb
from pydantic import Field, PrivateAttr, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.preset import Row
from exd_dagster.telemetry.records import Scan, Unreadable, ident, literal
from exd_dagster.telemetry.sources.base import Connection, Records, describe, scratch_name
from exd_dagster.telemetry.sources.files import PathText, file_marks, is_sqlite, list_files, path_text
from exd_dagster.telemetry.sources.frames import as_columns
from exd_dagster.telemetry.sources.ibis import IbisRecords, ibis_records
from exd_dagster.telemetry.sources.parquet import damaged_files, open_parquet
from exd_dagster.telemetry.sources.sample import MOST_ROWS, frame_rows, relation_rows, spread, text_rows
from exd_dagster.telemetry.sources.text import Format, TextStage, text_format

__all__ = [
    "DataFrameRecords",
    "FileRecords",
    "IbisRecords",
    "ParquetRecords",
    "Records",
    "TableRecords",
    "as_records",
]


class _Files(Records):
    path: str | tuple[str, ...] = Field(
        description="Paths or globs, local or of any fsspec URL. %Y %m %d %H are replaced by the hour of the "
        "records: then only the files of the window are listed."
    )

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, path: object) -> object:
        return tuple(map(path_text, path)) if isinstance(path, (list, tuple)) else path_text(path)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path or glob."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def place(self) -> str:
        """The paths, separated by commas."""
        return ", ".join(self.paths)

    def marks(self, connection: Connection, start: datetime, end: datetime) -> dict[str, str]:
        """Return a mark for each file that changes with it; see `Records.marks`."""
        return file_marks(connection, list_files(connection, self.paths, start, end))

    def sample(self, connection: Connection, start: datetime, end: datetime) -> Mapping[str, Sequence[Row]]:
        """Return some rows of some of the files; see `Records.sample`."""
        files = spread(list_files(connection, self.paths, start, end))
        return {file: self._rows(connection, file, MOST_ROWS // len(files)) for file in files}

    @abstractmethod
    def _rows(self, connection: Connection, file: str, most: int) -> list[Row]:
        """Return up to `most` rows of a file."""

    def only(self, files: Sequence[str]) -> Self:
        """Return this log as if it had these of its files alone."""
        return self.model_copy(update={"path": tuple(map(glob.escape, files)), "name": self.label})


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
        if lost and not files:
            raise RecordsError(
                "\n  - ".join([f"{self.place}: no file can be read:", *map(str, self._damaged)])
            )
        scan = open_parquet(connection, files, self.raw_columns(extras), self.raw_columns(), self.place)
        yield replace(scan, unreadable=(*scan.unreadable, *self._damaged))

    def _rows(self, connection: Connection, file: str, most: int) -> list[Row]:
        return relation_rows(connection, f"read_parquet({literal(file)})", most)

    def without_damaged(self, connection: Connection, files: Sequence[str]) -> Self | None:
        """Leave out the files that turned out to be damaged inside, behind a footer that can be read."""
        damaged = damaged_files(connection, files)
        if not damaged:
            return None
        source = self.model_copy()
        source._damaged = (*self._damaged, *damaged)
        return source


class FileRecords(_Files):
    """NDJSON or CSV files, also gzipped; a line that cannot be read is counted and excluded.

    A CSV whose lines are each wrapped in one pair of quotes is read as if they were not.
    """

    format: Format | None = Field(
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

    @property
    def _kind(self) -> Format:
        return self.format or text_format(self.paths[0]) or "ndjson"

    @contextmanager
    def open(
        self, connection: Connection, start: datetime, end: datetime, extras: Sequence[str] = ()
    ) -> Iterator[Scan]:
        """Read the files into a temporary table; see `Records.open`."""
        files = list_files(connection, self.paths, start, end)
        table = scratch_name("lines")
        try:
            keep = partial(self.column_map.kept, flat=True)
            stage = TextStage(connection, table, self.raw_columns(extras), self.raw_columns(), keep)
            yield stage.read(files, self._kind, self.place)
        finally:
            connection.execute(f"DROP TABLE IF EXISTS {table}")

    def _rows(self, connection: Connection, file: str, most: int) -> list[Row]:
        return text_rows(connection, file, self._kind, most)


class TableRecords(Records):
    """A DuckDB table or view, in the store's own database or in another file, which is opened read-only."""

    table: str = Field(min_length=1, description='Name of the table; "schema.table" too.')
    database: PathText | None = Field(
        default=None, description="DuckDB file; None: the store's own database."
    )

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
        relation = self._relation(connection)
        yield Scan(self.place, relation, describe(connection, relation, self.place))

    def sample(
        self,
        connection: Connection,
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
    ) -> Mapping[str, Sequence[Row]]:
        """Return the first rows; see `Records.sample`."""
        relation = self._relation(connection)
        describe(connection, relation, self.place)
        return {self.place: relation_rows(connection, relation, MOST_ROWS)}

    def _relation(self, connection: Connection) -> str:
        alias = self._attach(connection)
        return ".".join(map(ident, ([alias] if alias else []) + self.table.split(".")))

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
        if is_sqlite(path):
            fix = "give a DuckDB file, or the table by Ibis: IbisRecords(connection=ibis.sqlite.connect(...))"
            raise RecordsError(f"{self.database} is a database of SQLite; {fix}")
        alias = scratch_name("database")
        try:
            connection.execute(f"ATTACH {literal(path)} AS {alias} (READ_ONLY)")
        except duckdb.Error as error:
            raise RecordsError(
                f"{self.database} cannot be opened: {error}\nIf another process writes to it, run again "
                "later."
            ) from error
        return alias


class DataFrameRecords(Records):
    """A pandas or polars DataFrame, or an Arrow table; made by `as_records`."""

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
        """Register the frame with DuckDB; see `Records.open`."""
        view = scratch_name("frame")
        columns = as_columns(self.frame, self.raw_columns(extras))
        try:
            connection.register(view, columns.frame)
            described = describe(connection, view, self.place)
            own = dict(zip(described, columns.names, strict=True))
            types = {own[sql]: kind for sql, kind in described.items()}
            renamed = {name: sql for sql, name in own.items() if sql != name}
            yield Scan(self.place, view, types, others=columns.others, renamed=renamed)
        except duckdb.InvalidInputException as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error
        finally:
            connection.unregister(view)

    def sample(
        self,
        connection: Connection,  # noqa: ARG002
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
    ) -> Mapping[str, Sequence[Row]]:
        """Return the first rows; see `Records.sample`."""
        return {self.place: frame_rows(self.frame, MOST_ROWS)}


def as_records(source: object, preset: str | None = None, unit: str | None = None) -> Records:
    """Return the records object of a log.

    Args:
        source: a records object, a DataFrame, an Ibis table, or a path, glob or URL (or a list of them).
        preset: the vendor or SDK whose export it is; None: as the records object says.
        unit: which of the preset's units is randomized.

    Raises:
        RecordsError: when it is none of these.
        ConfigError: for a preset or unit there is none of.
    """
    if preset is not None or unit is not None:
        plain = as_records(source)
        given = {name: getattr(plain, name) for name in plain.model_fields_set}
        return type(plain)(**{**given, "preset": preset or plain.preset, "unit": unit or plain.unit})
    if isinstance(source, Records):
        return source
    kind = f"{type(source).__module__.split('.')[0]}.{type(source).__name__}"
    if kind in ("pandas.DataFrame", "polars.DataFrame", "pyarrow.Table"):
        return DataFrameRecords(frame=source)
    if kind == "ibis.Table":
        return ibis_records(source)
    if kind == "polars.LazyFrame":
        raise RecordsError("a polars.LazyFrame holds no rows yet; give frame.collect()")
    listed = tuple(source) if isinstance(source, (list, tuple)) else (source,)
    if listed and all(isinstance(path, (str, PathLike)) and str(path) for path in listed):
        paths = tuple(str(path_text(path)) for path in listed)
        path = paths if len(paths) > 1 else paths[0]
        return FileRecords(path=path) if text_format(paths[0]) else ParquetRecords(path=path)
    raise RecordsError(
        f"{kind} is not a log of evaluations; give a DataFrame, a path or glob to Parquet, NDJSON or CSV "
        "files, or ParquetRecords, FileRecords, TableRecords or IbisRecords"
    )
