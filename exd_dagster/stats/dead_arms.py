"""Which declared arms get no unit any more, and since when."""

from dataclasses import replace
from datetime import datetime
from math import log, log1p
from typing import TypeVar

import numpy as np

from exd_dagster.stats import words
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.srm import SrmVerdict
from exd_dagster.stats.window import Window

S = TypeVar("S", SrmVerdict, SequentialSrmVerdict)


def dead_arms(window: Window, level: float) -> dict[str, datetime]:
    """Return the arms without a unit in the newest hours, where chance would not explain that.

    Of n units that came to all arms meanwhile, an arm of share s gets none with probability (1 - s)^n; it is
    dead if that is below `level`. Hours in which a declared change is taken up are not counted.

    Args:
        window: hourly units of the current iteration.
        level: probability below which an arm that gets nothing is called dead.

    Returns:
        Start of the first hour in which only others got units (UTC) by variant, the earliest first.
    """
    if not window.periods:
        return {}
    newest = window.periods[-1]
    counts, steady = window.counts[newest.first :], window.steady[newest.first :]
    found = {}
    for i, (name, share) in enumerate(zip(window.names, newest.shares.tolist(), strict=True)):
        served = np.flatnonzero((counts[:, i] > 0) | ~steady)
        begin = int(served[-1]) + 1 if len(served) else 0
        others = counts[begin:].sum(axis=1)
        if 0 < share < 1 and float(others.sum()) * log1p(-share) < log(level):
            found[name] = window.instant(newest.first + begin + int((others > 0).argmax()))
    return dict(sorted(found.items(), key=lambda arm: arm[1]))


def with_dead_arms(verdict: S, window: Window, level: float) -> S:
    """Prefix a failed verdict with the arms that get nothing now, which pooled shares hide.

    Args:
        verdict: of one of the two split tests.
        window: what it was made from.
        level: as of `dead_arms`.
    """
    found = dead_arms(window, level) if verdict.failed else {}
    if not found:
        return verdict
    said = [f"{name} gets no unit since {words.instant(since)}" for name, since in found.items()]
    now = "; ".join(said) + "."
    return replace(verdict, dead_arms=found, now=now, sentence=f"{now} {verdict.sentence}")
