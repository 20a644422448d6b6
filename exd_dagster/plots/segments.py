"""The split of every segment: its share with an interval beside the declared one, those at fault marked."""

from collections.abc import Sequence

from exd_dagster.plots.svg import (
    BLUE,
    FAULT,
    INK,
    LINE,
    document,
    hour_name,
    nice,
    short,
    text,
)
from exd_dagster.stats import words
from exd_dagster.stats.segments.verdict import SegmentRow, SegmentSrmVerdict

ROWS = 8
"""Segments drawn: the failing ones, then the largest others."""
_FROM, _TO = 480, 820
_TOP, _STEP = 64, 30
_LONGEST = 28
"""Signs of a segment's name."""


def segments_plot(verdict: SegmentSrmVerdict) -> str:
    """Draw one row per segment: name, units, share with its interval, and of a failing one since when.

    The interval is the 95 % confidence sequence, which holds at all hours together; the line through it is
    the declared share of the segment's units.

    Args:
        verdict: of `segment_srm`.

    Returns:
        An SVG document of 640 px by up to 160 px, or "" where no segment was tested.
    """
    rows = verdict.rows[:ROWS]
    if not rows:
        return ""
    low, high = _range(rows)
    bottom = _TOP + _STEP * len(rows)
    more = verdict.segments_tested - len(rows)
    marks = [
        text(_FROM - 44, 22, "units", anchor="end"),
        text(_FROM, 22, f"share of {short(verdict.variant or '', 24)}, 95 % interval; line: declared"),
        *(_tick(share, low, high) for share in sorted({low, rows[0].declared, high})),
        *(mark for i, row in enumerate(rows) for mark in _row(row, _TOP + _STEP * i, low, high)),
        *([text(16, bottom + 18, f"and {words.number(more)} more segments")] if more > 0 else []),
    ]
    height = bottom + (LINE if more > 0 else 0) + 10
    return document(marks, height=height + height % 2, title=f"Split by segment: {verdict.verdict}")


def _range(rows: Sequence[SegmentRow]) -> tuple[float, float]:
    """Return the shares at both ends: room for every share, and for the intervals of the failing ones."""
    middle = rows[0].declared
    away = [abs(row.share - middle) for row in rows] + [abs(row.declared - middle) for row in rows]
    certain = [row for row in rows if row.failed] or rows
    away += [abs(end - middle) for row in certain for end in (row.low, row.high)]
    reach = nice(max(*away, 0.005))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _x(share: float, low: float, high: float) -> int:
    inside = min(max(share, low), high)
    return round(_FROM + (_TO - _FROM) * (inside - low) / (high - low))


def _tick(share: float, low: float, high: float) -> str:
    return text(_x(share, low, high), 48, words.percent(share), anchor="middle")


def _row(row: SegmentRow, y: int, low: float, high: float) -> list[str]:
    color = FAULT if row.failed else BLUE
    x, left, right = (_x(share, low, high) for share in (row.share, row.low, row.high))
    declared, middle = _x(row.declared, low, high), y + 12
    marks = [
        text(
            16, y + 20, short(f"{row.dimension} = {row.value}", _LONGEST), color=FAULT if row.failed else ""
        ),
        text(_FROM - 44, y + 20, words.number(row.units), anchor="end"),
        f'<path d="M{declared} {y - 3}V{y + _STEP - 3}" stroke="{INK}" stroke-width="2" opacity=".6"/>',
        f'<path d="M{left} {middle}H{right}" stroke="{color}" stroke-width="4" opacity=".6"/>',
        f'<circle cx="{x}" cy="{middle}" r="7" fill="{color}"/>',
    ]
    if not row.failed:
        return [*marks, text(_TO + 24, y + 20, words.percent(row.share))]
    shares = f"{words.percent(row.share)} {_when(row)}"
    return [*marks, text(_TO + 24, y + 20, shares, color=FAULT, bold=True)]


def _when(row: SegmentRow) -> str:
    """Say since when a segment is at fault, or from when to when."""
    if row.bad_from is None:
        return ""
    if row.bad_until is None:
        return f"since {hour_name(row.bad_from)}"
    return f"{hour_name(row.bad_from)} to {hour_name(row.bad_until)}"
