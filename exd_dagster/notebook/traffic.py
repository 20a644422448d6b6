"""The traffic result of `LiveMonitor`: the seasonal test, and a plain calibrated one before hour 240."""

from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.errors import InputError
from exd_dagster.stats import words
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = NDArray[np.float64]
Result: TypeAlias = dict[str, Any]

SHORTEST_HISTORY = 3
"""Bins before one can be compared with those before it."""

_HOUR_NS = 3_600 * 10**9
_ALIASES = {"H": "h", "M": "MS", "ME": "MS", "W": "W-MON"}
"""Bins are labelled by their start: months by their first day, weeks by their Monday."""


def in_bins(bins: FlagBins, counts: NDArray[Any], freq: str) -> "pd.DataFrame":
    """Sum hourly counts (T, V) into bins of `freq`, labelled by their start (UTC).

    Raises:
        InputError: when `freq` is no pandas frequency of whole hours.
    """
    import pandas as pd

    index = pd.DatetimeIndex(bins.hours, name="binned_time")
    index = index if len(index) else pd.DatetimeIndex([], tz="UTC", name="binned_time")
    frame = pd.DataFrame(counts.astype(float), index=index, columns=list(bins.variants))
    table: pd.DataFrame = frame.resample(_offset(freq), label="left", closed="left").sum()
    return table


def _offset(freq: str) -> Any:
    from pandas.tseries.frequencies import to_offset
    from pandas.tseries.offsets import Tick

    try:
        offset = to_offset(_ALIASES.get(freq, freq))
    except ValueError:
        offset = None
    if offset is None or (isinstance(offset, Tick) and offset.nanos % _HOUR_NS):
        raise InputError(f"freq is '{freq}'; give whole hours or longer, such as 'h', '6h', 'D', 'W' or 'ME'")
    return offset


def traffic_result(
    bins: FlagBins, *, freq: str, window: int, z_threshold: float, drop_threshold: float
) -> Result:
    """Test the closed hours of a flag; alarms in the last `window` bins of `freq` count, 24 hours at least.

    Until the seasonal test starts (hour 240) each bin of `freq` is compared with up to `window` before it.
    """
    whole = _whole(in_bins(bins, bins.units, freq), bins.audited_through).sum(axis=1)
    first = bins.index(whole.index[-window].to_pydatetime()) if len(whole) >= window else 0
    verdict = traffic_drop_test(
        bins.units.sum(axis=1), drop_fraction=drop_threshold, judged=(min(first, len(bins) - 24), len(bins))
    )
    if verdict.reason in ("learning", "no_bins"):
        return _short(whole.to_numpy(), window, z_threshold, drop_threshold, verdict)
    return _seasonal(verdict, bins)


def _whole(table: "pd.DataFrame", through: datetime) -> "pd.DataFrame":
    """Leave out the newest bin while it is not over."""
    over = not len(table) or table.index[-1] + table.index.freq <= through  # type: ignore[attr-defined]
    return table if over else table.iloc[:-1]


def _seasonal(verdict: TrafficVerdict, bins: FlagBins) -> Result:
    mean = verdict.expected_volume or 0.0
    deviation = sqrt(mean + (verdict.dispersion or 0.0) * mean**2)
    latest = verdict.latest_volume or 0.0
    since = ""
    if verdict.first_bad is not None:
        since = f" Since {words.instant(bins.start + HOUR * verdict.first_bad)}."
    return {
        "anomaly_detected": verdict.failed,
        "latest_volume": latest,
        "historical_mean": mean,
        "historical_std": deviation,
        "z_score": (latest - mean) / deviation if deviation else 0.0,
        "message": verdict.sentence + since,
        "details": verdict.as_metadata(),
    }


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One bin against the bins before it."""

    mean: float = 0.0
    deviation: float = 0.0
    z: float = 0.0
    low: bool = False


def _short(volumes: Floats, window: int, z_threshold: float, drop: float, verdict: TrafficVerdict) -> Result:
    """Compare each bin with those before it, bins already found low left out of every later history."""
    history: list[float] = []
    found: list[_Comparison] = []
    for volume in volumes.tolist():
        found.append(_compare(volume, np.array(history[-window:]), z_threshold, drop))
        if not found[-1].low:
            history.append(volume)
    recent = [i for i in range(max(len(found) - window, 0), len(found)) if found[i].low]
    shown = recent[-1] if recent else len(found) - 1
    seen = found[shown] if found else _Comparison()
    latest = float(volumes[shown]) if found else 0.0
    return {
        "anomaly_detected": bool(recent),
        "latest_volume": latest,
        "historical_mean": seen.mean,
        "historical_std": seen.deviation,
        "z_score": seen.z,
        "message": _short_message(latest, seen, len(found)),
        "details": verdict.as_metadata(),
    }


def _compare(volume: float, history: Floats, z_threshold: float, drop: float) -> _Comparison:
    """Test one volume with Student's t, K - 1 degrees, against the spread of a new draw: s sqrt(1 + 1/K)."""
    from scipy.special import ndtr, stdtr

    if len(history) < SHORTEST_HISTORY:
        return _Comparison(mean=float(history.mean()) if len(history) else 0.0)
    mean, deviation = float(history.mean()), float(history.std(ddof=1))
    if deviation == 0:
        return _Comparison(mean, 0.0, 0.0, volume < mean * (1 - drop))
    z = (volume - mean) / deviation
    p = float(stdtr(len(history) - 1, z / sqrt(1 + 1 / len(history))))
    return _Comparison(mean, deviation, z, p < float(ndtr(-z_threshold)))


def _short_message(latest: float, seen: _Comparison, bins: int) -> str:
    if bins <= SHORTEST_HISTORY:
        return f"Too little history: {bins} whole bins, {SHORTEST_HISTORY + 1} are needed."
    if seen.low:
        return f"Traffic fell to {latest:,.0f} units, {seen.mean:,.0f} in the bins before (z = {seen.z:.1f})."
    return f"Traffic as in the bins before: {latest:,.0f} units, mean {seen.mean:,.0f} (z = {seen.z:.1f})."
