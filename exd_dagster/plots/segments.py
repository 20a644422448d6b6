"""A row per segment: its share, or what is left of its traffic, beside what was expected."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

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
from exd_dagster.stats.segments.traffic import SegmentTrafficVerdict
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict

ROWS = 8
"""Segments drawn: the failing ones, then the largest others."""
_FROM, _TO = 480, 820
_TOP, _STEP = 64, 30
_LONGEST = 28
"""Signs of a segment's name."""


class _Row(NamedTuple):
    """What is drawn of one segment: a point, an interval, and the line that it is compared with."""

    name: str
    units: float
    value: float
    line: float
    low: float
    high: float
    failed: bool
    bad_from: datetime | None
    bad_until: datetime | None


def segments_plot(verdict: SegmentSrmVerdict) -> str:
    """Draw one row per segment: name, units, share with its interval, and of a failing one since when.

    The interval is the 95 % confidence sequence, which holds at all hours together; the line through it is
    the declared share of the segment's units.

    Args:
        verdict: of `segment_srm`.

    Returns:
        An SVG document of 640 px by up to 160 px, or "" where no segment was tested.
    """
    rows = [
        _Row(
            *(f"{row.dimension} = {row.value}", row.units, row.share, row.declared, row.low, row.high),
            *(row.failed, row.bad_from, row.bad_until),
        )
        for row in verdict.rows[:ROWS]
    ]
    said = f"share of {short(verdict.variant or '', 24)}, 95 % interval; line: declared"
    more = verdict.segments_tested - len(rows)
    return _drawn(rows, said, more, f"Split by segment: {verdict.verdict}", top=1.0)


def parts_plot(verdict: SegmentTrafficVerdict) -> str:
    """Draw one row per arm or segment: name, units, what is left of its expected traffic, and since when.

    The line is all that was expected, the interval four deviations around it: about where an hour alarms.

    Args:
        verdict: of `segment_traffic`.

    Returns:
        An SVG document of 640 px by up to 160 px, or "" where nothing was compared.
    """
    rows = [
        _Row(
            *(row.part, row.units, row.kept, 1.0, row.low, row.high, row.failed),
            *(row.bad_from, row.bad_until),
        )
        for row in verdict.rows[:ROWS]
    ]
    more = verdict.parts_tested - len(rows)
    title = f"Traffic by segment: {verdict.verdict}"
    return _drawn(rows, "units of those expected; bar: what chance allows", more, title)


def _drawn(rows: Sequence[_Row], said: str, more: int, title: str, *, top: float | None = None) -> str:
    if not rows:
        return ""
    low, high = _range(rows, top)
    bottom = _TOP + _STEP * len(rows)
    marks = [
        text(_FROM - 44, 22, "units", anchor="end"),
        text(_FROM, 22, said),
        *(_tick(share, low, high) for share in sorted({low, rows[0].line, high})),
        *(mark for i, row in enumerate(rows) for mark in _row(row, _TOP + _STEP * i, low, high)),
        *([text(16, bottom + 18, f"and {words.number(more)} more segments")] if more > 0 else []),
    ]
    height = bottom + (LINE if more > 0 else 0) + 10
    return document(marks, height=height + height % 2, title=title)


def _range(rows: Sequence[_Row], top: float | None) -> tuple[float, float]:
    """Return the values at both ends: room for every one, and for the intervals of the failing ones."""
    middle = rows[0].line
    away = [abs(row.value - middle) for row in rows] + [abs(row.line - middle) for row in rows]
    certain = [row for row in rows if row.failed] or rows
    away += [abs(end - middle) for row in certain for end in (row.low, row.high)]
    reach = nice(max(*away, 0.005))
    high = middle + reach
    return max(middle - reach, 0.0), high if top is None else min(high, top)


def _x(share: float, low: float, high: float) -> int:
    inside = min(max(share, low), high)
    return round(_FROM + (_TO - _FROM) * (inside - low) / (high - low))


def _tick(share: float, low: float, high: float) -> str:
    return text(_x(share, low, high), 48, words.percent(share), anchor="middle")


def _row(row: _Row, y: int, low: float, high: float) -> list[str]:
    color = FAULT if row.failed else BLUE
    x, left, right = (_x(share, low, high) for share in (row.value, row.low, row.high))
    line, middle = _x(row.line, low, high), y + 12
    marks = [
        text(16, y + 20, short(row.name, _LONGEST), color=FAULT if row.failed else ""),
        text(_FROM - 44, y + 20, words.number(row.units), anchor="end"),
        f'<path d="M{line} {y - 3}V{y + _STEP - 3}" stroke="{INK}" stroke-width="2" opacity=".6"/>',
        f'<path d="M{left} {middle}H{right}" stroke="{color}" stroke-width="4" opacity=".6"/>',
        f'<circle cx="{x}" cy="{middle}" r="7" fill="{color}"/>',
    ]
    if not row.failed:
        return [*marks, text(_TO + 24, y + 20, words.percent(row.value))]
    shares = f"{words.percent(row.value)} {_when(row)}"
    return [*marks, text(_TO + 24, y + 20, shares, color=FAULT, bold=True)]


def _when(row: _Row) -> str:
    """Say since when a segment is at fault, or from when to when."""
    if row.bad_from is None:
        return ""
    if row.bad_until is None:
        return f"since {hour_name(row.bad_from)}"
    return f"{hour_name(row.bad_from)} to {hour_name(row.bad_until)}"
