"""Bins out of the store, as arrays over a complete calendar."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.counting.audience import counts_the_same
from exd_dagster.bins.hours import ceil_hour, hour_of
from exd_dagster.bins.model import NO_FACTS, OTHER, Counts, Facts, FlagBins, Strings
from exd_dagster.bins.places.turns import transaction
from exd_dagster.bins.store.reading.delivery import delivered_hours, flag_volumes
from exd_dagster.bins.store.reading.names import Names
from exd_dagster.bins.store.registry import Registry, StoredFlag, StoredSource
from exd_dagster.config import FlagAudit, FlagId, floor_hour
from exd_dagster.errors import StoreError

MOST_UNDECLARED = 50
"""Number of undeclared variants kept by name; further ones are summed as `OTHER`."""

TOGETHER = 50
"""Flags read by one query: every query scans the bins of all flags."""

MOST_BYTES = 2**27
"""Memory for prefetched bins; beyond it the bins of a flag are read when needed."""

FACT_BYTES = 128
"""What one fact takes, about."""


def select_bins(
    connection: duckdb.DuckDBPyConnection, flag: FlagAudit, *, closed_only: bool = True
) -> FlagBins:
    """Return the bins of one flag; see `select_many`."""
    return next(select_many(connection, [flag], closed_only=closed_only))


def select_many(
    connection: duckdb.DuckDBPyConnection, flags: Sequence[FlagAudit], *, closed_only: bool = True
) -> Iterator[FlagBins]:
    """Return the bins of each flag from its start, in the order of the flags.

    Args:
        connection: the store.
        flags: the flags.
        closed_only: False adds the hours up to the newest record, the last of them possibly incomplete.

    Raises:
        StoreError: when the stored counts are of another definition of a flag.
    """
    rest, delivered = iter(flags), dict[tuple[int, str], set[int]]()
    while together := list(islice(rest, TOGETHER)):
        with transaction(connection):  # another worker may write between two queries
            stored = _Stored(connection, together, delivered)
        for flag in together:
            yield stored.bins(flag, closed_only=closed_only)


class _Stored:
    """What is stored of some flags, and of the logs they were counted from.

    `delivered` keeps the delivered hours of each log, by number of updates, for the flags read next.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        flags: Sequence[FlagAudit],
        delivered: dict[tuple[int, str], set[int]],
    ) -> None:
        registry, every = Registry(connection), Registry(connection).flags()
        self.flags = {flag.id: every[flag.id] for flag in flags if flag.id in every}
        numbers = [known.number for known in self.flags.values()]
        self.cells, self.facts = _cells(connection, numbers), _facts(connection, numbers)
        self.unmatched = Names(connection).of(numbers)
        logs = {known.source for known in self.flags.values()}
        self.sources = {log: registry.source(log) for log in logs}
        updates = stored_updates(connection)
        for log in logs:
            if (updates, log) not in delivered:
                delivered[updates, log] = _delivered(registry, log)
        self.delivered = {log: delivered[updates, log] for log in logs}

    def bins(self, flag: FlagAudit, *, closed_only: bool) -> FlagBins:
        known, first = self.flags.get(flag.id), hour_of(flag.start)
        if known is None:
            return _fill(flag, first, first, _NONE, NO_FACTS, set())
        _check_definition(known, flag)
        last = max(first, _last_hour(self.sources[known.source], known, flag, closed_only=closed_only))
        cells, facts = self.cells.get(known.number, _NONE), self.facts.get(known.number, NO_FACTS)
        bins = _fill(flag, first, last, cells, facts, self.delivered[known.source])
        return replace(bins, unmatched=self.unmatched.get(known.number, ()))


def _delivered(registry: Registry, source: str) -> set[int]:
    """Return the hours that a log has delivered; hours of an older store count as delivered."""
    records = registry.hours(source)
    unknown = {hour for hour, count in records.items() if not count}
    known = {hour: count for hour, count in records.items() if count} if unknown else records
    return unknown | delivered_hours(known, flag_volumes(registry.connection, source))


def _check_definition(known: StoredFlag, flag: FlagAudit) -> None:
    if not counts_the_same(known.definition, flag, known.read_through):
        raise StoreError(
            f"flag '{flag.id}' is stored as it was declared before; materialize its bins again to count it "
            "as it is declared now (the first run counts it from its start)"
        )


def _last_hour(source: StoredSource | None, known: StoredFlag, flag: FlagAudit, *, closed_only: bool) -> int:
    if source is None:
        return 0
    last = known.read_through + 1
    if closed_only:
        last = min(source.closed_through, known.read_through)
    return min(last, ceil_hour(flag.end)) if flag.end else last


@dataclass(frozen=True, slots=True)
class _Cells:
    """N stored cells of one flag in order of hour: hours int64 (N,), variants (N,), and counts int64 (5, N).

    The last two counts are facts about the units of the first.
    """

    hours: Counts
    variants: Strings
    counts: Counts

    def between(self, first: int, last: int) -> "_Cells":
        rows = slice(*self.hours.searchsorted((first, last)))
        return _Cells(self.hours[rows], self.variants[rows], self.counts[:, rows])

    def with_facts(self, noted: Facts) -> Facts:
        """Return the counts that are facts, and others."""
        hours, names, details, counts = [noted.hours], [noted.names], [noted.details], [noted.counts]
        for name, count in zip(_OF_UNITS, self.counts[3:], strict=True):
            rows = np.flatnonzero(count)
            hours.append(self.hours[rows])
            names.append(np.full(len(rows), name, dtype=object))
            details.append(self.variants[rows])
            counts.append(count[rows])
        order = np.argsort(np.concatenate(hours), kind="stable")
        columns: Any = (np.concatenate(column)[order] for column in (hours, names, details, counts))
        return Facts(*columns)


