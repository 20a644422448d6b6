"""Bins read ahead: those of many flags cost one passage over the store, and so do those of one flag."""

from collections.abc import Iterator, Sequence

import duckdb

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.select import select_bins, select_many
from exd_dagster.config import FlagAudit, FlagId

MOST_BYTES = 2**27
"""Memory for bins that wait to be asked for; beyond it a flag's bins are read when they are."""

FACT_BYTES = 128
"""What one fact takes, about."""


class ReadAhead:
    """Reads the bins of many flags at once, and hands each out once more when it is asked for alone.

    What waits is as good as the store: it is dropped when the store was updated since, or the flag is asked
    for as it is declared otherwise.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._waiting: dict[FlagId, tuple[FlagAudit, FlagBins]] = {}
        self._updates, self._bytes = -1, 0

    def read_many(self, flags: Sequence[FlagAudit]) -> Iterator[FlagBins]:
        """Return the bins of each flag, in order; see `select_many`."""
        self._forget(self._stored_updates())
        for flag, bins in zip(flags, select_many(self._connection, flags), strict=True):
            size = 3 * bins.units.nbytes + FACT_BYTES * len(bins.facts)
            if self._bytes + size <= MOST_BYTES:
                self._bytes += size
                self._waiting[flag.id] = (flag, bins)
            yield bins

    def read(self, flag: FlagAudit) -> FlagBins:
        """Return the bins of one flag; see `select_bins`."""
        if self._waiting and (updates := self._stored_updates()) != self._updates:
            self._forget(updates)
        declared, bins = self._waiting.pop(flag.id, (None, None))
        return bins if bins is not None and declared == flag else select_bins(self._connection, flag)

    def _forget(self, updates: int) -> None:
        self._waiting, self._updates, self._bytes = {}, updates, 0

    def _stored_updates(self) -> int:
        ((updates,),) = self._connection.execute("SELECT updates FROM exd_meta").fetchall()
        return int(updates)
