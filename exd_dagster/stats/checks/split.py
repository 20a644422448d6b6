"""Sentences shared by the checks of a split: which iteration was tested, and when the split broke."""

from dataclasses import replace
from typing import TypeVar

from exd_dagster.stats import words
from exd_dagster.stats.methods.change_point import ChangePoint
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.srm import SrmVerdict
from exd_dagster.stats.window import Window

S = TypeVar("S", SrmVerdict, SequentialSrmVerdict)

NO_SPLIT = "Skipped: no split is declared; add split={...} to test it."


def of_iteration(verdict: S, window: Window) -> S:
    """Return which iteration was tested, and how hours within an uptake were treated."""
    verdict = replace(verdict, iteration_start=window.start, uptake_hours=int((~window.steady).sum()))
    if window.taking_up is None:
        return verdict
    start, until = map(words.instant, window.taking_up)
    sentence = f"{verdict.sentence[:-1]}; clients may take until {until} to follow the change of {start}."
    return replace(verdict, sentence=sentence, uptake_until=window.taking_up[1])


def with_change(verdict: S, change: ChangePoint, window: Window) -> S:
    """Give a failed verdict its instants; only hours before the credible interval are called usable."""
    return replace(
        verdict,
        state="ongoing" if change.until is None else "contained",
        bad_from=window.instant(change.bin),
        bad_until=None if change.until is None else window.instant(change.until),
        usable_until=window.instant(change.earliest),
    )
