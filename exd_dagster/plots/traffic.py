"""Hourly traffic against what the same hours of the weeks before let expect."""

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.plots.svg import BLUE, FAULT, LEFT, RIGHT, Panel, document, hour_name, nice, text
from exd_dagster.stats.verdict import Verdict

WEEK = 168
"""Hours shown, and the lag of the expectation."""


def traffic_plot(bins: FlagBins, verdict: Verdict) -> str:
    """Draw the distinct units of each hour of the last week in the band of what was expected of it.

    Args:
        bins: the flag's closed hours. Hours in which nothing landed for any flag leave a gap.
        verdict: of `traffic_drop`; the hours from `bad_from` on are marked.

    Returns:
        An SVG document of 640 x 130 px, or "" where there is no hour.
    """
    if not len(bins):
        return ""
    volumes = np.where(bins.landed, bins.units.sum(axis=1), np.nan)
    low, high = _expected(volumes)
    shown = slice(max(len(bins) - WEEK, 0), None)
    volumes, low, high = volumes[shown], low[shown], high[shown]
    count = len(volumes)
    top = nice(float(np.nanmax(np.append(volumes, high), initial=1.0)))
    panel = Panel(bins.audited_through - HOUR * count, count, 36, 216, 0, top)
    ends = np.arange(count) + 1
    marks = [
        *_fault(panel, verdict),
        panel.area(ends, low, high),
        panel.rule(0),
        panel.line(ends, volumes, BLUE),
        *panel.ticks((0, top), lambda value: f"{value:,.0f}"),
        text(LEFT, 22, "units an hour"),
        *_against(panel, verdict, volumes),
        *panel.dates(),
    ]
    return document(marks, height=256, title=f"Traffic of {bins.flag}: {verdict.verdict}")


def _expected(volumes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (low, high) of each hour: the mean of up to three weekly lags, give or take four deviations.

    The deviation is negative binomial, its dispersion taken from how far earlier expectations missed; NaN
    while there is no earlier week.
    """
    lags = np.full((3, len(volumes)), np.nan)
    for lag in range(1, 4):
        lags[lag - 1, WEEK * lag :] = volumes[: max(len(volumes) - WEEK * lag, 0)]
    known = ~np.isnan(lags).all(axis=0)
    mean = np.full(len(volumes), np.nan)
    mean[known] = np.nanmean(lags[:, known], axis=0)
    missed = ((volumes - mean) ** 2 - mean) / np.maximum(mean, 1) ** 2
    missed = missed[~np.isnan(missed)]
    dispersion = max(float(np.minimum(missed, np.quantile(missed, 0.95)).mean()), 0.0) if len(missed) else 0.0
    deviation = np.sqrt(mean + dispersion * mean**2)
    return np.maximum(mean - 4 * deviation, 0), mean + 4 * deviation


def _fault(panel: Panel, verdict: Verdict) -> list[str]:
    """Mark the hours at fault and say since when."""
    if not verdict.failed or verdict.bad_from is None:
        return []
    until = "" if verdict.bad_until is None else f" to {hour_name(verdict.bad_until)}"
    words = f"low from {hour_name(verdict.bad_from)}{until}"
    return [
        panel.fault(verdict.bad_from, verdict.bad_until, bottom=panel.bottom),
        text(RIGHT, 22, words, color=FAULT, anchor="end", bold=True),
    ]


def _against(panel: Panel, verdict: Verdict, volumes: NDArray[np.float64]) -> list[str]:
    """Say, right of the last hour, what was seen and what was expected."""
    seen, expected = (getattr(verdict, name, None) for name in ("latest_volume", "expected_volume"))
    if seen is None or expected is None or not isfinite(expected):
        return []
    color = FAULT if verdict.failed else BLUE
    y = min(panel.y(float(np.nan_to_num(volumes[-1]))), panel.bottom - 24)
    return [
        text(RIGHT + 12, y, f"{seen:,.0f} seen", color=color, bold=True),
        text(RIGHT + 12, y + 26, f"{expected:,.0f} expected"),
    ]
