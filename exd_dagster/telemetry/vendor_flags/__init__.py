"""The flags of a vendor's export as flags of the audit."""

from exd_dagster.telemetry.vendor_flags.read import flags_from

__all__ = ["flags_from"]
