"""Tables of Delta Lake and Apache Iceberg, read by DuckDB's extensions of that name.

A table's own log names its files, so that what a night added is found without listing or reading the others.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import ClassVar

import duckdb
from pydantic import Field, PrivateAttr
from typing_extensions import Self

from exd_dagster.errors import ExtensionError, RecordsError
from exd_dagster.telemetry.extensions import load_extension, reach_storage
from exd_dagster.telemetry.preset import Row
from exd_dagster.telemetry.records import Scan, literal
from exd_dagster.telemetry.sources.base import Connection, Records, describe
from exd_dagster.telemetry.sources.files import PathText
from exd_dagster.telemetry.sources.sample import MOST_ROWS, relation_rows


class LakehouseRecords(Records):
    """The base of tables whose files are named by a log: as of the newest snapshot when it is read."""

    extensions: ClassVar[tuple[str, ...]]
    _files: tuple[str, ...] | None = PrivateAttr(default=None)

    @abstractmethod
    def location(self) -> str:
        """Return the path or URL that DuckDB opens."""

    @abstractmethod
    def scan_sql(self, location: str) -> str:
        """Return SQL for all rows, with the column `filename`."""

    @abstractmethod
    def files_sql(self, location: str) -> str:
        """Return a query for file, number of records, and whether some of them may be deleted."""

    @contextmanager
    def open(
        self,
        connection: Connection,
        start: datetime,  # noqa: ARG002 - DuckDB skips files and row groups when it is read
        end: datetime,  # noqa: ARG002
        extras: Sequence[str] = (),  # noqa: ARG002
    ) -> Iterator[Scan]:
        """Open the newest snapshot; see `Records.open`."""
        relation = self._relation(connection)
        types = describe(connection, relation, self.place)
        yield Scan(self.place, relation, {name: kind for name, kind in types.items() if name != _FILE})

    def marks(
        self,
        connection: Connection,
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
    ) -> dict[str, str]:
        """Return the number of records that each file has left; see `Records.marks`."""
        where = self._reach(connection)
        found = self._rows(connection, self.files_sql(where))
        if any(deleted for _, _, deleted in found):
            found = self._rows(
                connection, f"SELECT {_FILE}, count(*), true FROM {self.scan_sql(where)} GROUP BY 1"
            )
        return {str(file): str(count) for file, count, _ in found}

    def only(self, files: Sequence[str]) -> Self:
        """Return this table as if it had these of its files alone."""
        part = self.model_copy()
        part._files = tuple(files)
        return part

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
        where = self._reach(connection)
        if self._files is None:
            return self.scan_sql(where)
        listed = ", ".join(map(literal, self._files))
        plain = f"read_parquet([{listed}])"
        if self._has_own_names(connection, plain):
            return plain
        return f"(SELECT * FROM {self.scan_sql(where)} WHERE {_FILE} IN ({listed}))"

    def _has_own_names(self, connection: Connection, files: str) -> bool:
        """Whether files have the columns under the table's names, and none is only in their path."""
        try:
            names = describe(connection, files, self.place)
        except RecordsError:
            return False
        return all(name in names for name in self.raw_columns())

    def _reach(self, connection: Connection) -> str:
        where = self.location()
        try:
            for extension in self.extensions:
                load_extension(connection, extension)
            reach_storage(connection, where)
        except ExtensionError:
            raise
        except duckdb.Error as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error
        return where

    def _rows(self, connection: Connection, query: str) -> list[tuple[object, ...]]:
        try:
            return connection.execute(query).fetchall()
        except duckdb.Error as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error


class DeltaRecords(LakehouseRecords):
    """A table of Delta Lake: deletion vectors, renamed columns and partitions are those of its log."""

    extensions = ("delta",)
    path: PathText = Field(
        min_length=1, description="Folder or URL of the table, that which holds _delta_log."
    )

    @property
    def place(self) -> str:
        """Its path."""
        return self.path

    def location(self) -> str:
        """See `LakehouseRecords.location`."""
        return self.path

    def scan_sql(self, location: str) -> str:
        """See `LakehouseRecords.scan_sql`."""
        return f"delta_scan({literal(location)}, filename = true)"

    def files_sql(self, location: str) -> str:
        """See `LakehouseRecords.files_sql`."""
        return f"SELECT data_file, cardinality, have_deletes FROM delta_list_files({literal(location)})"


class IcebergRecords(LakehouseRecords):
    """A table of Apache Iceberg, of a catalog or by its path.

    A catalog is one that PyIceberg knows: from `.pyiceberg.yaml` or the environment
    (`PYICEBERG_CATALOG__PROD__URI`), with its secrets.
    """

    extensions = ("avro", "iceberg")
    table: PathText = Field(
        min_length=1,
        description="Of a catalog its name, such as telemetry.flag_evaluations; else the path or URL of its "
        "newest metadata file, or of its folder where that has a version-hint.text.",
    )
    catalog: str | None = Field(default=None, description="Name of a catalog of PyIceberg; None: none.")

    @property
    def place(self) -> str:
        """Catalog and name, or the path."""
        return f"{self.catalog}:{self.table}" if self.catalog else self.table

    def location(self) -> str:
        """Return the metadata file of the newest snapshot, or the folder.

        Raises:
            ExtensionError: when PyIceberg is missing.
            RecordsError: when the catalog does not have the table.
        """
        if self.catalog is None:
            return self.table
        try:
            from pyiceberg.catalog import load_catalog
        except ImportError as error:
            raise ExtensionError(
                f"{self.place} needs PyIceberg; pip install 'exd-dagster[iceberg]', or give the path of its "
                "metadata file"
            ) from error
        try:
            return str(load_catalog(self.catalog).load_table(self.table).metadata_location)
        except Exception as error:  # catalogs raise errors of their own libraries
            raise RecordsError(f"{self.place} cannot be read: {error}") from error

    def scan_sql(self, location: str) -> str:
        """See `LakehouseRecords.scan_sql`."""
        return f"iceberg_scan({literal(location)}, filename = true)"

    def files_sql(self, location: str) -> str:
        """See `LakehouseRecords.files_sql`."""
        data = "content = 'EXISTING'"
        return (
            f"SELECT file_path, record_count, bool_or(NOT {data}) OVER () AS deleted "
            f"FROM iceberg_metadata({literal(location)}) WHERE status <> 'DELETED' QUALIFY {data}"
        )


_FILE = "filename"
