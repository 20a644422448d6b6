"""First exposures by segment in the engine of the records: `counting.segments` for foreign engines.

A dimension with one value in each hour needs no further query. Of any other, all values are transferred, at
most one row per unit and dimension. Which keep their name is decided here, so that every engine gives the
same result.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from exd_dagster.bins.counting.audience import RANKS
from exd_dagster.bins.counting.count import write_table
from exd_dagster.bins.counting.segments import (
    IN_OVERVIEW,
    Cell,
    Dimensions,
    count_by_hour,
    folded_sql,
    has_one_by_hour,
)
from exd_dagster.bins.engine.expressions import value_literal
from exd_dagster.bins.engine.functions import whole
from exd_dagster.bins.engine.tally import OF_TARGET, EngineTally, with_fixed
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.telemetry.records import literal

Expression = Any
"""An Ibis value or table."""


def count_segments(tally: EngineTally, dimensions: Dimensions) -> None:
    """Count first exposures by dimension, value and variant: `exd_segmented`.

    Args:
        tally: after `label` and `first_exposures`.
        dimensions: what is counted of each flag; one that the table lacks has the value "" throughout.
    """
    connection = tally.connection
    wanted = [(number, name) for number, names in dimensions.items() for name in names]
    write_table(connection, "wanted", wanted)
    write_table(connection, "segmented", [])
    names = sorted({name for _, name in wanted})
    missing = tally.log.missing(names)
    apart = [name for name in names if name not in missing and not has_one_by_hour(connection, name)]
    for name in names:
        if name not in apart:
            value = "''" if name in missing else IN_OVERVIEW[name]
            count_by_hour(connection, name, value, "FROM exd_exposed")
    if not apart:
        return
    dimension = f"[{', '.join(map(literal, apart))}][d::BIGINT + 1]"
    cells = (
        f"SELECT target, hour::BIGINT AS hour, {dimension} AS dimension, value, {tally.variant_sql}, "
        f"n::BIGINT AS new_units FROM exd_found {OF_TARGET} WHERE (target, {dimension}) IN "
        "(SELECT (target, dimension) FROM exd_wanted)"
    )
    tally.take(_counts(tally, apart), "apart", cells)
    connection.execute(f"INSERT INTO exd_segmented {folded_sql('FROM exd_apart')}")


def count_within(
    tally: EngineTally, segment: tuple[str, str], names: Sequence[str], since: int
) -> list[Cell]:
    """Count the first exposures of one segment, from an instant (ms) on, by each other dimension.

    Args:
        tally: of one flag, after `look_briefly` and `label`.
        segment: dimension and value.
        names: the other dimensions.
        since: first millisecond.

    Returns:
        As `counting.segments.count_within`.
    """
    dimension, value = segment
    firsts, _ = _firsts(tally, [dimension, *names])
    firsts = firsts.filter((firsts["first"] >= since * RANKS) & (firsts.v0 == value))
    firsts = firsts.mutate(rank=firsts["first"] % RANKS)
    each = []
    for i in range(len(names)):
        named = firsts.mutate(d=value_literal(i).cast("int64"), value=firsts[f"v{i + 1}"])
        each.append(named.group_by(["d", "value", "rank"]).agg(n=named.count().cast("int64")))
    found = tally.log.execute(reduce(lambda union, one: union.union(one), each))
    columns = zip(*(found[name] for name in ("d", "value", "rank", "n")), strict=True)
    variants = {rank: name for name, rank in tally.ranks.items()}
    return sorted((int(d), str(text), variants[int(rank)], int(n)) for d, text, rank, n in columns)


def _counts(tally: EngineTally, names: list[str]) -> Expression:
    """Return the expression: scope, hour, rank, number of the dimension, value and units."""
    import ibis

    firsts, key = _firsts(tally, names)
    firsts = firsts.mutate(hour=whole(firsts["first"], RANKS * HOUR_MS), rank=firsts["first"] % RANKS)
    each = []
    for i in range(len(names)):
        named = firsts.mutate(d=ibis.literal(i, "int64"), value=firsts[f"v{i}"])
        each.append(named.group_by([*key, "hour", "rank", "d", "value"]).agg(n=named.count().cast("int64")))
    _, fixed = tally.scope()
    return with_fixed(reduce(lambda union, one: union.union(one), each), fixed)


def _firsts(tally: EngineTally, names: Sequence[str]) -> tuple[Expression, list[str]]:
    """Return one row per unit, its first exposure and the value of each dimension then, and the scope."""
    import ibis

    rows, units, unit = tally.firsts(tally.counted_rows())
    key, _ = tally.scope()
    values = {f"v{i}": tally.log.text(name) for i, name in enumerate(names)}
    rows = rows.mutate(first=rows.ms * RANKS + rows["rank"], **values)
    each_unit = [*dict.fromkeys([*key, *unit]), "first"]
    firsts = rows.select(*each_unit, *values).semi_join(units, [*unit, "first"])
    # records may tie
    firsts = firsts.group_by(each_unit).agg(**{name: ibis._[name].min() for name in values})
    return firsts, key
