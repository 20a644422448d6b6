"""Bins by segment out of the store."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from exd_dagster.bins.hours import hour_of
from exd_dagster.bins.model import ADMITTED, OTHER, Counts, FlagBins, FlagSegments, Segment, no_segments
from exd_dagster.bins.rows import insert_rows
from exd_dagster.bins.store.registry import Registry
from exd_dagster.config import FlagAudit
from exd_dagster.config.dimensions import dimensions_of

NONE = "(none)"
"""Name of an empty value of a dimension."""
MOST_VALUES = 200
"""Number of values of a dimension kept by name: the first to have `ADMITTED` units, then the largest others.

The values kept depend only on earlier counts, so a later hour never removes one.
"""


def select_segments(connection: duckdb.DuckDBPyConnection, flag: FlagAudit, bins: FlagBins) -> FlagSegments:
    """Return the segments of a flag over the hours of its bins, by those of its dimensions that are counted.

    Args:
        connection: the store.
        flag: the flag.
        bins: its bins, whose hours and variants the segments have.
    """
    registry = Registry(connection)
    known = registry.flags().get(flag.id)
    since = registry.dimensions().get(known.number, {}) if known is not None and len(bins) else {}
    listed = [name for name in dimensions_of(flag) if name in since]
    if known is None or not listed:
        return no_segments(bins)
    first = hour_of(bins.start)
    cells = (
        f"(SELECT * FROM exd_segments WHERE flag = {known.number} AND hour >= {first} "
        f"AND hour < {first + len(bins)} AND list_contains(?, dimension))"
    )
    names = _number_cells(connection, cells, listed, bins.variants)
    query = f"SELECT cell, hour, new_units FROM {cells} JOIN exd_named USING (dimension, value, variant)"
    found: Any = connection.execute(query, [listed]).fetchnumpy()
    cell, hour, units = found.values()
    counts: Counts = np.zeros((len(names), len(bins.variants), len(bins)), dtype=np.int64)
    np.add.at(counts.reshape(-1), cell * len(bins) + hour - first, units)
    return FlagSegments(
        bins.start,
        bins.variants,
        tuple(Segment(name, value, max(since[name] - first, 0)) for name, value in names),
        counts.swapaxes(1, 2),
    )


def _number_cells(
    connection: duckdb.DuckDBPyConnection, cells: str, listed: Sequence[str], variants: Sequence[str]
) -> list[tuple[str, str]]:
    """Number the values kept by name, by variant: `exd_named`; return the names of the values."""
    query = f"SELECT DISTINCT dimension, value, variant FROM {cells} ORDER BY ALL"
    seen = connection.execute(query, [listed]).fetchall()
    shown = {(name, value): value or NONE for name, value, _ in seen}
    if max(Counter(name for name, _ in shown).values(), default=0) > MOST_VALUES:
        shown |= {at[:2]: OTHER for at in _in_order(connection, cells, listed) if at[2] > MOST_VALUES}
    names = sorted({(name, value) for (name, _), value in shown.items()})
    number = {segment: i * len(variants) for i, segment in enumerate(names)}
    column = {variant: i for i, variant in enumerate(variants)}
    # a variant that the bins do not name is among their others, the last
    rows = [
        (name, value, variant, number[name, shown[name, value]] + column.get(variant, len(variants) - 1))
        for name, value, variant in seen
    ]
    columns = "(dimension VARCHAR, value VARCHAR, variant VARCHAR, cell BIGINT)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_named {columns}")
    insert_rows(connection, "exd_named", rows)
    return names


def _in_order(
    connection: duckdb.DuckDBPyConnection, cells: str, listed: Sequence[str]
) -> list[tuple[str, str, int]]:
    """Return dimension, value, and the place of the value among those kept of its dimension."""
    by_hour = (
        "SELECT dimension, value, hour, "
        "sum(sum(new_units)) OVER (PARTITION BY dimension, value ORDER BY hour) AS units "
        f"FROM {cells} GROUP BY dimension, value, hour"
    )
    return connection.execute(
        "SELECT dimension, value, row_number() OVER (PARTITION BY dimension ORDER BY admitted NULLS LAST, "
        "CASE WHEN admitted IS NULL THEN -units ELSE 0 END, value) FROM (SELECT dimension, value, "
        f"min(hour) FILTER (units >= {ADMITTED}) AS admitted, max(units) AS units FROM ({by_hour}) "
        "GROUP BY dimension, value) ORDER BY dimension, value",
        [listed],
    ).fetchall()
