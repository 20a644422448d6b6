"""The logs that bins are measured on: seeded, 14 days, two variants, some units heavy."""

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = START + timedelta(days=14)
NOW = END + timedelta(hours=3)

_UNIT = {"plain": "u", "lean": "u", "flags": "u", "hex": "sha256(u::VARCHAR)", "segments": "u"}
_FLAG = {
    "plain": "'checkout'",
    "lean": "'checkout'",
    "hex": "'checkout'",
    "flags": "'flag-' || (hash(i, 3) % 500)",
    "segments": "'checkout'",
}
_COLUMNS = {"lean": "timestamp, variant_key, unit_id_hash"}
"""The log that xpyrment can read holds no more than these."""
DIMENSIONS = {"device": 3, "os": 5, "browser": 8, "sdk_version": 20, "locale": 30, "country": 40}
"""Columns of kind "segments", and how many values each has; the first ones are the most frequent."""


def folder() -> Path:
    """Return where the logs are kept between runs; EXD_BENCH_DIR can say where."""
    path = Path(os.environ.get("EXD_BENCH_DIR", Path(tempfile.gettempdir()) / "exd-bench"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_log(rows: int, kind: str = "plain") -> str:
    """Write a Parquet log unless it is there, and return its path.

    Args:
        rows: evaluations.
        kind: plain (integer units, one flag), lean (that with three columns alone), hex (64-character units),
            flags (500 flags) or segments (plain with the columns of DIMENSIONS).
    """
    path = folder() / f"{kind}_{rows}_{duckdb.__version__}.parquet"
    if path.exists():
        return str(path)
    part = path.with_suffix(".part")
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")  # it would stand among the figures
        connection.execute(
            f"""COPY (SELECT {_COLUMNS.get(kind, "*")} FROM (
                SELECT to_timestamp({START.timestamp()} + {14 * 86400} * (i / {rows})) AS timestamp,
                    {_FLAG[kind]} AS flag_key,
                    CASE hash(u, 1) % 2 WHEN 0 THEN 'control' ELSE 'treatment' END AS variant_key,
                    {_UNIT[kind]} AS unit_id_hash,
                    '01' || substr(md5(i::VARCHAR), 1, 24) AS evaluation_id,
                    'web' AS namespace, 'production' AS environment,
                    7 + (i * 3) // {rows} AS manifest_version, 'fallthrough' AS evaluation_reason,
                    to_timestamp({START.timestamp()} + 60 + {14 * 86400} * (i / {rows})) AS ingested_at
                    {_dimensions() if kind == "segments" else ""}
                FROM (SELECT i, floor({rows} / 4 * pow(hash(i, 2) / 18446744073709551616.0, 1.6))::BIGINT AS u
                    FROM range({rows}) t(i))
            )) TO '{part}' (FORMAT parquet, COMPRESSION zstd)"""
        )
    part.rename(path)
    return str(path)


FORMS = {"csv": "CSV", "ndjson": "NDJSON", "files": "200 Parquet files"}


def write_copy(rows: int, form: str) -> str:
    """Write the plain log in one of FORMS unless it is there, and return its path or glob."""
    log, files = write_log(rows), 200
    path = Path(log).with_suffix("" if form == "files" else f".{form}")
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        with duckdb.connect() as connection:
            connection.execute("SET enable_progress_bar = false")
            if form == "files":
                part.mkdir(exist_ok=True)
                share = -(-rows // files)
                for number in range(files):
                    rows_of_file = f"FROM '{log}' LIMIT {share} OFFSET {number * share}"
                    connection.execute(f"COPY ({rows_of_file}) TO '{part}/{number:03}.parquet'")
            else:
                connection.execute(f"COPY (FROM '{log}') TO '{part}' (FORMAT {form.removeprefix('nd')})")
        part.rename(path)
    return f"{path}/*.parquet" if form == "files" else str(path)


def _dimensions() -> str:
    """Return SQL for the columns of DIMENSIONS: a unit keeps its values, of which the first are frequent."""
    return "".join(
        f", '{name} ' || floor({values} * pow(hash('{name}' || u) / 18446744073709551616.0, 2))::INTEGER "
        f"AS {name}"
        for name, values in DIMENSIONS.items()
    )
