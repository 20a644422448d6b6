"""Audit feature-flag rollouts and experiments in Dagster, where the data lands.

The public names load on first use, so that the command line and a notebook pay only for what they touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exd_dagster.assets import build_variant_bins_assets
    from exd_dagster.bins.frame import variant_bins
    from exd_dagster.build import build_flag_audit_defs
    from exd_dagster.checks import build_flag_audit_checks
    from exd_dagster.component import FlagAuditComponent
    from exd_dagster.config import FlagAudit, Phase, Thresholds
    from exd_dagster.flag_trust import trust
    from exd_dagster.gate import blocked_by, gate_condition, gated_job
    from exd_dagster.monitor import LiveMonitor, WebhookAlertDispatcher
    from exd_dagster.resources import CallbackAlerts, EmailAlerts, SlackAlerts, WebhookAlerts
    from exd_dagster.schedules import build_nightly_audit_schedule
    from exd_dagster.sensors import build_check_alert_sensor
    from exd_dagster.stats.power import plan_detection
    from exd_dagster.telemetry.manifest import flags_from_manifest
    from exd_dagster.telemetry.sources import FileRecords, IbisRecords, ParquetRecords, TableRecords

_HOME = {
    "CallbackAlerts": "resources",
    "EmailAlerts": "resources",
    "FileRecords": "telemetry.sources",
    "FlagAudit": "config",
    "FlagAuditComponent": "component",
    "IbisRecords": "telemetry.sources",
    "LiveMonitor": "monitor",
    "ParquetRecords": "telemetry.sources",
    "Phase": "config",
    "SlackAlerts": "resources",
    "TableRecords": "telemetry.sources",
    "Thresholds": "config",
    "WebhookAlertDispatcher": "monitor",
    "WebhookAlerts": "resources",
    "blocked_by": "gate",
    "build_check_alert_sensor": "sensors",
    "build_flag_audit_checks": "checks",
    "build_flag_audit_defs": "build",
    "build_nightly_audit_schedule": "schedules",
    "build_variant_bins_assets": "assets",
    "flags_from_manifest": "telemetry.manifest",
    "gate_condition": "gate",
    "gated_job": "gate",
    "plan_detection": "stats.power",
    "trust": "flag_trust",
    "variant_bins": "bins.frame",
}

__all__ = [
    "CallbackAlerts",
    "EmailAlerts",
    "FileRecords",
    "FlagAudit",
    "FlagAuditComponent",
    "IbisRecords",
    "LiveMonitor",
    "ParquetRecords",
    "Phase",
    "SlackAlerts",
    "TableRecords",
    "Thresholds",
    "WebhookAlertDispatcher",
    "WebhookAlerts",
    "blocked_by",
    "build_check_alert_sensor",
    "build_flag_audit_checks",
    "build_flag_audit_defs",
    "build_nightly_audit_schedule",
    "build_variant_bins_assets",
    "flags_from_manifest",
    "gate_condition",
    "gated_job",
    "plan_detection",
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
