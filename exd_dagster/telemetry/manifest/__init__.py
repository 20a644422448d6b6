"""An exd manifest and thresholds file as flags of the audit."""

from exd_dagster.telemetry.manifest.read import flags_from_manifest, read_manifest

__all__ = ["flags_from_manifest", "read_manifest"]
