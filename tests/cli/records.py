"""Small evaluation logs with exd's columns for the command's tests."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

START = "2026-03-01"
WINDOW = ("--from", "2026-03-01", "--to", "2026-03-04")


def write_log(
    path: Path,
    counts: Mapping[str, int],
    *,
    flag: str = "new-checkout",
    per_unit: int = 1,
    versions: tuple[int, ...] = (13,),
    hours: int = 72,
    environment: str = "production",
    reason: str = "matched_rule",
) -> Path:
    """Write `counts` units of each variant over `hours` from START; Parquet or NDJSON by ending."""
    parts = " UNION ALL ".join(
        f"SELECT '{variant}' AS variant_key, i, '{variant}' || i AS unit FROM range({units}) r(i)"
        for variant, units in counts.items()
    )
    span = hours * 3_600_000 - per_unit
    version = f"list_value({', '.join(map(str, versions))})[1 + i % {len(versions)}]"
    kind = "PARQUET" if path.suffix == ".parquet" else "JSON"
    duckdb.sql(
        f"""COPY (
            SELECT unit || '-' || j AS evaluation_id,
                TIMESTAMPTZ '{START} 00:00:00+00' + to_milliseconds((hash(unit) % {span})::BIGINT + j)
                    AS timestamp,
                'checkout' AS namespace, '{environment}' AS environment, '{flag}' AS flag_key, variant_key,
                '{reason}' AS evaluation_reason, {version} AS manifest_version, sha256(unit) AS unit_id_hash
            FROM ({parts}), range({per_unit}) e(j)
        ) TO '{path}' (FORMAT {kind})"""
    )
    return path
