"""Draw the pictures of docs/statistics.md with the code they explain, from seeded simulations.

python docs/make_statistics_pictures.py
"""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from exd_dagster.bins.model import FlagBins, FlagSegments, Segment
from exd_dagster.config import FlagAudit
from exd_dagster.plots import segments_plot, traffic_plot
from exd_dagster.plots.svg import ARMS, BLUE, FAULT, INK, LEFT, RIGHT, Panel, document, text
from exd_dagster.stats.audit import audit_flag
from exd_dagster.stats.fleet import e_bh
from exd_dagster.stats.inputs import Floats, Period
from exd_dagster.stats.methods.change_point import Evidence
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.segments.segment_srm import segment_srm
from exd_dagster.stats.srm.looks import look_levels

PICTURES = Path(__file__).parent / "pictures"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
HOURS = 14 * 24
HALVES = np.array([0.5, 0.5])
SPLIT = {"control": 0.5, "treatment": 0.5}
EVERY_HOUR = np.arange(HOURS) + 1
ALARM = np.log10(1000)


def arrivals(seed: int, treated: Floats, hourly: int = 1000) -> Floats:
    """Units of each hour and arm, float (T, 2), with the given share of treatment in each hour."""
    random = np.random.default_rng(seed)
    ones = random.binomial(hourly, treated)
    return np.stack([hourly - ones, ones], axis=1).astype(float)


def dashed(panel: Panel, values: Floats, color: str) -> str:
    """A dashed line over all hours."""
    return panel.line(EVERY_HOUR, values, color, width=2).replace("/>", ' stroke-dasharray="8 6"/>')


def srm() -> str:
    """Healthy flags asked every hour; seed 248 is one of the 2 % that leave the bound of one look."""
    from scipy.special import ndtri

    panel = Panel(START, HOURS, 44, 316, -6, 6)
    seeds = [*range(11), 248]
    paths = []
    for seed in seeds:
        total = arrivals(seed, np.full(HOURS, 0.5)).cumsum(axis=0)
        paths.append((total[:, 1] - total[:, 0]) / np.sqrt(total.sum(axis=1)))
    once = np.full(HOURS, -ndtri(0.0005))
    close = np.where(np.arange(1, HOURS + 1) % 24 == 0, look_levels(HOURS, 0.001), np.nan)
    daily = -ndtri(np.repeat(close[23::24], 24) / 2)
    outside = [bool((np.abs(path[24:]) > once[24:]).any()) for path in paths]
    lines = [
        panel.line(EVERY_HOUR[::2], path[::2], FAULT if out else BLUE, width=3 if out else 2)
        for path, out in zip(paths, outside, strict=True)
    ]
    bounds = [dashed(panel, sign * bound, INK) for bound in (once, daily) for sign in (1, -1)]
    labels = [(float(daily[-1]), "blocks: all looks", INK), (float(once[-1]), "warns: one look", INK)]
    return document(
        [
            text(LEFT, 22, "distance from the declared split, in standard errors; twelve healthy flags"),
            panel.rule(0),
            *lines,
            *bounds,
            *panel.ticks((-5, 0, 5), lambda value: f"{value:g}"),
            *panel.end_labels(labels),
            *panel.dates(),
        ],
        height=360,
        title="Chi-square asked every hour: the bound of one look and the bound of all looks",
    )


def sequential() -> str:
    """The evidence of a healthy flag and of one whose split breaks on day 5."""
    onset = 120
    periods = [Period(0, HALVES)]
    healthy = log_e_values(arrivals(3, np.full(HOURS, 0.5)), periods) / np.log(10)
    broken = log_e_values(arrivals(4, np.where(np.arange(HOURS) < onset, 0.5, 0.48)), periods) / np.log(10)
    panel = Panel(START, HOURS, 44, 316, -3, 12)
    found = int((broken >= ALARM).argmax())
    return document(
        [
            text(LEFT, 22, "evidence against the declared split, to one"),
            f'<path d="M{panel.x(onset)} 44V316" stroke="{FAULT}" stroke-width="2" opacity=".6"/>',
            text(panel.x(onset) - 10, 66, "50 % becomes 48 %", color=FAULT, anchor="end"),
            dashed(panel, np.full(HOURS, ALARM), INK),
            panel.line(EVERY_HOUR, np.where(np.maximum.accumulate(broken) > 12, np.nan, broken), FAULT),
            panel.line(EVERY_HOUR, healthy, BLUE),
            text(
                panel.x(found) + 34,
                panel.y(ALARM) - 12,
                f"found after {found - onset + 1} h",
                color=FAULT,
                bold=True,
            ),
            *panel.ticks((0, 3, 6, 9, 12), lambda value: f"1e{value:g}" if value else "1"),
            *panel.end_labels([(float(healthy[-1]), "a healthy flag", BLUE), (ALARM, "fails at 1,000", INK)]),
            *panel.dates(),
        ],
        height=360,
        title="The evidence of the sequential test for a healthy and a broken flag",
    )


