"""Fingerprints of hours: an hour is not counted again while its records are the same.

The fingerprint of an hour is the number of a flag's records and the sum of their hashes over all counted
columns: the same in any order, and different (but for one chance in 2^64) when any record was
added, removed or changed. The lookback costs one pass; counting starts at the first hour that differs.
The hashes are DuckDB's own: if they change, the lookback is counted once more.
"""

from collections.abc import Sequence
from dataclasses import replace

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.hours import HOUR_MS


def narrow(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target], first: int) -> list[Target]:
    """Return the targets, each from the first hour whose fingerprint differs from the stored one.

    Hours not completely read yet are always read, since a phase may still be declared in them, and so is
    the last. A target that starts before the first hour with a fingerprint is unchanged.
    """
    changed = dict(
        connection.execute(
            "SELECT target, min(p.hour) FROM exd_fingerprints p JOIN exd_flags f ON f.flag = p.target "
            "LEFT JOIN exd_prints s ON s.flag = p.target AND s.hour = p.hour WHERE p.hour >= f.read_through "
            "OR s.records IS DISTINCT FROM p.records OR s.hashes IS DISTINCT FROM p.hashes GROUP BY target"
        ).fetchall()
    )
    narrowed = []
    for target in targets:
        last = (target.end - 1) // HOUR_MS
        start = max(target.start, min(changed.get(target.number, last), last) * HOUR_MS)
        narrowed.append(target if target.start // HOUR_MS < first else replace(target, start=start))
    return narrowed


def save_fingerprints(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> None:
    """Store the fingerprints of these flags, which are counted now, and drop `exd_fingerprints`."""
    numbers = ", ".join(str(target.number) for target in targets) or "NULL"
    connection.execute(
        "DELETE FROM exd_prints WHERE (flag, hour) IN (SELECT (target, hour) FROM exd_fingerprints "
        f"WHERE target IN ({numbers}))"
    )
    connection.execute(f"INSERT INTO exd_prints FROM exd_fingerprints WHERE target IN ({numbers})")
    connection.execute("DROP TABLE exd_fingerprints")
