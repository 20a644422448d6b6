"""What every picture is made of: panels, lines, bands, labels and the document around them.

A drawing is 1280 units wide and shown at 640 px: half pixels, so that whole numbers are fine enough and
paths stay short. Colours are of middle lightness (contrast of 3.5 or more on white and on near-black), since
a picture inside a page cannot know which theme the reader chose. The same input gives the same bytes.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from math import floor, inf, log10

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.model import HOUR, Counts
from exd_dagster.stats.verdict import Verdict

INK = "#7c828b"
BLUE = "#3b82f6"
FAULT = "#e5484d"
ARMS = (BLUE, "#cb6d05", "#0d9488", "#a855f7")
"""One colour for each arm drawn."""

LEFT, RIGHT, WIDTH = 84, 928, 1280
LINE = 26
"""Least distance between two lines of text."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def as_markdown_image(svg: str, alt: str) -> str:
    """Return the picture as a Markdown image that carries itself; "" for an empty picture."""
    if not svg:
        return ""
    words = "".join(" " if c in "[]()!\\`<>" else c for c in alt).split()
    return f"![{' '.join(words)}]({as_data_uri(svg)})"


def as_data_uri(svg: str) -> str:
    """Return the picture as an address that carries it."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def document(marks: Iterable[str], *, height: int, title: str) -> str:
    """Return the marks as one SVG document of 640 px by half of `height`, with a title for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH // 2}" height="{height // 2}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" fill="{INK}" font-family="system-ui,sans-serif" '
        f'font-size="22"><title>{printable(title)}</title>{"".join(marks)}</svg>'
    )


def printable(text: str) -> str:
    """Return foreign text escaped for XML, without control characters, cut to 80 characters."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return escape(clean if len(clean) <= 80 else clean[:79] + "…")


def text(x: int, y: int, words: str, *, color: str = "", anchor: str = "", bold: bool = False) -> str:
    """Return one line of text whose baseline begins, or with `anchor` ends, at (x, y)."""
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in (("fill", color), ("text-anchor", anchor), ("font-weight", "600" if bold else ""))
        if value
    )
    return f'<text x="{x}" y="{y}"{attributes}>{printable(words)}</text>'


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes: hours from left to right, values from `low` at the bottom to `high` at the top."""

    start: datetime
    hours: int
    top: int
    bottom: int
    low: float
    high: float

    def x(self, hour: float) -> int:
        """Return the x coordinate of an hour, counted from the first."""
        return round(LEFT + (RIGHT - LEFT) * hour / max(self.hours, 1))

    def x_at(self, instant: datetime) -> int:
        """Return the x coordinate of an instant, clipped to the panel."""
        return self.x(min(max((instant - self.start) / HOUR, 0), self.hours))

    def y(self, value: float) -> int:
        """Return the y coordinate of a value, clipped to the panel."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1)
        return round(self.bottom - (self.bottom - self.top) * share)

    def line(self, hours: Counts, values: NDArray[np.float64], color: str) -> str:
        """Draw values at hours; a value that is NaN leaves a gap."""
        pieces = [_path(self._points(*piece)) for piece in _pieces(hours, values)]
        return f'<path d="{"".join(pieces)}" fill="none" stroke="{color}" stroke-width="3"/>'

    def area(
        self, hours: Counts, low: NDArray[np.float64], high: NDArray[np.float64], color: str = INK
    ) -> str:
        """Fill between two lines, softly; where either is NaN nothing is filled."""
        both = np.where(np.isnan(low), low, high)
        pieces = []
        for at, upper in _pieces(hours, both):
            lower = low[np.searchsorted(hours, at)]
            there, back = self._points(at, upper), self._points(at, lower)[::-1]
            pieces.append(_path([*there, *back]) + "z")
        return f'<path d="{"".join(pieces)}" fill="{color}" opacity=".2"/>'

    def _points(self, hours: Counts, values: NDArray[np.float64]) -> list[tuple[int, int]]:
        share = (values.clip(self.low, self.high) - self.low) / ((self.high - self.low) or 1)
        x = np.rint(LEFT + (RIGHT - LEFT) * hours / max(self.hours, 1)).astype(int)
        y = np.rint(self.bottom - (self.bottom - self.top) * share).astype(int)
        return straightened(list(zip(x.tolist(), y.tolist(), strict=True)))

    def rule(self, value: float) -> str:
        """Draw a thin horizontal line at a value."""
        return f'<path d="M{LEFT} {self.y(value)}H{RIGHT}" stroke="{INK}" stroke-width="2" opacity=".6"/>'

    def ticks(self, values: Iterable[float], words: Callable[[float], str]) -> list[str]:
        """Write values left of the panel, each at its height."""
        return [text(LEFT - 12, self.y(value) + 8, words(value), anchor="end") for value in values]

    def shade(self, first: int, end: int, *, bottom: int) -> str:
        """Shade the hours [first, end) in grey, down to `bottom`; a single hour of many stays visible."""
        left, right = self.x(first), max(self.x(end), self.x(first) + 4)
        return f'<path d="M{left} {self.top}H{right}V{bottom}H{left}z" fill="{INK}" opacity=".25"/>'

    def fault(self, verdict: Verdict, *, bottom: int) -> list[str]:
        """Shade the hours that are not usable, down to `bottom`, and mark where the fault most likely began.

        Nothing is drawn unless the verdict failed and knows its hours.
        """
        if not verdict.failed or verdict.bad_from is None:
            return []
        began = self.x_at(verdict.bad_from)
        first = min(self.x_at(verdict.usable_until or verdict.bad_from), began)
        last = RIGHT if verdict.bad_until is None else self.x_at(verdict.bad_until)
        return [
            f'<path d="M{first} {self.top}H{last}V{bottom}H{first}z" fill="{FAULT}" opacity=".1"/>',
            f'<path d="M{began} {self.top}V{bottom}" stroke="{FAULT}" stroke-width="3"/>',
            text(
                RIGHT,
                self.top - 14,
                _when(verdict.bad_from, verdict.bad_until, self.start),
                color=FAULT,
                anchor="end",
                bold=True,
            ),
        ]

    def dates(self) -> list[str]:
        """Write the first of every so many days under the panel, six at most."""
        midnight = self.start.replace(hour=0, minute=0)
        days = [midnight + timedelta(days=day) for day in range(self.hours // 24 + 2)]
        inside = [day for day in days if self.start <= day <= self.start + HOUR * self.hours]
        every = max(-(-len(inside) // 6), 1)
        return [
            f'<path d="M{self.x_at(day)} {self.bottom}v8" stroke="{INK}" stroke-width="2"/>'
            + text(self.x_at(day), self.bottom + 30, day_name(day), anchor="middle")
            for day in inside[::every]
        ]

    def end_labels(self, labels: Sequence[tuple[float, str, str]]) -> list[str]:
        """Write (value, words, colour) right of the panel, at its value's height or the next free line."""
        placed: list[str] = []
        free = self.top + 8
        in_order = sorted(labels, key=lambda label: -label[0])
        for position, (value, words, color) in enumerate(in_order):
            lowest = self.bottom + 8 - LINE * (len(in_order) - 1 - position)
            y = max(min(self.y(value) + 8, lowest), free)
            placed.append(text(RIGHT + 12, y, words, color=color, bold=True))
            free = y + LINE
        return placed


