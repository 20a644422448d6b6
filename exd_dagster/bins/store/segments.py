"""Bins by segment out of the store."""

from collections import Counter
from collections.abc import Sequence

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
    names = _names(connection, cells, listed)
    found = connection.execute(
        "SELECT segment, hour, list_position(?, variant) AS variant, sum(new_units)::BIGINT AS units "
        f"FROM {cells} JOIN exd_named USING (dimension, value) GROUP BY ALL",
        [list(bins.variants), listed],
    ).fetchnumpy()
    segment, hour, variant = (np.ma.filled(found[name], 0) for name in ("segment", "hour", "variant"))
    counts: Counts = np.zeros((len(names), *bins.new_units.shape), dtype=np.int64)
    # a variant that the bins do not name is among their others, the last
    np.add.at(counts, (segment, hour - first, variant - 1), found["units"])
    return FlagSegments(
        bins.start,
        bins.variants,
        tuple(Segment(name, value, max(since[name] - first, 0)) for name, value in names),
        counts,
    )


def _names(connection: duckdb.DuckDBPyConnection, cells: str, listed: Sequence[str]) -> list[tuple[str, str]]:
    """Number the values kept by name: `exd_named`; return their names."""
    query = f"SELECT DISTINCT dimension, value FROM {cells} ORDER BY ALL"
    seen = connection.execute(query, [listed]).fetchall()
    of = Counter(name for name, _ in seen)
    rows = [(*each, 0) for each in seen]
    if max(of.values(), default=0) > MOST_VALUES:
        rows = _in_order(connection, cells, listed)
    named = [(name, value, OTHER if place > MOST_VALUES else value or NONE) for name, value, place in rows]
    names = sorted({(name, shown) for name, _, shown in named})
    number = {segment: i for i, segment in enumerate(names)}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_named (dimension VARCHAR, value VARCHAR, segment BIGINT)"
    )
    insert_rows(connection, "exd_named", [(name, value, number[name, shown]) for name, value, shown in named])
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
