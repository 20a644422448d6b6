"""First exposures by segment: the value that each dimension had in the record of a unit's first exposure.

No value is stored by unit. A unit is new in the hours read when its first exposure is in them, and then the
record of that exposure is among those read. So the segments of the hours read are counted again, and those of
earlier hours cannot have changed. For records of one unit that tie in millisecond and variant, the value that
sorts first counts.

Dimensions in the overview (manifest version, reason) need no further pass if no hour has several values.
Otherwise one pass finds the records of first exposures and counts them by all dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import duckdb

from exd_dagster.bins.counting.audience import RANKS
from exd_dagster.bins.counting.count import COUNTED, Counter, write_table
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.model import OTHER
from exd_dagster.bins.rows import has_rows
from exd_dagster.telemetry.canonical import stored_unit_sql
from exd_dagster.telemetry.records import literal

SEGMENTS = 50
"""Number of values of a dimension kept by name in each hour; the rarer ones are summed as `OTHER`."""

IN_OVERVIEW = {"manifest_version": "version", "evaluation_reason": "reason"}
"""Dimensions that are canonical columns, which the overview has."""

Dimensions = Mapping[int, Sequence[str]]
"""Names of the dimensions to count, by number of the flag."""

Cell: TypeAlias = tuple[int, str, str, int]
"""Number of a dimension, value, variant and units."""


def count_segments(counter: Counter, dimensions: Dimensions) -> None:
    """Count the first exposures in the hours read by dimension, value and variant: `exd_segmented`.

    Args:
        counter: after `label`, `exd_overview` and `exd_merged` were made.
        dimensions: what is counted of each flag; a dimension that the log lacks has the value "" throughout.
    """
    connection = counter.connection
    wanted = [(number, name) for number, names in dimensions.items() for name in names]
    write_table(connection, "wanted", wanted)
    write_table(connection, "segmented", [])
    if not wanted:
        return
    _find_firsts(connection, one_phase=all(len(target.phases) == 1 for target in counter.targets))
    names = sorted({name for _, name in wanted})
    has = {name: name in counter.columns.extras for name in names}
    apart = [name for name in names if has[name] and not has_one_by_hour(connection, name)]
    new = (
        f"SELECT target, hour, variant, new_units FROM (SELECT target, first // {RANKS * HOUR_MS} AS hour, "
        f"first % {RANKS} AS rank, count(*) AS new_units FROM exd_firsts GROUP BY ALL) "
        "JOIN exd_labels USING (target, rank)"
    )
    for name in names:
        if name not in apart:
            count_by_hour(connection, name, IN_OVERVIEW[name] if has[name] else "''", new)
    if apart:
        _count_apart(counter, apart)
    connection.execute("DROP TABLE exd_firsts")


def count_within(counter: Counter, segment: tuple[str, str], names: Sequence[str]) -> list[Cell]:
    """Count the first exposures of one segment by each other dimension.

    Args:
        counter: of one flag, after `look_briefly` and `label`, with the first exposures in `exd_firsts`.
        segment: dimension and value.
        names: the other dimensions.

    Returns:
        Number of the dimension in `names`, value, variant and units.
    """
    dimension, value = segment
    found, values = _records_of_firsts(counter, [dimension, *names])
    least = ", ".join(f"min({name}) AS {name}" for name in values)
    firsts = f"SELECT target, first, {least} FROM ({found}) GROUP BY target, unit, first"
    own = f"SELECT * FROM ({firsts}) WHERE {values[0]} = {literal(value)}"
    each = [
        f"SELECT {i} AS d, {name} AS value, target, first % {RANKS} AS rank FROM exd_own"
        for i, name in enumerate(values[1:])
    ]
    counter.connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_own AS {own}")
    cells = counter.connection.execute(
        f"SELECT d, value, variant, count(*) FROM ({' UNION ALL '.join(each)}) "
        "JOIN exd_labels USING (target, rank) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    counter.connection.execute("DROP TABLE exd_own")
    return cells


def folded_sql(cells: str) -> str:
    """Return a SELECT of the largest values of each dimension and hour by name, with the others summed.

    Args:
        cells: SELECT or table of target, hour, dimension, value, variant and new_units.
    """
    place = "dense_rank() OVER (PARTITION BY target, hour, dimension ORDER BY total DESC, value)"
    total = "sum(new_units) OVER (PARTITION BY target, hour, dimension, value)"
    ranked = f"SELECT *, {place} AS place FROM (SELECT *, {total} AS total FROM ({cells}))"
    return (
        f"SELECT target AS flag, hour, dimension, CASE WHEN place <= {SEGMENTS} THEN value "
        f"ELSE {literal(OTHER)} END AS value, variant, sum(new_units)::BIGINT AS new_units FROM ({ranked}) "
        "GROUP BY ALL HAVING sum(new_units) > 0"
    )


def _find_firsts(connection: duckdb.DuckDBPyConnection, *, one_phase: bool) -> None:
    """Find the units that are new in the hours read, once per iteration: `exd_firsts`."""
    found = "SELECT target, unit, first FROM exd_merged"
    if not one_phase:
        found = (
            "SELECT target, unit, min(m.first) AS first FROM exd_merged m JOIN exd_spans "
            "USING (target, phase) GROUP BY target, iteration, unit"
        )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE exd_firsts AS SELECT target, unit, first FROM ({found}) "
        "JOIN exd_targets USING (target) "
        f"WHERE first >= exd_start * {RANKS} AND first < exd_end * {RANKS} "
        "AND target IN (SELECT target FROM exd_wanted)"
    )


def has_one_by_hour(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Return whether no hour of a flag in the overview has counted records that differ in a dimension."""
    if name not in IN_OVERVIEW:
        return False
    return not has_rows(
        connection,
        f"exd_overview WHERE {COUNTED} GROUP BY target, hour "
        f"HAVING count(DISTINCT coalesce({IN_OVERVIEW[name]}, '')) > 1",
    )