def _when(began: datetime, ended: datetime | None, start: datetime) -> str:
    """Say when a fault began and, if it has, ended: "since about 12 Mar 14:00 UTC"."""
    onset = "the start" if began <= start else f"about {hour_name(began)}"
    if ended is None:
        return f"since {onset} UTC" if began > start else f"since {onset}"
    return f"from {onset} to {hour_name(ended)} UTC"


def _pieces(
    hours: Counts, values: NDArray[np.float64]
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the runs of values between those that are NaN."""
    known = np.flatnonzero(~np.isnan(values))
    runs = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return [(hours[run], values[run]) for run in runs if len(run)]


def straightened(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drop points within one unit of the line between their neighbours, which are not visible.

    Args:
        points: (x, y), x ascending. Of points at one x some may be left out.
    """
    if len(points) < 3:
        return list(points)
    kept, before = [points[0]], points[0]
    low, high = -inf, inf  # slopes of a line from the point kept last through all since
    for x, y in points[1:]:
        away = x - kept[-1][0]
        slope = (y - kept[-1][1]) / away if away else inf
        if not low <= slope <= high:
            kept.append(before)
            low, high, away = -inf, inf, x - before[0]
        if away:
            low = max(low, (y - 1 - kept[-1][1]) / away)
            high = min(high, (y + 1 - kept[-1][1]) / away)
        before = (x, y)
    return [*kept, before]


def _path(points: Sequence[tuple[int, int]]) -> str:
    (x, y), *_ = points
    steps = [to - at for one, other in pairwise(points) for at, to in zip(one, other, strict=True)]
    return f"M{x} {y}l" + " ".join(map(str, steps or [3, 0])).replace(" -", "-")


def sample(count: int, most: int) -> Counts:
    """Return at most `most` indices spread evenly over 0..count - 1, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def nice(value: float) -> float:
    """Return the least round number that is not below a positive value."""
    power: float = 10.0 ** floor(log10(value))
    return next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= value * 0.999)


def day_name(instant: datetime) -> str:
    """Return a day as "12 Mar"."""
    return f"{instant.day} {_MONTHS[instant.month - 1]}"


def hour_name(instant: datetime) -> str:
    """Return an instant as "12 Mar 14:00"."""
    return f"{day_name(instant)} {instant:%H:%M}"


def short(name: str, longest: int = 11) -> str:
    """Return a name with its middle left out where it is long: names often differ at their end."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[-(longest // 2 + 1) :]}"
