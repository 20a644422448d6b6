"""One line for the overview of an asset: the traffic of its last week."""

from datetime import timedelta

import numpy as np

from exd_dagster.bins.model import FlagBins
from exd_dagster.plots.svg import BLUE, FAULT, as_markdown_image
from exd_dagster.stats.verdict import Verdict

_WIDTH, _HEIGHT = 200, 32
_POINTS = 42


def sparkline(bins: FlagBins, verdict: Verdict | None = None) -> str:
    """Return a Markdown image of under 1,000 characters: the distinct units an hour of the last week.

    Dagster shows Markdown of that length in place, longer ones behind a click.

    Args:
        bins: the flag's closed hours.
        verdict: where given and failed, its hours at fault are drawn in red.
    """
    bins = bins.between(bins.audited_through - timedelta(days=7), bins.audited_through)
    if len(bins) < 2:
        return ""
    step = -(-len(bins) // _POINTS)
    ends = np.arange(len(bins), 0, -step)[::-1]
    volumes = [bins.units[max(end - step, 0) : end].sum(axis=1).mean() for end in ends]
    top = max(*volumes, 1.0)
    points = [
        f"{round(_WIDTH * end / len(bins))} {round(_HEIGHT - 2 - (_HEIGHT - 4) * volume / top)}"
        for end, volume in zip(ends, volumes, strict=True)
    ]
    at_fault = len(points)
    if verdict is not None and verdict.failed and verdict.bad_from is not None:
        at_fault = int(np.searchsorted(ends, bins.index(verdict.bad_from), side="right"))
    lines = _line(points[: at_fault + 1], BLUE) + _line(points[at_fault:], FAULT)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">{lines}</svg>'
    return as_markdown_image(svg, f"units an hour of {bins.flag.key}")


def _line(points: list[str], color: str) -> str:
    if len(points) < 2:
        return ""
    return f'<path d="M{" ".join(points)}" fill="none" stroke="{color}" stroke-width="2"/>'
