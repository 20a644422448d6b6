"""Hourly traffic against what the same hours of the weeks before let expect."""

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.plots.svg import BLUE, FAULT, LEFT, LINE, RIGHT, Panel, document, nice, text
from exd_dagster.stats.traffic.baseline import WEEK
from exd_dagster.stats.traffic.seasonal import SeasonalScan
from exd_dagster.stats.traffic.traffic import TrafficVerdict
from exd_dagster.stats.verdict import Verdict


def traffic_plot(bins: FlagBins, verdict: Verdict) -> str:
    """Draw the distinct units of each hour of the last week in the band of what was expected of it.

    Args:
        bins: the flag's closed hours. Hours in which nothing landed for any flag leave a gap.
        verdict: of `traffic_drop` over the same hours. What it expected is the band, its volumes are written
            beside the last hour, its hours at fault are marked.

    Returns:
        An SVG document of 640 x 130 px, or "" where there is no hour.
    """
    if not len(bins):
        return ""
    volumes = np.where(bins.landed, bins.units.sum(axis=1), np.nan)[-WEEK:]
    learned = verdict.scan if isinstance(verdict, TrafficVerdict) else None
    low, high = _band(learned) if learned else (volumes * np.nan, volumes * np.nan)
    count = len(volumes)
    top = nice(float(np.nanmax(np.append(volumes, high), initial=1.0)))
    panel = Panel(bins.audited_through - HOUR * count, count, 36, 216, 0, top)
    ends = np.arange(count) + 1
    marks = [
        *panel.fault(verdict, bottom=panel.bottom),
        panel.area(ends, low, high),
        panel.rule(0),
        panel.line(ends, volumes, BLUE),
        *panel.ticks((0, top), lambda value: f"{value:,.0f}"),
        text(LEFT, 22, "units an hour"),
        *_against(panel, verdict, volumes),
        *panel.dates(),
    ]
    return document(marks, height=256, title=f"Traffic of {bins.flag}: {verdict.verdict}")


def _band(learned: SeasonalScan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (low, high) of each hour: what the test expected, give or take four deviations.

    About there a single hour alarms. NaN while the test was learning.
    """
    mean = learned.expected[-WEEK:]
    deviation = np.sqrt(mean + learned.dispersion[0, -WEEK:] * mean**2)
    return np.maximum(mean - 4 * deviation, 0), mean + 4 * deviation


def _against(panel: Panel, verdict: Verdict, volumes: NDArray[np.float64]) -> list[str]:
    """Say, right of the last hour, what the worst window saw and what it expected."""
    if not isinstance(verdict, TrafficVerdict):
        return []
    if verdict.latest_volume is None or verdict.expected_volume is None:
        return []
    window = f" in {verdict.window} h" if verdict.window > 1 else ""
    color = FAULT if verdict.failed else BLUE
    y = min(panel.y(float(np.nan_to_num(volumes[-1]))), panel.bottom - LINE)
    return [
        text(RIGHT + 12, y, f"{verdict.latest_volume:,.0f} seen{window}", color=color, bold=True),
        text(RIGHT + 12, y + LINE, f"{verdict.expected_volume:,.0f} expected"),
    ]
