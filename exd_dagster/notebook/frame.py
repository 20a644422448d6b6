"""A notebook's frame -> the same hourly bins that the audit judges."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from exd_dagster.bins.model import HOUR, Counts, FlagBins
from exd_dagster.bins.store.select import select_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import AT_ONCE, FlagAudit
from exd_dagster.errors import ConfigError, RecordsError, did_you_mean
from exd_dagster.telemetry.records import EARLIEST, from_ms
from exd_dagster.telemetry.sources.duckdb import DataFrameRecords

if TYPE_CHECKING:
    import pandas as pd

FLAG = "live"
"""A frame is the log of one flag."""

_NOT_COUNTED = ("null_units", "null_variants", "excluded_reason")

UNIT_COLUMNS = ("unit_id", "unit_id_hash")
"""Columns taken for the unit when none is named."""


@dataclass(frozen=True, slots=True)
class FrameBins:
    """The bins of one frame.

    Attributes:
        bins: every hour from the first record to the newest, or to the instant the log was read; hours
            without a record are zero.
        closed: how many of them are whole.
        quarantined: rows that were not counted, by reason.
    """

    bins: FlagBins
    closed: int
    quarantined: Mapping[str, int] = field(default_factory=dict)

    @property
    def closed_bins(self) -> FlagBins:
        """The whole hours only."""
        return self.bins.between(self.bins.start, self.bins.start + HOUR * self.closed)


def read_frame(
    frame: "pd.DataFrame",
    *,
    time_col: str,
    variant_col: str,
    unit_col: str | None,
    time_zone: str,
    now: datetime | None,
) -> FrameBins:
    """Count a frame: each unit once, in the hour and variant of its first exposure.

    Args:
        frame: one row per exposure.
        time_col: column of the instant.
        variant_col: column of the variant.
        unit_col: column of the unit; None: `unit_id` or `unit_id_hash`.
        time_zone: zone of times without an offset.
        now: when the log was read (UTC): hours up to it exist although empty. None: it ends with its newest
            record.

    Raises:
        ConfigError: when a column is not there.
        RecordsError: when the frame cannot be counted.
    """
    columns = {
        "timestamp": _column(frame, time_col, "time_col"),
        "variant_key": _column(frame, variant_col, "variant_col"),
        "unit_id_hash": _unit_column(frame, unit_col),
    }
    records = DataFrameRecords(
        frame=frame[list(dict.fromkeys(columns.values()))],
        columns={**columns},
        constants={"flag_key": FLAG},
        time_zone=time_zone,
    )
    return _counted(records, FLAG, now)


def read_export(
    frame: "pd.DataFrame",
    *,
    preset: str,
    unit: str | None,
    flag: str | None,
    time_zone: str,
    now: datetime | None,
) -> FrameBins:
    """Count a frame of what a vendor or SDK writes: each unit once, in the hour of its first exposure.

    Args:
        frame: its rows, objects inside columns as they are or as JSON.
        preset: the vendor or SDK.
        unit: which of its units is randomized; None: the usual one.
        flag: the flag to watch; may be left out where the frame holds one alone.
        time_zone: zone of times without an offset.
        now: as for `read_frame`.

    Raises:
        ConfigError: for a preset or unit there is none of, or without a flag.
        RecordsError: when the frame is another export, or cannot be counted.
    """
    records = DataFrameRecords(frame=frame, preset=preset, unit=unit, time_zone=time_zone)
    return _counted(records, flag or _only_flag(records), now)


def _only_flag(records: DataFrameRecords) -> str:
    first, last = from_ms(EARLIEST), datetime.now(timezone.utc)
    with duckdb.connect() as connection, records.resolved(connection, first, last) as columns:
        flag = columns.expressions["flag"]
        query = f"SELECT DISTINCT {flag} FROM {columns.scan.relation} WHERE {flag} <> '' ORDER BY 1"  # noqa: S608
        flags = [str(row[0]) for row in connection.execute(query).fetchall()]
    if len(flags) != 1:
        held = f"it holds {len(flags)}: {', '.join(flags[:20])}" if flags else "no row names one"
        raise ConfigError("the frame", [f"flag: name the flag to watch; {held}"])
    return flags[0]


def _counted(records: DataFrameRecords, key: str, now: datetime | None) -> FrameBins:
    clock = now or datetime.now(timezone.utc)
    flag = FlagAudit(key=key, start=from_ms(EARLIEST))
    with duckdb.connect() as connection:
        store = BinStore(connection)
        report = store.update(records, [flag], flag.start, clock, timing=AT_ONCE, now=clock)
        if error := report.flags[flag.id].error:
            raise RecordsError(error)
        bins = _from_first(select_bins(connection, flag, closed_only=False))
    missing = {name: bins.fact_total(name) for name in _NOT_COUNTED}
    quarantined = {name: count for name, count in {**report.quarantined, **missing}.items() if count}
    if report.watermark is None:
        return FrameBins(bins, 0, quarantined)
    through = report.watermark if now is None else max(now, report.watermark)
    return FrameBins(_extended(bins, through), (through - bins.start) // HOUR, quarantined)


def _column(frame: "pd.DataFrame", name: str, argument: str) -> str:
    if name not in frame.columns:
        hint = did_you_mean(name, map(str, frame.columns))
        raise ConfigError("the frame", [f"{argument}: it has no column '{name}'.{hint}"])
    return name


def _unit_column(frame: "pd.DataFrame", name: str | None) -> str:
    if name is not None:
        return _column(frame, name, "unit_col")
    found = [column for column in UNIT_COLUMNS if column in frame.columns]
    if not found:
        known = ", ".join(map(str, frame.columns))
        raise ConfigError("the frame", [f"unit_col: name the column that identifies a unit ({known})"])
    return found[0]


def _from_first(bins: FlagBins) -> FlagBins:
    """Leave out the hours before the first record."""
    busy = np.flatnonzero(bins.delivered)
    return bins.between(
        bins.start + HOUR * int(busy[0]) if len(busy) else bins.audited_through, bins.audited_through
    )


def _extended(bins: FlagBins, through: datetime) -> FlagBins:
    """Add the empty hours up to `through`; missing hours count as zero."""
    missing = max((through - bins.audited_through) // HOUR, 0)

    def padded(counts: Counts) -> Counts:
        return np.concatenate([counts, np.zeros((missing, counts.shape[1]), dtype=np.int64)])

    return replace(
        bins,
        new_units=padded(bins.new_units),
        units=padded(bins.units),
        evaluations=padded(bins.evaluations),
        delivered=np.ones(len(bins) + missing, dtype=bool),
    )
