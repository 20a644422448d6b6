"""The bin store as a Dagster resource: one open DuckDB file for each process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import DuckDBPyConnection
from duckdb import Error as DuckDBError
from pydantic import PrivateAttr

from exd_dagster.bins.store import BinStore, cannot_open
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
        """The open connection, for tables beside the bins."""
        return self._connection

    @property
    def bins(self) -> BinStore:
        """The bins."""
        return self._bins

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["BinStoreResource"]:  # noqa: ARG002
        """Open the store for the run or step that asked for it."""
        with connected(self.duckdb) as connection:
            self._connection, self._bins = connection, BinStore(connection)
            yield self


def bin_store(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, key: str
) -> BinStoreResource:
    """Return the bin store that a step asked for under a resource key."""
    store: BinStoreResource = getattr(context.resources, key)
    return store


@contextmanager
def connected(duckdb: DuckDBResource) -> Iterator[DuckDBPyConnection]:
    """Open the file behind `duckdb`, and close it whatever happens, which `DuckDBResource` does not.

    Raises:
        StoreError: when another process still holds the file after `DuckDBResource` has waited for it.
    """
    try:
        opened = duckdb.get_connection().__enter__()
    except DuckDBError as error:
        raise StoreError(cannot_open(duckdb.database, error)) from error
    with closing(opened) as connection:
        yield connection
