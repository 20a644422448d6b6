"""First exposures by segment in the engine of the records: `counting.segments` for foreign engines.

All values are transferred, at most one row per unit and dimension. Which keep their name is decided here, so
that every engine gives the same result.
"""

from functools import reduce
from typing import Any

from exd_dagster.bins.counting.count import write_table
from exd_dagster.bins.counting.segments import Dimensions, folded_sql
from exd_dagster.bins.engine.count import OF_TARGET, SCOPE, EngineTally
from exd_dagster.telemetry.records import literal

Expression = Any
"""An Ibis value or table."""


def count_segments(tally: EngineTally, dimensions: Dimensions) -> None:
    """Count first exposures by dimension, value and variant, in one expression: `exd_segmented`.

    Args:
        tally: after `label`.
        dimensions: what is counted of each flag; one that the table lacks has the value "" throughout.
    """
    connection = tally.connection
    wanted = [(number, name) for number, names in dimensions.items() for name in names]
    write_table(connection, "wanted", wanted)
    write_table(connection, "segmented", [])
    names = sorted({name for _, name in wanted})
    if not names:
        return
    dimension = f"[{', '.join(map(literal, names))}][d::BIGINT + 1]"
    cells = (
        f"SELECT target, hour::BIGINT AS hour, {dimension} AS dimension, value, variant, "
        f"n::BIGINT AS new_units FROM exd_found {OF_TARGET} WHERE (target, {dimension}) IN "
        "(SELECT (target, dimension) FROM exd_wanted)"
    )
    tally.take(_counts(tally, names), "segmented", folded_sql(cells))


def _counts(tally: EngineTally, names: list[str]) -> Expression:
    """Return the expression: scope, hour, variant, number of the dimension, value and units."""
    import ibis

    rows = tally.counted_rows()
    _, iteration = tally.phases(rows)
    rows = rows.mutate(iteration=iteration, moment=rows.at.truncate("ms"))
    rows = rows.mutate(**{f"v{i}": tally.log.text(name) for i, name in enumerate(names)})
    unit = [*SCOPE, "iteration", "unit"]
    place = ibis.rank().over(ibis.window(group_by=unit, order_by=["moment", "rank"]))
    firsts = rows.mutate(place=place)
    firsts = firsts.filter(firsts.place == 0).group_by([*unit, "hour", "variant"])
    firsts = firsts.agg(**{f"v{i}": ibis._[f"v{i}"].min() for i in range(len(names))})
    each = []
    for i in range(len(names)):
        named = firsts.mutate(d=ibis.literal(i, "int64"), value=firsts[f"v{i}"])
        each.append(
            named.group_by([*SCOPE, "hour", "variant", "d", "value"]).agg(n=named.count().cast("int64"))
        )
    return reduce(lambda union, one: union.union(one), each)