def count_by_hour(connection: duckdb.DuckDBPyConnection, name: str, value: str, new: str) -> None:
    """Count a dimension that has one value in each hour.

    Args:
        connection: has `exd_overview`, `exd_wanted` and `exd_segmented`.
        name: of the dimension.
        value: SQL of its value in the overview.
        new: SELECT of target, hour, variant and new_units.
    """
    values = f"SELECT DISTINCT target, hour, coalesce({value}, '') AS value FROM exd_overview WHERE {COUNTED}"
    cells = (
        f"SELECT target, hour, {literal(name)} AS dimension, value, variant, new_units FROM ({new}) "
        f"JOIN ({values}) USING (target, hour) "
        f"SEMI JOIN (FROM exd_wanted WHERE dimension = {literal(name)}) USING (target)"
    )
    connection.execute(f"INSERT INTO exd_segmented {folded_sql(cells)}")


def _count_apart(counter: Counter, names: Sequence[str]) -> None:
    """Count dimensions from the records of first exposures; records that tie are reduced to one first."""
    connection = counter.connection
    found, values = _records_of_firsts(counter, names)
    _count_values(connection, found, names)
    # one dimension counts every unit of its flags once, unless records tie
    (units,) = connection.execute("SELECT count(*) FROM exd_firsts").fetchone() or (0,)
    (records,) = connection.execute("SELECT sum(n)::BIGINT FROM exd_apart WHERE d = 0").fetchone() or (0,)
    if (records or 0) != units:
        least = ", ".join(f"min({value}) AS {value}" for value in values)
        _count_values(
            connection, f"SELECT target, first, {least} FROM ({found}) GROUP BY target, unit, first", names
        )
    listed = ", ".join(map(literal, names))
    cells = (
        f"SELECT target, hour, [{listed}][d + 1] AS dimension, value, variant, n AS new_units "
        "FROM exd_apart JOIN exd_labels USING (target, rank) "
        f"WHERE (target, [{listed}][d + 1]) IN (SELECT (target, dimension) FROM exd_wanted)"
    )
    connection.execute(f"INSERT INTO exd_segmented {folded_sql(cells)}")
    connection.execute("DROP TABLE exd_apart")


def _records_of_firsts(counter: Counter, names: Sequence[str]) -> tuple[str, list[str]]:
    """Return a SELECT of target, unit, first and each dimension's value by record, and their names."""
    kept = [name for name in names if name not in IN_OVERVIEW]
    counter = replace(counter, kept=kept)
    columns = [IN_OVERVIEW[name] if name in IN_OVERVIEW else f"kept_{kept.index(name)}" for name in names]
    rows = counter.rows(["us", *(name for name in columns if name in IN_OVERVIEW.values())])
    unit = stored_unit_sql(counter.columns, counter.seed)
    values = [f"v{i}" for i in range(len(names))]
    texts = ", ".join(
        f"coalesce(CAST({column} AS VARCHAR), '') AS {value}"
        for column, value in zip(columns, values, strict=True)
    )
    records = f"SELECT target, {unit} AS unit, us // 1000 * {RANKS} + rank AS first, {texts} FROM ({rows})"
    return f"SELECT * FROM ({records}) SEMI JOIN exd_firsts USING (target, unit, first)", values


def _count_values(connection: duckdb.DuckDBPyConnection, firsts: str, names: Sequence[str]) -> None:
    """Count rows of target, first and values by each dimension, in one pass: `exd_apart`."""
    values = [f"v{i}" for i in range(len(names))]
    number = " ".join(f"WHEN {value} IS NOT NULL THEN {i}" for i, value in enumerate(values))
    sets = ", ".join(f"(target, hour, rank, {value})" for value in values)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE exd_apart AS SELECT target, hour, rank, CASE {number} END AS d, "
        f"coalesce({', '.join(values)}) AS value, n FROM (SELECT target, first // {RANKS * HOUR_MS} AS hour, "
        f"first % {RANKS} AS rank, {', '.join(values)}, count(*) AS n FROM ({firsts}) "
        f"GROUP BY GROUPING SETS ({sets}))"
    )
