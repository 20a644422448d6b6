"""`exd-dagster plan`: in how many hours a fault would be found, before there is any record."""

import json
from typing import Any

import click

from exd_dagster.errors import InputError
from exd_dagster.stats.sequential.power import DetectionPlan, plan_detection
from exd_dagster.stats.words import percent

LOSSES = (1.0, 0.5, 0.2, 0.1, 0.05)
"""Shares of an arm's units that are lost in the faults planned for by default."""
_SPLIT = "control=0.5,treatment=0.5"


@click.command(short_help="Say in how many hours a fault would be found.")
@click.option(
    "--units-per-hour", "rate", type=float, required=True, help="Newly exposed units, all variants."
)
@click.option("--split", default=_SPLIT, show_default=True, help="Declared share of each variant.")
@click.option("--arm", help="The variant that loses units; default: the last one declared.")
@click.option(
    "--loses",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Share of its units that it loses; several for several rows; default: 1, .5, .2, .1, .05.",
)
@click.option("--segment-share", type=float, default=1.0, help="Only in a segment with this share of units.")
@click.option("--segments", type=int, default=40, show_default=True, help="Segments tested, all dimensions.")
@click.option("--power", type=float, default=0.9, show_default=True, help="Probability of finding it.")
@click.option("--alpha", type=float, default=0.001, show_default=True, help="Level of the test.")
@click.option("--healthy-hours", type=int, default=0, show_default=True, help="Hours before the fault.")
@click.option("--days", type=int, default=28, show_default=True, help="Longest time simulated.")
@click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text", show_default=True)
def plan(
    rate: float, split: str, arm: str | None, loses: tuple[float, ...], shape: str, **asked: Any
) -> None:
    """Say in how many hours the sequential test would find that an arm loses units.

    With --segment-share the fault is limited to one segment, such as a browser, and is looked for by
    segment_srm; the column "whole flag" says how long the split of the whole flag would hide it. Needs no
    project and no records: the hours of your traffic are simulated.
    """
    declared = read_split(split)
    name = arm if arm is not None else list(declared)[-1]
    if name not in declared:
        raise click.UsageError(f"--arm '{name}' is not in the split: {', '.join(declared)}.")
    asked["longest_hours"] = 24 * asked.pop("days")
    found = [
        (loss, plan_detection(declared, after_loss(declared, name, loss), rate, **asked))
        for loss in (loses or LOSSES)
    ]
    if shape == "json":
        settings = {"split": declared, "arm": name, "units_per_hour": rate, **asked}
        plans = [{"loses": loss, **each.as_metadata()} for loss, each in found]
        click.echo(json.dumps({**settings, "plans": plans}, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        click.echo(as_text(name, found, asked))


def read_split(text: str) -> dict[str, float]:
    """Read "control=0.5,treatment=0.5".

    Raises:
        InputError: for what is no share.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.rpartition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            name = ""
        if not name.strip():
            raise InputError(f"--split '{text}': '{part}' is no share; write {_SPLIT}")
    return found


def after_loss(split: dict[str, float], arm: str, loss: float) -> dict[str, float]:
    """Return the shares of the units that are left when an arm loses a share of its own."""
    left = {name: share * (1 - loss if name == arm else 1) for name, share in split.items()}
    total = sum(left.values())
    if total <= 0:
        raise InputError(f"no unit is left when '{arm}' loses all of its own; give a split of two variants")
    return {name: share / total for name, share in left.items()}


def as_text(arm: str, found: list[tuple[float, DetectionPlan]], asked: dict[str, Any]) -> str:
    """Return a row for each fault."""
    of_segment = asked["segment_share"] < 1
    columns = [f"{arm} loses", "half the time", f"with {percent(asked['power'])}", "units until then"]
    rows = [(*columns, "whole flag")] if of_segment else [tuple(columns)]
    longest = f"over {asked['longest_hours'] // 24} d"
    for loss, each in found:
        units = "" if each.units is None else f"{each.units:,}"
        row = (percent(loss), _hours(each.median_hours, longest), _hours(each.hours, longest), units)
        rows.append((*row, _hours(each.whole_flag_hours, longest)) if of_segment else row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    where = f"in a segment of {percent(asked['segment_share'])} of the units, one of {asked['segments']}"
    return "\n".join([*lines, *([f"Found by segment_srm {where}."] if of_segment else [])])


def _hours(hours: int | None, longest: str) -> str:
    return longest if hours is None else f"{hours} h"
