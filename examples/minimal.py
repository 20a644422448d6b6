"""A team's own project: one flag, where its records lie, where its bins go, who is notified.

SLACK_BOT_TOKEN=... dagster dev -f examples/minimal.py
"""

import dagster as dg
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

checkout = exd.FlagAudit(
    key="new-checkout-flow",
    split={"control": 0.5, "treatment": 0.5},
    start="2026-03-01",
    owners=["team:checkout"],
)

audit = exd.build_flag_audit_defs(
    flags=[checkout],
    records=exd.ParquetRecords(path="logs/*.parquet"),
    store=DuckDBResource(database="bins.duckdb"),
    alerts=[exd.SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel="#experiments")],
)


@dg.asset(deps=[["experiments", "new_checkout_flow_bins"]], group_name="reports")
def checkout_report() -> None:
    """The team's own report: in a run with the audit it is built only when the checks pass."""


defs = dg.Definitions.merge(audit, dg.Definitions(assets=[checkout_report]))
