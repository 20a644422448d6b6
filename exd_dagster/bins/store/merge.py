"""Merge new exposures into the stored ones: hours read again are replaced, the others kept.

Per flag, phase and unit the store keeps two exposures: the first, and the first to another variant. Both are
minima, so updates can be merged in any order. Exposures in hours that are read again are replaced by those
found now, so that removed records are dropped and late ones added.
"""

from collections.abc import Sequence

import duckdb

from exd_dagster.bins.counting.audience import RANKS, UPTAKE, Target
from exd_dagster.bins.hours import HOUR_MS

_IN_RANGE = f"({{0}} >= exd_start * {RANKS} AND {{0}} < exd_end * {RANKS})"


def merge_units(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> None:
    """Bring exd_units up to date and leave in `exd_delta` what that adds to the bins of first exposures.

    Args:
        connection: inside a transaction, after `Counter.fresh`.
        targets: the flags counted.
    """
    numbers = ", ".join(str(target.number) for target in targets)
    row = connection.execute(f"SELECT count(*) FROM exd_units WHERE flag IN ({numbers})").fetchone()
    if row and row[0]:
        _find_known(connection, targets, numbers)
        _meet_known(connection)
    else:
        connection.execute("INSERT INTO exd_units SELECT * FROM exd_fresh")
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_known AS SELECT 0 AS row, * FROM exd_fresh LIMIT 0"
        )
        connection.execute("CREATE OR REPLACE TEMP VIEW exd_merged AS SELECT * FROM exd_fresh")
    one_phase = all(len(target.phases) == 1 for target in targets)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_delta AS SELECT target, hour, variant, sum(new_units)::BIGINT AS "
        "new_units, sum(multi)::BIGINT AS multi, sum(carried)::BIGINT AS carried FROM (SELECT * "
        f"FROM ({_contribution('exd_merged', 1, one_phase)}) UNION ALL SELECT * "
        f"FROM ({_contribution('exd_known', -1, one_phase)})) JOIN exd_labels USING (target, rank) "
        "GROUP BY ALL HAVING new_units <> 0 OR multi <> 0 OR carried <> 0"
    )


def lost_exposures(connection: duckdb.DuckDBPyConnection) -> set[int]:
    """Return the flags of which a stored exposure was not found again where it had been."""
    rows = connection.execute(
        "SELECT DISTINCT k.target FROM exd_known k LEFT JOIN exd_merged m USING (target, phase, unit) "
        "WHERE m.first IS NULL OR m.first > k.first OR (k.other IS NOT NULL "
        "AND coalesce(m.other > k.other, true))"
    ).fetchall()
    return {row[0] for row in rows}


def moved_exposures(connection: duckdb.DuckDBPyConnection) -> set[int]:
    """Return the flags of which a first exposure after the hours read was replaced by one in them."""
    rows = connection.execute(
        "SELECT DISTINCT target FROM exd_delta JOIN exd_targets USING (target) "
        f"WHERE hour * {HOUR_MS} >= exd_end"
    ).fetchall()
    return {row[0] for row in rows}


def drop_temporary(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop what `merge_units` leaves for the writing of bins."""
    found = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE temporary AND view_name = 'exd_merged'"
    )
    connection.execute(f"DROP {'VIEW' if found.fetchone() else 'TABLE'} IF EXISTS exd_merged")
    for name in ("known", "touched", "delta"):
        connection.execute(f"DROP TABLE IF EXISTS exd_{name}")


def _find_known(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], numbers: str) -> None:
    """Select the stored exposures of units found again, or stored from the hours read: `exd_known`."""
    # Constant bounds skip row groups of other hours; one column is looked up first, not two.
    first, other = _IN_RANGE.format("u.first"), _IN_RANGE.format("coalesce(u.other, 0)")
    start, end = (edge * RANKS for edge in (min(t.start for t in targets), max(t.end for t in targets)))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_touched AS SELECT DISTINCT target, unit FROM exd_fresh UNION "
        f"SELECT flag, unit FROM (FROM exd_units WHERE first >= {start} AND first < {end} "
        f"OR other >= {start} AND other < {end}) u JOIN exd_targets ON flag = target "
        f"WHERE {first} OR {other}"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_known AS SELECT row, target, phase, unit, first, other "
        "FROM (SELECT rowid AS row, flag AS target, phase, unit, first, other FROM exd_units "
        f"WHERE flag IN ({numbers}) AND unit IN (SELECT unit FROM exd_touched)) "
        "SEMI JOIN exd_touched USING (target, unit)"
    )


def _meet_known(connection: duckdb.DuckDBPyConnection) -> None:
    kept = " UNION ALL ".join(
        f"SELECT target, phase, unit, {name} AS exposure FROM exd_known JOIN exd_targets USING (target) "
        f"WHERE {name} IS NOT NULL AND NOT {_IN_RANGE.format(name)}"
        for name in ("first", "other")
    )
    found = " UNION ALL ".join(
        f"SELECT target, phase, unit, {name} FROM exd_fresh WHERE {name} IS NOT NULL"
        for name in ("first", "other")
    )
    least = (
        f"SELECT target, phase, unit, min(exposure) AS exposure FROM ({kept} UNION ALL {found}) "
        f"GROUP BY target, phase, unit, exposure % {RANKS}"
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_merged AS SELECT target, phase, unit, two[1] AS first, two[2] AS "
        f"other FROM (SELECT target, phase, unit, min(exposure, 2) AS two FROM ({least}) GROUP BY ALL)"
    )
    connection.execute(
        "DELETE FROM exd_units WHERE rowid IN (SELECT row FROM exd_known k "
        "WHERE NOT EXISTS (FROM exd_merged m WHERE m.target = k.target AND m.phase = k.phase "
        "AND m.unit = k.unit AND m.first = k.first AND m.other IS NOT DISTINCT FROM k.other))"
    )
    connection.execute(
        "INSERT INTO exd_units SELECT target, phase, unit, first, other FROM exd_merged m WHERE NOT EXISTS "
        "(FROM exd_known k WHERE m.target = k.target AND m.phase = k.phase AND m.unit = k.unit "
        "AND m.first = k.first AND m.other IS NOT DISTINCT FROM k.other)"
    )


def _contribution(units: str, sign: int, one_phase: bool) -> str:
    """Return a SELECT of the counts that these units add to the bins of their first exposure."""
    # A unit is new once per iteration. It is in several variants when any two of its exposures in the
    # iteration differ; carried over when no single phase has two after its uptake.
    whole = f"SELECT target, first, other IS NOT NULL AS clash, other IS NOT NULL AS multi FROM {units}"
    if not one_phase:
        clash = "bool_or(other IS NOT NULL{})"
        whole = (
            f"SELECT target, min({units}.first) AS first, {clash.format(f' AND phase < {UPTAKE}')} AS clash, "
            f"{clash.format('')} OR min({units}.first % {RANKS}) <> max({units}.first % {RANKS}) AS multi "
            f"FROM {units} JOIN exd_spans USING (target, phase) GROUP BY target, iteration, unit"
        )
    return (
        f"SELECT target, first // {RANKS * HOUR_MS} AS hour, first % {RANKS} AS rank, {sign} * count(*) AS "
        f"new_units, {sign} * count(*) FILTER (multi) AS multi, {sign} * count(*) FILTER (multi "
        f"AND NOT clash) AS carried FROM ({whole}) GROUP BY ALL"
    )
