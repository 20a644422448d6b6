"""Audit feature-flag rollouts and experiments in Dagster, where the data lands.

The public names load on first use, so that the command line and a notebook pay only for what they touch.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from exd_dagster._moved import MovedModules

if TYPE_CHECKING:
    from exd_dagster.bins.frame import variant_bins
    from exd_dagster.config import FlagAudit, Phase, Thresholds
    from exd_dagster.definitions.alerting.destinations import (
        AppriseAlerts,
        CallbackAlerts,
        EmailAlerts,
        PagerDutyAlerts,
        SlackAlerts,
        WebhookAlerts,
    )
    from exd_dagster.definitions.alerting.monitoring import Monitoring
    from exd_dagster.definitions.alerting.sensor import build_check_alert_sensor
    from exd_dagster.definitions.assets import build_variant_bins_assets
    from exd_dagster.definitions.build import build_flag_audit_defs
    from exd_dagster.definitions.checks import build_flag_audit_checks
    from exd_dagster.definitions.component.component import FlagAuditComponent
    from exd_dagster.definitions.component.state_backed import StateBackedFlagAuditComponent
    from exd_dagster.definitions.flag_trust import trust
    from exd_dagster.definitions.gate import blocked_by, gate_condition, gated_job
    from exd_dagster.definitions.protection.protect import protect
    from exd_dagster.definitions.publish.warehouse import Warehouse
    from exd_dagster.definitions.reports.reconcile import build_reconcile_check
    from exd_dagster.definitions.schedules import build_nightly_audit_schedule
    from exd_dagster.definitions.store import DuckLakeResource
    from exd_dagster.notebook import LiveMonitor, WebhookAlertDispatcher
    from exd_dagster.stats.sequential.power import plan_detection
    from exd_dagster.telemetry.manifest.read import flags_from_manifest
    from exd_dagster.telemetry.sources.duckdb import FileRecords, IbisRecords, ParquetRecords, TableRecords
    from exd_dagster.telemetry.sources.lakehouse import DeltaRecords, IcebergRecords
    from exd_dagster.telemetry.vendor_flags.read import flags_from

sys.meta_path.append(MovedModules())

_HOME = {
    "CallbackAlerts": "definitions.alerting.destinations",
    "DeltaRecords": "telemetry.sources.lakehouse",
    "DuckLakeResource": "definitions.store",
    "EmailAlerts": "definitions.alerting.destinations",
    "FileRecords": "telemetry.sources.duckdb",
    "FlagAudit": "config",
    "FlagAuditComponent": "definitions.component.component",
    "IbisRecords": "telemetry.sources.duckdb",
    "IcebergRecords": "telemetry.sources.lakehouse",
    "LiveMonitor": "notebook",
    "ParquetRecords": "telemetry.sources.duckdb",
    "Phase": "config",
    "SlackAlerts": "definitions.alerting.destinations",
    "StateBackedFlagAuditComponent": "definitions.component.state_backed",
    "TableRecords": "telemetry.sources.duckdb",
    "Thresholds": "config",
    "Warehouse": "definitions.publish.warehouse",
    "WebhookAlertDispatcher": "notebook",
    "AppriseAlerts": "definitions.alerting.destinations",
    "Monitoring": "definitions.alerting.monitoring",
    "PagerDutyAlerts": "definitions.alerting.destinations",
    "WebhookAlerts": "definitions.alerting.destinations",
    "blocked_by": "definitions.gate",
    "build_check_alert_sensor": "definitions.alerting.sensor",
    "build_flag_audit_checks": "definitions.checks",
    "build_flag_audit_defs": "definitions.build",
    "build_nightly_audit_schedule": "definitions.schedules",
    "build_reconcile_check": "definitions.reports.reconcile",
    "build_variant_bins_assets": "definitions.assets",
    "flags_from": "telemetry.vendor_flags.read",
    "flags_from_manifest": "telemetry.manifest.read",
    "gate_condition": "definitions.gate",
    "gated_job": "definitions.gate",
    "plan_detection": "stats.sequential.power",
    "protect": "definitions.protection.protect",
    "trust": "definitions.flag_trust",
    "variant_bins": "bins.frame",
}

__all__ = [
    "AppriseAlerts",
    "CallbackAlerts",
    "DeltaRecords",
    "DuckLakeResource",
    "EmailAlerts",
    "FileRecords",
    "FlagAudit",
    "FlagAuditComponent",
    "IbisRecords",
    "IcebergRecords",
    "LiveMonitor",
    "Monitoring",
    "PagerDutyAlerts",
    "ParquetRecords",
    "Phase",
    "SlackAlerts",
    "StateBackedFlagAuditComponent",
    "TableRecords",
    "Thresholds",
    "Warehouse",
    "WebhookAlertDispatcher",
    "WebhookAlerts",
    "blocked_by",
    "build_check_alert_sensor",
    "build_flag_audit_checks",
    "build_flag_audit_defs",
    "build_nightly_audit_schedule",
    "build_reconcile_check",
    "build_variant_bins_assets",
    "flags_from",
    "flags_from_manifest",
    "gate_condition",
    "gated_job",
    "plan_detection",
    "protect",
    "trust",
    "variant_bins",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'exd_dagster' has no attribute '{name}'")
    value = getattr(import_module(f"exd_dagster.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
