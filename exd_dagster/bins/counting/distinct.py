"""Count distinct units and evaluations of an hour by sorting values.

Sorting the few values of an hour in cache is several times faster than finding them in one hash table over
all units and hours, which is what a GROUP BY unit, hour would build.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

_LARGE = 1000
"""Values of a bin that are worth a thread."""
NO_ID = 0
"""Marks a missing evaluation id: each such row is one evaluation."""

Values: TypeAlias = npt.NDArray[Any]
"""Units or ids: whole numbers of any width. Lists of them are arrays of such arrays."""


def count_kinds(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Count the lists of kinds into `exd_kinds`, without the lists.

    For each kind `once` is its evaluations by id. The first kind of each flag, hour and variant has the
    `units` and `evaluations` of all counted ones, every other kind has none.

    Args:
        connection: any.
        query: SELECT of kinds with `target`, `hour`, `variant`, whether they are `counted`, number `n` of
            rows, and lists `units` and, where rows have ids, `ids`. No value may be NULL.
    """
    found = {name: np.asarray(values) for name, values in connection.execute(query).fetchnumpy().items()}
    units, ids = found.pop("units"), found.pop("ids", None)
    _save(connection, {**found, "kind": np.arange(len(units))})
    ordered = connection.execute(
        "SELECT kind, dense_rank() OVER (ORDER BY counted, target, hour, variant) AS bin FROM exd_kinds "
        "ORDER BY bin, kind"
    ).fetchnumpy()
    kinds = np.asarray(ordered["kind"])
    rows = found["n"][kinds]
    bins = np.append(np.flatnonzero(np.diff(ordered["bin"], prepend=0)), len(kinds))  # start of each bin
    edges = np.append(0, np.cumsum(rows))[bins]
    once, distinct, evaluations = rows.copy(), np.zeros_like(rows), np.zeros_like(rows)
    distinct[bins[:-1]] = np.diff(edges) - repeats(units[kinds], edges)
    evaluations[bins[:-1]] = np.diff(edges)
    if ids is not None:
        repeated = np.flatnonzero(repeats(ids[kinds], edges))
        for first, last in zip(bins[repeated].tolist(), bins[repeated + 1].tolist(), strict=True):
            members = kinds[first:last]
            once[first:last] = [distinct_ids(some) for some in ids[members]]
            pairs = (np.concatenate(values[members]) for values in (units, ids))
            evaluations[first] = distinct_pairs(*pairs)
    counts = {"once": once, "units": distinct, "evaluations": evaluations}
    _save(connection, {**{name: values[kinds] for name, values in found.items()}, **counts})


def repeats(lists: Values, edges: Values) -> Values:
    """Return how many values of each bin equal another one of it.

    Args:
        lists: of values, one after the other.
        edges: the place of each bin's first value among them all, then their number.
    """
    if not len(lists):
        return np.zeros(0, np.int64)
    values = np.concatenate(lists)
    _sort_bins(values, edges)
    same = np.append(False, values[1:] == values[:-1])
    same[edges[:-1]] = False
    return np.add.reduceat(same, edges[:-1], dtype=np.int64)


def _sort_bins(values: Values, edges: Values) -> None:
    """Sort each bin in place; large ones on several threads, since numpy releases the GIL while sorting."""

    def sort(some: Values) -> None:
        for first, last in pairwise(some.tolist()):
            values[first:last].sort()

    bins = len(edges) - 1
    threads = min(4, os.cpu_count() or 1, bins, len(values) // (_LARGE * bins) + 1)
    parts = [edges[part[0] : part[-1] + 2] for part in np.array_split(np.arange(bins), threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(sort, parts))


def distinct_ids(ids: Values) -> int:
    """Return how many different ids there are, each missing one counted."""
    return len(np.unique(ids[ids != NO_ID])) + int(np.count_nonzero(ids == NO_ID))


def distinct_pairs(units: Values, ids: Values) -> int:
    """Return how many different pairs of unit and id there are, each missing id counted."""
    order = np.lexsort((ids, units))
    units, ids = units[order], ids[order]
    same = (units[1:] == units[:-1]) & (ids[1:] == ids[:-1]) & (ids[1:] != NO_ID)
    return len(ids) - int(np.count_nonzero(same))


def _save(connection: duckdb.DuckDBPyConnection, columns: dict[str, Values]) -> None:
    connection.register("exd_found", columns)
    try:
        connection.execute("CREATE OR REPLACE TEMP TABLE exd_kinds AS FROM exd_found")
    finally:
        connection.unregister("exd_found")
