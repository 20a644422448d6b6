"""Small evaluation logs for tests: so many new units per hour and variant, written as Parquet."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def rows(
    flag: str,
    counts: Sequence[Mapping[str, int]],
    *,
    start: datetime = START,
    environment: str = "production",
) -> pd.DataFrame:
    """Return one evaluation per unit: `counts[i]` new units per variant, spread over hour i."""
    records = []
    for i, hour in enumerate(counts):
        for variant, units in hour.items():
            for unit in range(units):
                at = start + i * HOUR + timedelta(seconds=3599 * unit / max(units, 1))
                records.append((at, flag, variant, f"{flag}-{i}-{variant}-{unit}", environment))
    columns = ["timestamp", "flag_key", "variant_key", "unit_id_hash", "environment"]
    frame = pd.DataFrame(records, columns=columns)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True)
    return frame


def write(folder: Path, *frames: pd.DataFrame, name: str = "log") -> str:
    """Write frames to one Parquet file and return the glob of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(folder / f"{name}.parquet", index=False)
    return str(folder / "*.parquet")


def healthy(hours: int, units: int = 20) -> list[Mapping[str, int]]:
    """Return an exactly even split."""
    return [{"control": units, "treatment": units}] * hours


def broken(hours: int, units: int = 20) -> list[Mapping[str, int]]:
    """Return a split whose treatment is all but gone."""
    return [{"control": 2 * units, "treatment": 1}] * hours
