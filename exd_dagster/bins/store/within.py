"""One segment by a second dimension, read from the log when it is asked for; nothing of it is stored."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

import duckdb

from exd_dagster.bins.counting.audience import Target, iteration_of
from exd_dagster.bins.counting.count import seen_variants
from exd_dagster.bins.model import OTHER, Segment
from exd_dagster.bins.store.reading.log import OpenLog
from exd_dagster.bins.store.registry import Registry
from exd_dagster.bins.store.segments import NONE
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.errors import RecordsError

Units: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Units by dimension, value and variant; the values of a dimension count every unit once."""

MOST = 50
"""Values of a dimension kept by name, the largest ones; the others are summed as `OTHER`."""


def select_within(
    connection: duckdb.DuckDBPyConnection, opened: OpenLog, target: Target, segment: Segment, since: datetime
) -> Units:
    """Return the units of a segment first exposed from an instant on, by every other dimension of the flag.

    First exposures are those of the store, or of the engine; the values are those that their records have.

    Args:
        connection: the store.
        opened: the log.
        target: the flag, and the last millisecond.
        segment: the segment.
        since: first instant (UTC).

    Raises:
        RecordsError: when the log no longer has the column of the segment.
    """
    listed = dimensions_of(target.flag)
    missing = {*opened.missing(listed)}
    if segment.dimension in missing:
        raise RecordsError(f"the log no longer has the column '{segment.dimension}'")
    names = [name for name in listed if name not in missing and name != segment.dimension]
    if not names:
        return {}
    tally = opened.tally([target])
    try:
        tally.look_briefly()
        ranks = Registry(connection).ranks()[target.number] or dict.fromkeys(
            (name for _, name in seen_variants(connection)), 0
        )
        tally.label([(target.number, name, rank) for name, rank in ranks.items()])
        value = "" if segment.value == NONE else segment.value
        cells = tally.within((segment.dimension, value), names, max(since, iteration_of(target)))
    finally:
        tally.clear()
    found: dict[str, dict[str, dict[str, int]]] = {name: defaultdict(dict) for name in names}
    for number, text, variant, units in cells:
        found[names[number]][text or NONE][variant] = units
    return {name: _largest(values) for name, values in found.items() if values}


def _largest(values: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    order = sorted(values, key=lambda value: (-sum(values[value].values()), value))
    found = {value: dict(values[value]) for value in order[:MOST]}
    for value in order[MOST:]:
        rest = found.setdefault(OTHER, {})
        for variant, units in values[value].items():
            rest[variant] = rest.get(variant, 0) + units
    return found
