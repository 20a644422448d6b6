"""The bin store as a Dagster resource: one open DuckDB file for each process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import DuckDBPyConnection, connect
from duckdb import Error as DuckDBError
from pydantic import PrivateAttr

from exd_dagster.bins.store.store import BinStore, cannot_open, is_locked, refuse_sqlite
from exd_dagster.errors import StoreError


class BinStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the DuckDB file once for a run (in process) or a step (multiprocess) and closes it after.

    Other resources may open the same file in the same process through `DuckDBResource`.
    """

    duckdb: DuckDBResource
    _connection: DuckDBPyConnection = PrivateAttr()
    _bins: BinStore = PrivateAttr()

    @property
    def connection(self) -> DuckDBPyConnection:
        """The open connection, for further tables in the same file."""
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
    """Open the file behind `duckdb`, and always close it, which `DuckDBResource` does not.

    Raises:
        StoreError: when another process still has the file locked after `DuckDBResource` has waited for it,
            or at once when the file cannot be opened for another reason.
    """
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
