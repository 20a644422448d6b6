"""The demo's Dagster project: seven flags, their audit, a report behind each, three destinations.

`make demo` runs it; `make ui`, or `dagster dev` in the repository root, shows it.
"""

import os
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import EmailAlerts, SlackAlerts, WebhookAlerts
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.gate import blocked_by
from exd_dagster.definitions.store import BinStoreResource
from exd_dagster.demo.data import FLAGS
from exd_dagster.telemetry.sources.duckdb import ParquetRecords

FOLDER = Path(os.environ.get("EXD_DEMO_FOLDER", ".demo"))
"""Records, bins, reports and the inbox of the demo."""

BASE_URL = "http://127.0.0.1:3000"
RECORDS = FOLDER / "records"
REPORTS = FOLDER / "reports"

KEYS = bins_asset_keys(FLAGS)

NOBODY_LISTENS = {
    "EXD_DEMO_SLACK_TOKEN": "xoxb-demo",
    "EXD_DEMO_SLACK_URL": "http://127.0.0.1:8025/api/",
    "EXD_DEMO_SMTP_PORT": "8026",
    "EXD_DEMO_WEBHOOK_URL": "http://127.0.0.1:8025/webhook",
}
"""Where the destinations are once `make demo` has ended: what is sent from the UI waits, as in an outage."""


def build_exposure_report(flag: FlagAudit, bins: dg.AssetKey) -> dg.AssetsDefinition:
    """Build the report of one flag: units newly exposed, per day and variant."""

    @dg.asset(
        key=report_key(bins),
        deps=[bins],
        group_name="reports",
        kinds={"csv"},
        owners=list(flag.owners),
        description=f"Units newly exposed to {flag.key}, per day and variant. Blocked while its audit fails.",
    )
    @blocked_by(bins, base_url=BASE_URL)
    def exposure_report(exd_store: BinStoreResource) -> dg.MaterializeResult[None]:
        import pandas as pd

        frame = exd_store.bins.read(flag)
        days = pd.DatetimeIndex(frame.hours).strftime("%Y-%m-%d")
        units = pd.DataFrame(frame.new_units, columns=frame.variants).groupby(days).sum()
        REPORTS.mkdir(parents=True, exist_ok=True)
        path = REPORTS / f"{flag.key}.csv"
        units.to_csv(path, index_label="day")
        return dg.MaterializeResult(metadata={"path": str(path), "days": len(units)})

    return exposure_report


def report_key(bins: dg.AssetKey) -> dg.AssetKey:
    """Return the key of the report behind a bins asset."""
    return dg.AssetKey(["reports", bins.path[-1].removesuffix("_bins") + "_report"])


def build_demo_defs() -> dg.Definitions:
    """Build the project; its own schedule stays stopped, because its flags have ended."""
    for name, value in NOBODY_LISTENS.items():
        os.environ.setdefault(name, value)
    audit = build_flag_audit_defs(
        flags=FLAGS,
        records=ParquetRecords(
            path=str(RECORDS / "*.parquet"),
            name="flag_evaluations",
            columns={"browser": "context_attributes.browser"},
        ),
        store=DuckDBResource(database=str(FOLDER / "bins.duckdb")),
        alerts=[
            SlackAlerts(
                token=dg.EnvVar("EXD_DEMO_SLACK_TOKEN"),
                channel="#experiments",
                base_url=os.environ["EXD_DEMO_SLACK_URL"],
            ),
            EmailAlerts(
                host="127.0.0.1",
                port=int(os.environ["EXD_DEMO_SMTP_PORT"]),
                tls="none",
                sender="exd@shop.example",
                to=["experiments@shop.example"],
            ),
            WebhookAlerts(url=dg.EnvVar("EXD_DEMO_WEBHOOK_URL"), allow_hosts=["127.0.0.1"]),
        ],
        grain="day",  # three weeks at once: a partition a day, 24 hourly bins in each
        schedule_status=dg.DefaultScheduleStatus.STOPPED,
        base_url=BASE_URL,
    )
    reports = [build_exposure_report(flag, KEYS[flag.id]) for flag in FLAGS]
    everything = dg.define_asset_job(
        "audit_and_report",
        selection=dg.AssetSelection.assets(*KEYS.values()).downstream(),
        executor_def=dg.in_process_executor,
        description="Audits every flag and writes the reports of the healthy ones.",
    )
    return dg.Definitions.merge(audit, dg.Definitions(assets=reports, jobs=[everything]))


defs = build_demo_defs()
