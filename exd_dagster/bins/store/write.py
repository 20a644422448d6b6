"""Counts into the bins of the store: only hours that changed are written, and they are reported."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.rows import has_rows, insert_rows

_MEASURES = ("new_units", "units", "evaluations", "multi_variant_units", "carry_over_units")


def write_bins(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], anew: Collection[int]
) -> dict[int, list[int]]:
    """Update exd_bins, exd_facts and exd_segments with the counts of the hours read.

    Args:
        connection: inside the caller's transaction, after `merge_units`.
        targets: the flags counted.
        anew: numbers of the flags counted from their start, whose stored rows are replaced.

    Returns:
        The hours (since 1970) that changed, by number of the flag.
    """
    _write_reach(connection, targets, anew)
    changed: dict[int, set[int]] = defaultdict(set)
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in _MEASURES)
    kept = ", ".join(_kept(name) for name in _MEASURES)
    bins = (
        f"SELECT flag, hour, variant, {sums} FROM ("
        f"SELECT flag, hour, variant, {kept} FROM exd_before JOIN exd_reach USING (flag) "
        "UNION ALL SELECT target, hour, variant, 0, units, evaluations, 0, 0 FROM exd_counts "
        "UNION ALL SELECT target, hour, variant, new_units, 0, 0, multi, carried FROM exd_delta"
        f") GROUP BY flag, hour, variant HAVING {' OR '.join(f'{name} <> 0' for name in _MEASURES)}"
    )
    facts = (
        "SELECT flag, hour, name, detail, count FROM exd_before JOIN exd_reach USING (flag) "
        "WHERE NOT anew AND (hour < first OR hour >= last) "
        "UNION ALL SELECT target, hour, name, detail, count FROM exd_noted"
    )
    for table, content in (("bins", bins), ("facts", facts)):
        for number, hour in _replace(connection, table, content):
            changed[number].add(hour)
    for number, hour in _write_segments(connection):
        changed[number].add(hour)
    connection.execute("DROP TABLE exd_reach")
    return {number: sorted(hours) for number, hours in changed.items()}


def _write_segments(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """Replace the segments of the hours read; return flag and hour of those that differ."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_once AS FROM exd_dimensions SEMI JOIN exd_reach USING (flag)"
    )
    since = (
        "SELECT r.flag, w.dimension, CASE WHEN r.anew THEN r.first ELSE least(d.since, r.first) END AS since "
        "FROM exd_wanted w JOIN exd_reach r ON r.flag = w.target "
        "LEFT JOIN exd_once d ON d.flag = r.flag AND d.dimension = w.dimension"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_since AS {since}")
    differs = "(FROM exd_since EXCEPT FROM exd_once) UNION ALL (FROM exd_once EXCEPT FROM exd_since)"
    if has_rows(connection, f"({differs})"):
        connection.execute(
            "DELETE FROM exd_segments WHERE flag IN (SELECT flag FROM exd_reach) "
            "AND (flag, dimension) NOT IN (FROM exd_wanted)"
        )
        connection.execute("DELETE FROM exd_dimensions WHERE flag IN (SELECT flag FROM exd_reach)")
        connection.execute("INSERT INTO exd_dimensions FROM exd_since")
    connection.execute("DROP TABLE exd_once; DROP TABLE exd_since")
    return _replace(connection, "segments", "FROM exd_segmented", "anew OR (hour >= first AND hour < last)")


def _write_reach(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], anew: Collection[int]
) -> None:
    """Write down which hours of which flag were read: `exd_reach`."""
    columns = "(flag INTEGER, first BIGINT, last BIGINT, anew BOOLEAN)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_reach {columns}")
    rows = [(t.number, t.start // HOUR_MS, -(-t.end // HOUR_MS), t.number in anew) for t in targets]
    insert_rows(connection, "exd_reach", rows)


def _kept(name: str) -> str:
    """Return SQL for the part of a stored measure that remains."""
    # Counts of the hours read again are replaced; first exposures are corrected by their difference.
    gone = "anew OR (hour >= first AND hour < last)" if name in ("units", "evaluations") else "anew"
    return f"CASE WHEN {gone} THEN 0 ELSE {name} END AS {name}"


def _replace(
    connection: duckdb.DuckDBPyConnection, table: str, content: str, within: str = "true"
) -> list[tuple[int, int]]:
    """Replace the rows of the flags read where they differ; return flag and hour of those that do."""
    # The table is read once, into `exd_before`, and written only where it differs: in a lake each costs.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE exd_before AS SELECT t.* FROM exd_{table} t "
        f"JOIN exd_reach USING (flag) WHERE {within}"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_after AS {content}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_changed AS SELECT DISTINCT flag, hour FROM ("
        "(FROM exd_after EXCEPT ALL FROM exd_before) UNION ALL (FROM exd_before EXCEPT ALL FROM exd_after))"
    )
    changed = connection.execute("SELECT flag, hour FROM exd_changed").fetchall()
    if changed:
        connection.execute(
            f"DELETE FROM exd_{table} WHERE (flag, hour) IN (SELECT (flag, hour) FROM exd_changed)"
        )
        connection.execute(
            f"INSERT INTO exd_{table} SELECT a.* FROM exd_after a SEMI JOIN exd_changed USING (flag, hour) "
            "ORDER BY flag"  # keeps the rows of one flag together
        )
    connection.execute("DROP TABLE exd_before; DROP TABLE exd_after; DROP TABLE exd_changed")
    return changed
