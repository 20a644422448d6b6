"""Audit feature-flag rollouts and experiments in Dagster, where the data lands.

The public names load on first use, so that the command line and a notebook pay only for what they touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exd_dagster.assets import build_variant_bins_assets
    from exd_dagster.build import build_flag_audit_defs
    from exd_dagster.checks import build_flag_audit_checks
    from exd_dagster.config import FlagAudit, Phase, Thresholds
    from exd_dagster.schedules import build_nightly_audit_schedule
    from exd_dagster.sensors import build_check_alert_sensor

_HOME = {
    "FlagAudit": "config",
    "Phase": "config",
    "Thresholds": "config",
    "build_check_alert_sensor": "sensors",
    "build_flag_audit_checks": "checks",
    "build_flag_audit_defs": "build",
    "build_nightly_audit_schedule": "schedules",
    "build_variant_bins_assets": "assets",
}

__all__ = [
    "FlagAudit",
    "Phase",
    "Thresholds",
    "build_check_alert_sensor",
    "build_flag_audit_checks",
    "build_flag_audit_defs",
    "build_nightly_audit_schedule",
    "build_variant_bins_assets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'exd_dagster' has no attribute '{name}'")
    value = getattr(import_module(f"exd_dagster.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
