"""The bin store as a Dagster resource: one connection per process, closed whatever happens."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from exd_dagster.bins.store import BinStore


class BinStoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the DuckDB file once for a run (in process) or a step (multiprocess) and closes it after.

    Other resources may open the same file in the same process through `DuckDBResource`.
    """

    duckdb: DuckDBResource
    _bins: BinStore = PrivateAttr()

    @property
    def bins(self) -> BinStore:
        """The open store."""
        return self._bins

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["BinStoreResource"]:  # noqa: ARG002
        """Open the store for the run or step that asked for it."""
        with open_bin_store(self.duckdb) as store:
            self._bins = store
            yield self


@contextmanager
def open_bin_store(duckdb: DuckDBResource) -> Iterator[BinStore]:
    """Open the store behind `duckdb` outside of a run."""
    opened = duckdb.get_connection()
    with closing(opened.__enter__()) as connection:
        yield BinStore(connection)
