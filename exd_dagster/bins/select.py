"""Bins out of the store, as arrays over a complete calendar."""

from collections.abc import Sequence

import duckdb
import numpy as np

from exd_dagster.bins.audience import counts_the_same
from exd_dagster.bins.calendar import ceil_hour, hour_of, instant_of
from exd_dagster.bins.model import Counts, Fact, FlagBins
from exd_dagster.bins.registry import Registry, StoredFlag
from exd_dagster.config import FlagAudit, floor_hour
from exd_dagster.errors import StoreError

MOST_UNDECLARED = 50
"""Undeclared variants kept by name; further ones are summed as `OTHER`."""
OTHER = "(other)"


def select_bins(
    connection: duckdb.DuckDBPyConnection, flag: FlagAudit, *, closed_only: bool = True
) -> FlagBins:
    """Return the bins of a flag from its start.

    Args:
        connection: the store.
        flag: whose bins.
        closed_only: False adds the hours up to the newest record, the last of them perhaps not whole.

    Raises:
        StoreError: when what is stored was counted otherwise than `flag` now says.
    """
    registry = Registry(connection)
    known = registry.flags().get(flag.id)
    first = hour_of(flag.start)
    if known is None:
        return _fill(flag, (), first, first, [], set(), ())
    if not counts_the_same(known.definition, flag, known.read_through):
        raise StoreError(
            f"flag '{flag.id}' is stored as it was declared before; materialize its bins again to count it "
            "as it is declared now (the first run counts it from its start)"
        )
    last = max(first, _last_hour(registry, known, flag, closed_only=closed_only))
    query = (
        "SELECT hour, variant, new_units, units, evaluations, multi_variant_units, carry_over_units "
        "FROM exd_bins WHERE flag = ? AND hour >= ? AND hour < ? ORDER BY hour, variant"
    )
    rows = connection.execute(query, [known.number, first, last]).fetchall()
    query = "SELECT hour, name, detail, count FROM exd_facts WHERE flag = ? AND hour >= ? AND hour < ?"
    noted = connection.execute(query, [known.number, first, last]).fetchall()
    landed = registry.hours(known.source, first, last)
    return _fill(flag, _variants(flag, rows), first, last, rows, landed, noted)


def _last_hour(registry: Registry, known: StoredFlag, flag: FlagAudit, *, closed_only: bool) -> int:
    source = registry.source(known.source)
    if source is None:
        return 0
    last = known.read_through + 1
    if closed_only:
        last = min(source.closed_through, known.read_through)
    return min(last, ceil_hour(flag.end)) if flag.end else last


def _variants(flag: FlagAudit, rows: Sequence[tuple[int, str, int, int, int, int, int]]) -> tuple[str, ...]:
    """Return the declared variants, then undeclared ones by name; too many keep the most seen."""
    declared = flag.variants
    seen: dict[str, int] = {}
    for _, variant, *counts in rows:
        if variant not in declared:
            seen[variant] = seen.get(variant, 0) + counts[1] + counts[2]
    if len(seen) <= MOST_UNDECLARED:
        return (*declared, *sorted(seen))
    most = sorted(seen, key=lambda name: (-seen[name], name))[:MOST_UNDECLARED]
    return (*declared, *sorted(most), OTHER)


def _fill(
    flag: FlagAudit,
    variants: tuple[str, ...],
    first: int,
    last: int,
    rows: Sequence[tuple[int, str, int, int, int, int, int]],
    landed: set[int],
    noted: Sequence[tuple[int, str, str, int]],
) -> FlagBins:
    variants = variants or flag.variants
    counts: Counts = np.zeros((3, last - first, len(variants)), dtype=np.int64)
    column = {variant: i for i, variant in enumerate(variants)}
    facts = [Fact(instant_of(hour), name, detail, count) for hour, name, detail, count in noted]
    for hour, variant, *measures in rows:
        counts[:, hour - first, column.get(variant, len(variants) - 1)] += measures[:3]
        for name, count in zip(("multi_variant_units", "carry_over_units"), measures[3:], strict=True):
            if count:
                facts.append(Fact(instant_of(hour), name, variant, count))
    return FlagBins(
        flag=flag.id,
        variants=variants,
        start=floor_hour(flag.start),
        new_units=counts[0],
        units=counts[1],
        evaluations=counts[2],
        landed=np.array([hour in landed for hour in range(first, last)], dtype=np.bool_),
        facts=tuple(sorted(facts, key=lambda fact: (fact.hour, fact.name, fact.detail))),
    )
