"""The rules of xpyrment's `LiveMonitor`, number for number, for teams that migrate (`compat="xpyrment"`).

Units are counted once in each bin, the newest bin is tested though it may be partial, the chi-square is of
daily counts, the sequential test reads rows: that is what these rules do, and why they are not the default.
Where xpyrment raises or gives no result, the result here says so and the other checks continue.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exd_dagster.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Result: TypeAlias = dict[str, Any]
Ratios: TypeAlias = Sequence[float] | Mapping[str, float]
Floats: TypeAlias = NDArray[np.float64]

SIGNIFICANCE = 0.001


def binned_traffic(frame: "pd.DataFrame", time_col: str, variant_col: str, freq: str) -> "pd.DataFrame":
    """Count the distinct units of each variant inside each bin that has a row.

    The unit is column `unit_id`, or the first column where there is none.
    """
    import pandas as pd

    unit = "unit_id" if "unit_id" in frame.columns else frame.columns[0]
    bins = pd.to_datetime(frame[time_col]).dt.floor(freq).rename("binned_time")
    counts = frame[unit].groupby([bins, frame[variant_col]], observed=True).nunique()
    table: pd.DataFrame = counts.unstack(fill_value=0).astype(float)
    return table


def traffic_anomaly(volumes: Floats, window: int, z_threshold: float, drop_threshold: float) -> Result:
    """Compare the newest bin with the mean and standard deviation of up to `window` bins before it."""
    from exd_dagster.stats.methods.zscore import zscore

    found = zscore(volumes, window=window, z_threshold=z_threshold, drop_fraction=drop_threshold)
    return {
        "anomaly_detected": bool(found.anomaly),
        "latest_volume": found.latest,
        "historical_mean": _number(found.mean),
        "historical_std": _number(found.deviation),
        "z_score": _number(found.z),
        "message": f"{len(volumes)} bins, newest {found.latest:g}, z = {_number(found.z):.4f}.",
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def live_srm(daily: "pd.DataFrame", ratios: Ratios) -> Result:
    """Test the last row of a cumulative table with Pearson's chi-square at .001, by variant name.

    A variant without a row counts zero where a mapping names it; a list is as long as the variants seen.
    """
    from exd_dagster.stats.methods.chi_square import upper_tail

    observed = {name: float(daily[name].iloc[-1]) for name in daily.columns} if len(daily) else {}
    names = sorted(set(observed) | set(ratios)) if isinstance(ratios, Mapping) else sorted(observed)
    counts = [int(observed.get(name, 0)) for name in names]
    shares = [ratios.get(name, 0.0) for name in names] if isinstance(ratios, Mapping) else list(ratios)
    result: Result = {
        "srm_detected": False,
        "p_value": 1.0,
        "observed_counts": counts,
        "expected_ratios": ratios,
        "message": "No row yet.",
    }
    if not sum(counts):
        return result
    if len(counts) != len(shares) or min(shares) <= 0:
        return result | {
            "p_value": None,
            "message": f"Not checked: variants seen {names}, ratios {shares}; pass {{name: ratio}} above 0.",
        }
    wanted = np.array(shares) * sum(counts) / sum(shares)
    statistic = float(((np.array(counts) - wanted) ** 2 / wanted).sum())
    p = float(upper_tail(statistic, len(counts) - 1)) if len(counts) > 1 else float("nan")
    word = "SRM" if p < SIGNIFICANCE else "No SRM"
    return result | {
        "srm_detected": bool(p < SIGNIFICANCE),
        "p_value": p,
        "message": f"{word}: p = {p:.4g}, observed {counts}, expected {shares}.",
    }


def sequential_srm(
    frame: "pd.DataFrame", time_col: str, variant_col: str, ratio: float, delta: float, alpha: float
) -> Result:
    """Run the two-arm mixture over rows in time order; the control is the first matching label."""
    from exd_dagster.stats.methods.sprt import sprt_by_unit

    labels = sorted(frame[variant_col].dropna().unique())
    if len(labels) != 2:
        return {"srm_detected": False, "message": f"Not checked: {len(labels)} variants seen, 2 are needed."}
    rows = frame.dropna(subset=[time_col, variant_col]).sort_values(by=time_col)
    path = sprt_by_unit(rows[variant_col] == _treatment(labels), ratio, delta=delta, alpha=alpha)
    with np.errstate(over="ignore"):
        ratios = np.exp(path.log_likelihood_ratios)
    stopped = path.stopped_index
    word = "SRM" if stopped >= 0 else "No SRM"
    return {
        "srm_detected": stopped >= 0,
        "running_likelihood_ratios": ratios,
        "stopped_index": stopped,
        "message": f"{word} over {len(ratios)} rows, stopped at row {stopped}.",
    }


def sequential_in_run(
    frame: "pd.DataFrame", time_col: str, variant_col: str, ratios: Ratios, delta: float, alpha: float
) -> Result:
    """Run the sequential test as the combined run does: the second ratio is the treatment's."""
    labels = sorted(frame[variant_col].dropna().unique())
    if len(labels) != 2 or len(ratios) != 2:
        raise InputError(f"{len(labels)} variants seen, {len(ratios)} ratios given, 2 are needed")
    treated = ratios[_treatment(labels)] if isinstance(ratios, Mapping) else ratios[1]
    total = sum(ratios.values()) if isinstance(ratios, Mapping) else sum(ratios)
    return sequential_srm(frame, time_col, variant_col, treated / total, delta, alpha)


def answered(check: Callable[[], Result], detected: str) -> Result:
    """Return the result of a check; an error becomes the result."""
    try:
        return check()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return {detected: False, "message": f"Not checked: {error}."}


def _treatment(labels: Sequence[Any]) -> Any:
    named = [label for label in labels if any(word in str(label).lower() for word in ("ctrl", "control"))]
    control = named[0] if named else labels[0]
    return next(label for label in labels if label != control)
