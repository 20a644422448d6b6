"""Bins of one flag as a DataFrame, straight from a log, for notebooks and for checks on any table."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import numpy as np

from exd_dagster.bins.model import FlagBins
from exd_dagster.bins.recount import daily_units
from exd_dagster.bins.store.select import select_bins
from exd_dagster.bins.store.store import BinStore
from exd_dagster.config import FlagAudit, Timing
from exd_dagster.config.arguments import checked_arguments
from exd_dagster.config.instants import InstantLike, instant_of, utc_now
from exd_dagster.errors import ConfigError, RecordsError
from exd_dagster.telemetry.records import EARLIEST, from_ms
from exd_dagster.telemetry.sources.duckdb import Records, as_records

if TYPE_CHECKING:
    import pandas as pd


@checked_arguments("source", "start", "end", "now")
def variant_bins(
    source: object,
    *,
    flag: str | FlagAudit | None = None,
    start: InstantLike | None = None,
    end: InstantLike | None = None,
    freq: Literal["h", "D"] = "h",
    now: datetime | None = None,
    preset: str | None = None,
    unit: str | None = None,
) -> "pd.DataFrame":
    """Count the units, first exposures and evaluations of one flag by hour (or day) and variant.

    Hours up to the newest record are all there, the last of them perhaps not whole: give `end` to leave it
    out.

    Args:
        source: a DataFrame with exd's column names, a path or glob, or a records object (which can rename
        columns).
        flag: key of the flag, or a `FlagAudit` for filters and phases; may be left out when the records
        object
            has a constant flag_key.
        start: first instant counted (UTC); None: the first record.
        end: first instant no longer counted (UTC); None: the end of the log.
        freq: "h" for hours, "D" for days: new units are summed, active units counted once a day.
        now: the clock (UTC); None: the machine's.
        preset: the vendor or SDK whose export the source is.
        unit: which of the preset's units is randomized.

    Returns:
        One row per bin and variant, in that order: hour (UTC, start of the bin), variant, new_units, units,
        evaluations, cumulative (new units so far: C_v(t)), ratio (cumulative against that of the first
        variant: R(t), NaN while that is 0).

    Raises:
        RecordsError: when the log cannot be read or the flag cannot be counted.
        ConfigError: when the arguments make no flag.
    """
    records = as_records(source, preset, unit)
    audit = _audit(records, flag, start, end)
    clock = utc_now() if now is None else instant_of(now, "variant_bins", "now")
    with duckdb.connect() as connection:
        store = BinStore(connection)
        report = store.update(
            records, [audit], audit.start, clock, timing=Timing(lateness=timedelta(0)), now=clock
        )
        error = report.flags[audit.id].error
        if error:
            raise RecordsError(error)
        bins = _from_first(select_bins(connection, audit, closed_only=False), whole=start is not None)
        table = _frame(bins)
        if freq == "D":
            table = _by_day(table, daily_units(connection, records, audit, end=bins.audited_through))
    return _with_traffic(table)


def _audit(
    records: Records,
    flag: str | FlagAudit | None,
    start: InstantLike | None,
    end: InstantLike | None,
) -> FlagAudit:
    if isinstance(flag, FlagAudit):
        return flag.model_copy(update=_instants(start=start or flag.start, end=end or flag.end))
    key = flag or records.constants.get("flag_key")
    if key is None:
        raise RecordsError(f"{records.place}: name the flag to count with flag=")
    return FlagAudit(key=str(key), **_instants(start=start or from_ms(EARLIEST), end=end))


def _instants(**given: object) -> dict[str, Any]:
    """Return those that are given (UTC); start and end run forward."""
    found = {n: instant_of(value, "variant_bins", n) for n, value in given.items() if value is not None}
    if "end" in found and found["end"] <= found["start"]:
        raise ConfigError("variant_bins", [f"end: {found['end']} is not after start, {found['start']}"])
    return found


def _from_first(bins: FlagBins, *, whole: bool) -> FlagBins:
    """Leave out the hours before the first record, unless a start was given."""
    counted = np.flatnonzero(bins.units.sum(axis=1))
    if whole or not len(counted):
        return bins if whole else bins.between(bins.start, bins.start)
    return bins.between(bins.hours[int(counted[0])], bins.audited_through)


def _frame(bins: FlagBins) -> "pd.DataFrame":
    import pandas as pd

    variants = len(bins.variants)
    hours = pd.date_range(bins.start, periods=len(bins), freq="h", unit="us")
    table: pd.DataFrame = pd.DataFrame(
        {
            "hour": hours.repeat(variants),
            "variant": np.tile(np.array(bins.variants, dtype=object), len(bins)),
            "new_units": bins.new_units.ravel(),
            "units": bins.units.ravel(),
            "evaluations": bins.evaluations.ravel(),
        }
    )
    return table


def _by_day(hourly: "pd.DataFrame", active: Mapping[tuple[datetime, str], int]) -> "pd.DataFrame":
    days = hourly.assign(hour=hourly["hour"].dt.floor("D"))
    table: pd.DataFrame = days.groupby(["hour", "variant"], sort=False, as_index=False)[
        ["new_units", "evaluations"]
    ].sum()
    keys = zip(table["hour"], table["variant"], strict=True)
    table.insert(3, "units", [active.get(key, 0) for key in keys])
    return table


def _with_traffic(table: "pd.DataFrame") -> "pd.DataFrame":
    """Add C_v(t) and R(t)."""
    table["cumulative"] = table.groupby("variant", sort=False)["new_units"].cumsum()
    first = table.groupby("hour", sort=False)["cumulative"].transform("first")
    table["ratio"] = table["cumulative"] / first.where(first > 0)
    return table
