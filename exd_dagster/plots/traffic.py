"""Hourly traffic against what the same hours of the weeks before let expect."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import Event, FlagAudit
from exd_dagster.plots.svg import BLUE, FAULT, INK, LEFT, LINE, RIGHT, Panel, document, nice, short, text
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Booleans
from exd_dagster.stats.traffic.baseline import WEEK
from exd_dagster.stats.traffic.declared import coverage_changes, known_days
from exd_dagster.stats.traffic.seasonal import SeasonalScan
from exd_dagster.stats.traffic.traffic import TrafficVerdict
from exd_dagster.stats.verdict import Verdict

LABEL_LINES = 3
"""Lines on which events, holidays and phases are named; what finds no room is not."""
LONGEST_LABEL, LETTER = 40, 12
"""Signs of a label, and the width of one in units of the drawing."""


def traffic_plot(bins: FlagBins, flag: FlagAudit, verdict: Verdict) -> str:
    """Draw the distinct units of each hour of the last week in the band of what was expected of it.

    Events and holidays are shaded under their names, and their excluded hours are drawn in grey.
    A dashed line marks a phase that changes the coverage, or declares none.

    Args:
        bins: the flag's closed hours. Hours in which nothing was delivered for any flag leave a gap.
        flag: its phases, events and holidays.
        verdict: of `traffic_drop` over the same hours. What it expected is the band, its volumes are written
            beside the last hour, its hours at fault are marked.

    Returns:
        An SVG document of 640 x 130 px, or "" where there is no hour.
    """
    if not len(bins):
        return ""
    volumes = np.where(bins.delivered, bins.units.sum(axis=1), np.nan)[-WEEK:]
    learned = verdict.scan if isinstance(verdict, TrafficVerdict) else None
    low, high = _band(learned) if learned else (volumes * np.nan, volumes * np.nan)
    count = len(volumes)
    top = nice(float(np.nanmax(np.append(volumes, high), initial=1.0)))
    panel = Panel(bins.audited_through - HOUR * count, count, 36, 216, 0, top)
    ends = np.arange(count) + 1
    days = known_days(flag, panel.start, bins.audited_through)
    left_out = _left_out(panel, days)
    marks = [
        *_known(panel, flag, days),
        *panel.fault(verdict, bottom=panel.bottom),
        panel.area(ends, low, high),
        panel.rule(0),
        *(
            [panel.line(ends, np.where(_and_beside(left_out), volumes, np.nan), INK)]
            if left_out.any()
            else []
        ),
        panel.line(ends, np.where(left_out, np.nan, volumes), BLUE),
        *panel.ticks((0, top), lambda value: f"{value:,.0f}"),
        text(LEFT, 22, "units an hour"),
        *_against(panel, verdict, volumes),
        *panel.dates(),
    ]
    return document(marks, height=256, title=f"Traffic of {bins.flag}: {verdict.verdict}")


def _hours(panel: Panel, day: Event) -> slice:
    """Return the hours of the panel that an event or a holiday touches."""
    first, last = (day.start - panel.start) // HOUR, -((panel.start - day.end) // HOUR)
    return slice(max(first, 0), min(last, panel.hours))


def _left_out(panel: Panel, days: Sequence[Event]) -> Booleans:
    """Return which hours of the panel are not evaluated, bool (hours,)."""
    hours = np.zeros(panel.hours, dtype=bool)
    for day in days:
        hours[_hours(panel, day)] |= not day.judge
    return hours


def _and_beside(hours: Booleans) -> Booleans:
    """Return these hours and those next to them, to which their line leads."""
    return np.asarray(hours | np.append(hours[1:], False) | np.append(False, hours[:-1]))


def _known(panel: Panel, flag: FlagAudit, days: Sequence[Event]) -> list[str]:
    """Shade and name events and holidays, and mark and name the phases that change the coverage."""
    spans = [_hours(panel, day) for day in days]
    marks = [panel.shade(span.start, span.stop, bottom=panel.bottom) for span in spans]
    names = [(panel.x((span.start + span.stop) / 2), day.note) for span, day in zip(spans, days, strict=True)]
    for start, coverage in coverage_changes(flag):
        if panel.start <= start < panel.start + HOUR * panel.hours:
            x = panel.x_at(start)
            dashes = 'stroke-width="3" stroke-dasharray="8 8"'
            marks.append(f'<path d="M{x} {panel.top}V{panel.bottom}" stroke="{INK}" {dashes}/>')
            names.append((x, "new phase" if coverage is None else f"coverage {words.percent(coverage)}"))
    return [*marks, *_labels(panel, sorted(names))]


def _labels(panel: Panel, names: Sequence[tuple[int, str]]) -> list[str]:
    """Write names around their x inside the panel, each on the first line that is free there."""
    marks, ends = [], [LEFT] * LABEL_LINES
    for middle, name in names:
        label = short(name, LONGEST_LABEL)
        half = len(label) * LETTER // 2
        x = min(max(middle, LEFT + half), RIGHT - half)
        line = next((line for line, end in enumerate(ends) if end <= x - half), None)
        if line is not None:
            ends[line] = x + half + LETTER
            marks.append(text(x, panel.top + 22 + LINE * line, label, anchor="middle"))
    return marks


def _band(learned: SeasonalScan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (low, high) of each hour: what the test expected, give or take four deviations."""
    # About there a single hour alarms. NaN while the test was learning.
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
