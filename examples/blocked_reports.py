"""Reports that a broken flag really stops: by schedule, under automation, and by hand.

dagster dev -f examples/blocked_reports.py
"""

import os
from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

CHECKOUT, SEARCH = ["experiments", "checkout_bins"], ["experiments", "search_bins"]
ROWS = Path(__file__).with_name("trusted_rows.sql")


@dg.asset(deps=[CHECKOUT], group_name="reports")
def conversion_by_schedule() -> None:
    """Built by `reports_every_morning`, a gated job: the checks run again first, in the same run."""


@dg.asset(deps=[CHECKOUT], group_name="reports")
def conversion_by_automation() -> None:
    """As it was before: nothing in it knows of the audit. The gate is added below."""


@dg.asset(deps=[CHECKOUT, SEARCH], group_name="reports")
@exd.blocked_by(CHECKOUT, SEARCH, max_age=timedelta(hours=36))
def conversion_by_hand() -> None:
    """Refuses to run while either flag is not trusted, whoever presses the button."""


@dg.asset(deps=["flag_trust"], group_name="reports", pool="duckdb_writer")
def conversion_of_all_flags(warehouse: DuckDBResource) -> dg.MaterializeResult[None]:
    """Over every flag: one that is not trusted loses its rows, the report is built all the same."""
    with warehouse.get_connection() as connection:
        connection.execute(f"CREATE OR REPLACE TABLE trusted_metrics AS {ROWS.read_text()}")
        (flags,) = connection.execute("SELECT count(DISTINCT flag_key) FROM trusted_metrics").fetchone()
    return dg.MaterializeResult(metadata={"flags": flags})


def gated(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Give the gate to assets as they are found, also those of dbt or another team."""
    if spec.key.path[-1] != "conversion_by_automation":
        return spec
    return spec.replace_attributes(automation_condition=exd.gate_condition(CHECKOUT))


def build(records: str, store: str) -> dg.Definitions:
    """Audit two flags whose evaluation records are in `records`; bins go to the DuckDB file `store`."""
    split = {"control": 0.5, "treatment": 0.5}
    warehouse = DuckDBResource(database=store)
    audit = exd.build_flag_audit_defs(
        flags=[exd.FlagAudit(key=key, split=split, start="2026-03-01") for key in ("checkout", "search")],
        records=records,
        store=warehouse,
        max_age=timedelta(hours=36),
    )
    job = exd.gated_job(
        "reports_every_morning", dg.AssetSelection.assets(conversion_by_schedule), bins=[CHECKOUT]
    )
    reports = dg.Definitions(
        assets=[
            conversion_by_schedule,
            conversion_by_automation,
            conversion_by_hand,
            conversion_of_all_flags,
        ],
        jobs=[job],
        schedules=[dg.ScheduleDefinition(job=job, cron_schedule="0 6 * * *")],
        resources={"warehouse": warehouse},
    )
    return dg.Definitions.merge(audit, reports).map_asset_specs(func=gated)


defs = build(os.environ.get("FLAG_RECORDS", "logs/*.parquet"), "bins.duckdb")
