"""Audit one test from a log that is not exd's: a CSV with other column names and no flag column.

EXPOSURE_LOG=exposures.csv dagster dev -f examples/exposure_log.py
"""

import os
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

import exd_dagster as exd


def build(log: str, store: str) -> dg.Definitions:
    """Audit the landing-page test whose exposures are in `log`; bins go to the DuckDB file `store`."""
    return exd.build_flag_audit_defs(
        flags=[
            exd.FlagAudit(
                key="landing-page",
                split={"control": 0.5, "treatment": 0.5},
                start="2017-01-02",
                end="2017-01-25",
            )
        ],
        records=exd.FileRecords(
            path=log,
            columns={"unit_id_hash": "user_id", "variant_key": "group"},
            constants={"flag_key": "landing-page"},
        ),
        store=DuckDBResource(database=store),
    )


defs = build(os.environ.get("EXPOSURE_LOG", "exposures.csv"), str(Path("landing-page.duckdb")))
