"""A report whose units per arm are checked against those that were exposed: joins that drop or repeat users.

dagster dev -f examples/reconciled_report.py
"""

import os

import dagster as dg
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

CHECKOUT = exd.FlagAudit(key="checkout", split={"control": 0.5, "treatment": 0.5}, start="2026-03-01")
REVENUE = """
CREATE OR REPLACE TABLE revenue AS
SELECT unit_id_hash AS user, arg_min(variant_key, timestamp) AS arm, min(timestamp) AS exposed_at,
    coalesce(any_value(amount), 0) AS amount
FROM read_parquet(?) LEFT JOIN orders USING (unit_id_hash)
WHERE flag_key = 'checkout'
GROUP BY unit_id_hash
"""
UNITS = "SELECT arm, count(DISTINCT user) FROM revenue WHERE exposed_at < {until} GROUP BY arm"


def build(records: str, store: str, query: str = REVENUE) -> dg.Definitions:
    """Audit a flag whose evaluation records are in `records`, and the report made from them by `query`."""
    warehouse = DuckDBResource(database=store)

    @dg.asset(deps=[["experiments", "checkout_bins"]], group_name="reports", pool="duckdb_writer")
    def revenue(warehouse: DuckDBResource) -> None:
        """Revenue by user, with the arm of the first exposure."""
        with warehouse.get_connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (unit_id_hash VARCHAR, amount DOUBLE)")
            connection.execute(query, [records])

    @dg.asset(deps=[revenue], group_name="reports")
    def decision() -> None:
        """What is read: built only from a report that holds every exposed user."""

    audit = exd.build_flag_audit_defs(
        flags=[CHECKOUT],
        records=records,
        store=warehouse,
        reconcile=[
            {
                "asset": "revenue",
                "flag": "checkout",
                "units_by_arm": UNITS,
                "expects": "all",
                "blocking": True,
            }
        ],
    )
    reports = dg.Definitions(assets=[revenue, decision], resources={"warehouse": warehouse})
    return dg.Definitions.merge(audit, reports)


defs = build(os.environ.get("FLAG_RECORDS", "logs/*.parquet"), "bins.duckdb")