def change_point() -> str:
    """The posterior of the hour the split broke, at the alarm and a day later."""
    onset, shown = 120, slice(96, 144)
    counts = arrivals(4, np.where(np.arange(HOURS) < onset, 0.5, 0.485))
    periods = [Period(0, HALVES)]
    found = int((log_e_values(counts, periods) >= -np.log(0.001)).argmax()) + 1
    panel = Panel(START + timedelta(hours=shown.start), shown.stop - shown.start, 44, 246, 0, 1)
    marks = [text(LEFT, 22, "probability that the split broke in this hour")]
    width = (RIGHT - LEFT) // (2 * panel.hours)
    for color, end, side in ((ARMS[1], found, 0), (BLUE, found + 24, width)):
        evidence = Evidence(counts[:end], periods).since(np.arange(end), end)
        posterior = np.exp(evidence - evidence.max())
        heights = (posterior / posterior.sum())[shown]
        for hour, height in enumerate(heights):
            y = panel.y(float(height))
            left = panel.x(hour) + side
            outline = f"M{left} {y}h{width - 2}V{panel.bottom}h-{width - 2}z"
            marks.append(f'<path d="{outline}" fill="{color}"/>')
    marks += [
        panel.rule(0),
        *panel.ticks((0, 0.5, 1), lambda value: f"{100 * value:g} %"),
        *panel.end_labels([(0.9, "at the alarm", ARMS[1]), (0.7, "a day later", BLUE)]),
        *panel.dates(),
    ]
    return document(marks, height=290, title="The change point: which hour the split most likely broke")


def traffic() -> str:
    """A flag that loses 60 % of its traffic in its last eight hours."""
    random = np.random.default_rng(7)
    hour = np.arange(28 * 24)
    rhythm = (1 + (2 / 3) * np.sin(2 * np.pi * hour / 24)) * np.where(hour // 24 % 7 >= 5, 0.7, 1.0)
    volumes = random.poisson(2000 * rhythm * random.lognormal(0, 0.05, len(hour)))
    volumes[-8:] = 0.4 * volumes[-8:]
    treated = random.binomial(volumes, 0.5)
    units = np.stack([volumes - treated, treated], axis=1)
    flag = FlagAudit(key="checkout", start=START, split=SPLIT)
    bins = FlagBins(flag.id, tuple(SPLIT), START, units, units, units, np.ones(len(hour), dtype=bool))
    return traffic_plot(bins, flag, audit_flag(flag, bins).traffic_drop)


def fleet() -> str:
    """A hundred flags by their evidence, and the line above which e-BH reports them."""
    flags, faulty = 100, 4
    random = np.random.default_rng(9)
    share = np.where(np.arange(flags) < faulty, 0.485, 0.5)
    treated = random.binomial(1000, share[:, None], (flags, 72)).astype(float)
    evidence = log_e_values(np.stack([1000 - treated, treated], axis=2), [Period(0, HALVES)])[:, -1]
    order = np.argsort(-evidence)
    found = int(e_bh(evidence).sum())
    rank = np.arange(1, flags + 1)
    bound = np.log10(flags / (0.05 * rank))
    panel = Panel(START, flags, 44, 246, -2, 12)
    colors = [FAULT] * found + [BLUE] * (flags - found)
    heights = [panel.y(float(e)) for e in evidence[order] / np.log(10)]
    dots = [
        f'<circle cx="{panel.x(i)}" cy="{y}" r="5" fill="{color}"/>'
        for i, y, color in zip(rank, heights, colors, strict=True)
    ]
    line = panel.line(rank, bound, INK, width=2).replace("/>", ' stroke-dasharray="8 6"/>')
    return document(
        [
            text(LEFT, 22, "evidence of a hundred flags, strongest first; four are faulty"),
            panel.rule(0),
            line,
            *dots,
            *panel.ticks((0, 4, 8, 12), lambda value: f"1e{value:g}" if value else "1"),
            *panel.end_labels([(float(bound[-1]), "e-BH at 5 %", INK), (10.0, f"{found} discovered", FAULT)]),
        ],
        height=270,
        title="e-BH over a fleet of flags",
    )


def segments() -> str:
    """A flag of which Safari, a tenth of the units, loses half of its treatment on the tenth day."""
    random = np.random.default_rng(4)
    sizes = {"Chrome": 600, "Edge": 120, "Firefox": 80, "Safari": 100}
    kept = np.where(EVERY_HOUR[:, None] > 9 * 24 + 14, [1.0, 0.5], [1.0, 1.0])
    parts = [
        random.poisson(n / 2 * (kept if name == "Safari" else np.ones((HOURS, 2))))
        for name, n in sizes.items()
    ]
    counts = np.array(parts)
    mobile = random.binomial(counts.sum(axis=0), 0.4)
    counts = np.concatenate([counts, [mobile, counts.sum(axis=0) - mobile]])
    names = [Segment("browser", name) for name in sizes] + [
        Segment("device", x) for x in ("mobile", "desktop")
    ]
    flag = FlagAudit(key="checkout", start=START, split=SPLIT)
    units = counts[:4].sum(axis=0)
    bins = FlagBins(flag.id, tuple(SPLIT), START, units, units, units, np.ones(HOURS, dtype=bool))
    return segments_plot(segment_srm(flag, bins, FlagSegments(START, tuple(SPLIT), tuple(names), counts)))


if __name__ == "__main__":
    for draw in (srm, sequential, change_point, traffic, fleet, segments):
        (PICTURES / f"statistics_{draw.__name__}.svg").write_text(draw() + "\n")