_OF_UNITS = ("multi_variant_units", "carry_over_units")
_NONE = _Cells(NO_FACTS.hours, NO_FACTS.names, np.zeros((5, 0), dtype=np.int64))


def _cells(connection: duckdb.DuckDBPyConnection, numbers: Collection[int]) -> dict[int, _Cells]:
    """Return what is stored of these flags, by number."""
    measures = ("new_units", "units", "evaluations", *_OF_UNITS)
    found = _rows(connection, numbers, "bins", ("variant", *measures))
    return {number: _Cells(hours, names, np.stack(counts)) for number, (hours, names, *counts) in found}


def _facts(connection: duckdb.DuckDBPyConnection, numbers: Collection[int]) -> dict[int, Facts]:
    """Return what else was seen, by number of the flag."""
    found = _rows(connection, numbers, "facts", ("name", "detail", "count"))
    return {number: Facts(*columns) for number, columns in found}


def _rows(
    connection: duckdb.DuckDBPyConnection, numbers: Collection[int], table: str, columns: Sequence[str]
) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Yield each of these flags that has rows: its number, and hour and columns of them in order of hour."""
    query = f"SELECT flag, hour, {', '.join(columns)} FROM exd_{table} WHERE {_of(numbers)}"
    flag, *rest = connection.execute(query).fetchnumpy().values()  # as rows they would take twice the time
    order = np.lexsort((rest[0], flag))
    for rows in np.split(order, np.flatnonzero(np.diff(flag[order])) + 1):
        if len(rows):
            yield int(flag[rows[0]]), [column[rows] for column in rest]


def _of(numbers: Collection[int]) -> str:
    return f"flag IN ({', '.join(map(str, numbers))})" if numbers else "false"


def _variants(flag: FlagAudit, cells: _Cells) -> tuple[str, ...]:
    """Return the declared variants, then undeclared ones by name; too many keep the most seen."""
    undeclared = sorted({*cells.variants.tolist()} - {*flag.variants})
    if len(undeclared) <= MOST_UNDECLARED:
        return (*flag.variants, *undeclared)
    seen = defaultdict[str, int](int)
    for variant, count in zip(cells.variants.tolist(), cells.counts[1:3].sum(axis=0).tolist(), strict=True):
        seen[variant] += count
    most = sorted(undeclared, key=lambda name: (-seen[name], name))[:MOST_UNDECLARED]
    return (*flag.variants, *sorted(most), OTHER)


def _fill(
    flag: FlagAudit, first: int, last: int, cells: _Cells, noted: Facts, delivered: Collection[int]
) -> FlagBins:
    cells = cells.between(first, last)
    variants = _variants(flag, cells)
    column = defaultdict(lambda: len(variants) - 1, {variant: i for i, variant in enumerate(variants)})
    at = np.fromiter(map(column.__getitem__, cells.variants.tolist()), np.int64, len(cells.variants))
    # Variant by variant in memory: sums over hours, or over few variants, are ten times as fast.
    counts: Counts = np.zeros((3, len(variants), last - first), dtype=np.int64)
    cell = at * (last - first) + cells.hours - first
    for grid, measure in zip(counts, cells.counts[:3], strict=True):
        np.add.at(grid.reshape(-1), cell, measure)
    return FlagBins(
        flag=flag.id,
        variants=variants,
        start=floor_hour(flag.start),
        new_units=counts[0].T,
        units=counts[1].T,
        evaluations=counts[2].T,
        delivered=np.isin(np.arange(first, last), list(delivered)),
        facts=cells.with_facts(noted.between(first, last)),
    )


class Prefetch:
    """Prefetch: reads the bins of many flags at once, and returns each when it is requested alone.

    Prefetched bins are dropped when the store was updated since, or the flag's definition differs.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._waiting: dict[FlagId, tuple[FlagAudit, FlagBins]] = {}
        self._updates, self._bytes = -1, 0

    def read_many(self, flags: Sequence[FlagAudit]) -> Iterator[FlagBins]:
        """Return the bins of each flag, in order; see `select_many`."""
        self._forget(stored_updates(self._connection))
        for flag, bins in zip(flags, select_many(self._connection, flags), strict=True):
            size = 3 * bins.units.nbytes + FACT_BYTES * len(bins.facts)
            if self._bytes + size <= MOST_BYTES:
                self._bytes += size
                self._waiting[flag.id] = (flag, bins)
            yield bins

    def read(self, flag: FlagAudit) -> FlagBins:
        """Return the bins of one flag; see `select_bins`."""
        if self._waiting and (updates := stored_updates(self._connection)) != self._updates:
            self._forget(updates)
        declared, bins = self._waiting.pop(flag.id, (None, None))
        return bins if bins is not None and declared == flag else select_bins(self._connection, flag)

    def _forget(self, updates: int) -> None:
        self._waiting, self._updates, self._bytes = {}, updates, 0


def stored_updates(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how often the store was updated."""
    ((updates,),) = connection.execute("SELECT updates FROM exd_meta").fetchall()
    return int(updates)
