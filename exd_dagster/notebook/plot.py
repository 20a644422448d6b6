"""The picture of a monitored log: units so far, their ratio R(t), and the sequential evidence, by hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import FlagBins
from exd_dagster.plots.svg import ARMS, FAULT, LEFT, RIGHT, Panel, document, nice, sample, text
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict

POINTS = 900
"""Points of all lines together."""
HEIGHT = 620


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG document displayed by notebooks."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the document to a file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def monitor_plot(
    bins: FlagBins, reference: str | None = None, verdict: SequentialSrmVerdict | None = None
) -> Picture:
    """Draw a log's bins.

    Args:
        bins: its hours.
        reference: variant every other is compared with in R(t); None: the first.
        verdict: the sequential verdict whose evidence is drawn; None: the split is not declared.

    Returns:
        Up to four variants, those with most units, on three panels over the same hours.
    """
    if not len(bins):
        return Picture(document([text(LEFT, 80, "no record yet")], height=120, title="Live monitor"))
    totals = bins.new_units.cumsum(axis=0).astype(float)
    arms = sorted(np.argsort(-totals[-1], kind="stable")[: len(ARMS)].tolist())
    base = bins.variants.index(reference) if reference in bins.variants else arms[0]
    at = sample(len(bins), POINTS // (3 * len(arms)))
    marks = [
        *_units(bins, totals, arms, at),
        *_ratios(bins, totals, arms, base, at),
        *_evidence(bins, verdict, at),
    ]
    return Picture(document(marks, height=HEIGHT, title="Live monitor: units, their ratio, evidence"))


def _units(
    bins: FlagBins, totals: NDArray[np.float64], arms: Sequence[int], at: NDArray[np.int64]
) -> list[str]:
    panel = Panel(bins.start, len(bins), 44, 184, 0, nice(max(totals.max(), 1.0)))
    return [
        text(LEFT, 28, "units so far"),
        panel.rule(0),
        *panel.ticks((0, panel.high), lambda value: f"{value:g}" if value < 1e4 else f"{value / 1e3:g}k"),
        *(panel.line(at + 1, totals[at, arm], ARMS[i]) for i, arm in enumerate(arms)),
        *panel.end_labels([(totals[-1, arm], bins.variants[arm], ARMS[i]) for i, arm in enumerate(arms)]),
    ]


def _ratios(
    bins: FlagBins, totals: NDArray[np.float64], arms: Sequence[int], base: int, at: NDArray[np.int64]
) -> list[str]:
    """R(t) is the units of an arm so far over those of the reference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(totals[:, [base]] > 0, totals / totals[:, [base]], np.nan)
    drawn = [(i, arm) for i, arm in enumerate(arms) if arm != base]
    late = ratio[len(ratio) // 4 :, [arm for _, arm in drawn]]
    if not drawn or np.isnan(late).all():
        return [text(LEFT, 234, "R(t): one variant only")]
    low, high = float(np.nanmin(late)), float(np.nanmax(late))
    margin = max(0.25 * (high - low), 0.01 * high, 1e-3)
    panel = Panel(bins.start, len(bins), 250, 390, max(low - margin, 0.0), high + margin)
    return [
        text(LEFT, 234, f"R(t), units so far / those of {bins.variants[base]}"),
        *panel.ticks((panel.low, panel.high), lambda value: f"{value:.3g}"),
        *(panel.line(at + 1, ratio[at, arm], ARMS[i]) for i, arm in drawn),
        *panel.end_labels([(ratio[-1, arm], f"{ratio[-1, arm]:.3g}", ARMS[i]) for i, arm in drawn]),
    ]


def _evidence(bins: FlagBins, verdict: SequentialSrmVerdict | None, at: NDArray[np.int64]) -> list[str]:
    if verdict is None or len(verdict.log_e_values) != len(bins):
        return [text(LEFT, 440, "evidence: declare the split with expected_ratios")]
    values, alarm = np.array(verdict.log_e_values), -log(verdict.alpha)
    panel = Panel(bins.start, len(bins), 456, 580, min(values.min(), 0.0), max(1.2 * alarm, values.max()))
    color = FAULT if verdict.failed else ARMS[0]
    return [
        text(LEFT, 440, "evidence against the declared split (ln E)"),
        panel.rule(alarm),
        text(RIGHT + 12, panel.y(alarm) + 8, f"alarm, 1 in {exp(alarm):,.0f}"),
        *panel.ticks((0, alarm), lambda value: f"{value:.1f}"),
        panel.line(at + 1, values[at], color),
        *panel.dates(),
    ]
