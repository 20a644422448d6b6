"""Exports written to a file and read back."""

import json
from pathlib import Path
from typing import Any

from exd_dagster.config import FlagAudit
from exd_dagster.telemetry.vendor_flags.read import flags_from

START = "2026-03-01"


def write(place: Path, document: Any) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(document))
    return place


def read(folder: Path, document: Any, **options: Any) -> dict[str, FlagAudit]:
    """Return the flags of one exported document by key, counted from 2026-03-01 unless told otherwise."""
    found = flags_from(write(folder / "export.json", document), **{"start": START, **options})
    return {flag.key: flag for flag in found}


def shares(flag: FlagAudit) -> dict[str, float]:
    """Return the declared split, rounded."""
    return {name: round(share, 6) for name, share in (flag.split or {}).items()}
