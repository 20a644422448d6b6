"""The code location. Put your flags into FLAGS; addresses and secrets come from the environment."""

import os

import dagster as dg

import exd_dagster as exd

FLAGS = [
    exd.FlagAudit(
        key="new-checkout",
        split={"control": 0.5, "treatment": 0.5},
        start="2026-03-01",
        owners=["team:checkout"],
    ),
]

defs = exd.build_flag_audit_defs(
    flags=FLAGS,
    records=exd.ParquetRecords(path=os.environ["EXD_RECORDS"]),
    store=exd.DuckLakeResource(catalog=dg.EnvVar("EXD_CATALOG"), data_path=dg.EnvVar("EXD_DATA")),
    alerts=[exd.SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel=dg.EnvVar("SLACK_CHANNEL"))],
    monitoring=exd.Monitoring(heartbeat_url=dg.EnvVar("HEARTBEAT_URL")),
    base_url=os.environ["DAGSTER_URL"],
)
