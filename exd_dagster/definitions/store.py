"""The bin store as a Dagster resource: opened once for each process, wherever it is."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import DuckDBPyConnection, connect
from duckdb import Error as DuckDBError
from pydantic import Field, PrivateAttr

from exd_dagster.bins.places import Place
from exd_dagster.bins.places.file import FilePlace, cannot_open, is_locked, refuse_sqlite
from exd_dagster.bins.places.lake import LakePlace
from exd_dagster.bins.store.store import BinStore
from exd_dagster.errors import StoreError


class DuckLakeResource(DuckDBResource):
    """A DuckLake, which workers on several machines share: `store=` of an audit, a connection for reports.

    The catalog is in PostgreSQL (or in a file, for one machine), the data in a folder or on object storage.
    S3 is reached with the usual environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), without a
    key by the chain of the AWS SDK; for other storages give `setup`.

    Examples:
        >>> store = DuckLakeResource(
        ...     catalog=dg.EnvVar("EXD_CATALOG"),  # postgres:dbname=exd host=db user=exd password=...
        ...     data_path="s3://company-exd/bins/",
        ... )
    """

    database: str = Field(default=":memory:", description="Not used: a lake has no file of its own.")
    catalog: str = Field(
        description="`postgres:dbname=... host=...` (or postgresql://...), `sqlite:<file>`, or the path of a "
        "DuckDB file, which one process at a time may open."
    )
    data_path: str = Field(
        default="", description="Folder or URL of the data; may be left out for a lake that exists."
    )
    schema_name: str = Field(default="main", description="Schema of the store in the lake.")
    retention_days: float = Field(
        default=7.0, gt=0, description="For how many days earlier states, and files only they need, are kept."
    )
    setup: list[str] = Field(
        default=[], description="SQL to run before the lake is attached, such as CREATE SECRET."
    )

    @property
    def place(self) -> LakePlace:
        """Where it is."""
        return LakePlace(
            resolved(self.catalog),
            resolved(self.data_path),
            resolved(self.schema_name),
            timedelta(days=self.retention_days),
            [resolved(statement) for statement in self.setup],
            self.connection_config,
        )

    @contextmanager
    def get_connection(self) -> Iterator[DuckDBPyConnection]:
        """Give a connection that uses the lake, and close it.

        Raises:
            StoreError: when the lake cannot be opened, with the fix.
        """
        with closing(self.place.connect()) as connection:
            yield connection


def resolved(value: Any) -> str:
    """Return a setting as text; "" for an environment variable that is not set."""
    return str(value.get_value() or "") if isinstance(value, dg.EnvVar) else str(value)


def place_of(resource: DuckDBResource) -> Place:
    """Return where a resource's store is."""
    if isinstance(resource, DuckLakeResource):
        return resource.place
    return FilePlace(resolved(resource.database), resource.connection_config)


class BinStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the store once for a run (in process) or a step (multiprocess) and closes it after.

    Other resources may open the same file in the same process through `DuckDBResource`.
    """

    duckdb: DuckDBResource
    _connection: DuckDBPyConnection = PrivateAttr()
    _bins: BinStore = PrivateAttr()

    @property
    def connection(self) -> DuckDBPyConnection:
        """The open connection, for further tables in the same store."""
        return self._connection

    @property
    def bins(self) -> BinStore:
        """The bins."""
        return self._bins

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["BinStoreResource"]:  # noqa: ARG002
        """Open the store for a run or step."""
        with connected(self.duckdb) as connection:
            self._connection, self._bins = connection, BinStore(connection)
            yield self


def bin_store(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, key: str
) -> BinStoreResource:
    """Return the bin store of a step, by resource key."""
    store: BinStoreResource = getattr(context.resources, key)
    return store


@contextmanager
def connected(duckdb: DuckDBResource) -> Iterator[DuckDBPyConnection]:
    """Open the store behind `duckdb`, and always close it, which `DuckDBResource` does not.

    Raises:
        StoreError: when another process still has the file locked after `DuckDBResource` has waited for it,
            or at once when the store cannot be opened for another reason.
    """
    if isinstance(duckdb, DuckLakeResource):
        opened = duckdb.place.connect()
    else:
        refuse_sqlite(duckdb.database)
        try:
            opened = _open(duckdb)
        except (DuckDBError, RuntimeError) as error:
            raise StoreError(cannot_open(duckdb.database, error)) from error
    with closing(opened) as connection:
        yield connection


def _open(resource: DuckDBResource) -> DuckDBPyConnection:
    """Open the file; only a lock is worth waiting for, which `DuckDBResource` does whatever the fault is."""
    if type(resource).get_connection is DuckDBResource.get_connection:
        try:
            # as DuckDBResource opens it: one process may not open a file in two ways
            config = {"custom_user_agent": "dagster", **resource.connection_config}
            return connect(resource.database, read_only=False, config=config)
        except (DuckDBError, RuntimeError) as error:
            if not is_locked(error):
                raise
    connection: DuckDBPyConnection = resource.get_connection().__enter__()
    return connection
