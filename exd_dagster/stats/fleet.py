"""Many flags at once: which findings to report, and whether the source failed and not the flags.

e-BH (Wang and Ramdas 2022): sort the flags by their current e-value, e_(1) >= ... >= e_(F); report the k
largest with the largest k such that e_(k) >= F / (q k). Under any dependence, and at any stopping time, the
expected share of false discoveries is at most q.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import TypeVar

import numpy as np

from exd_dagster.stats import words
from exd_dagster.stats.inputs import Booleans, Floats, checked_level
from exd_dagster.stats.traffic.traffic import TrafficVerdict

Key = TypeVar("Key", bound=Hashable)

SOURCE_SHARE = 0.2
"""From this share of a source's flags down together, the source is at fault."""

FEWEST_FLAGS = 3


def discovered(log_e_values: Mapping[Key, float], level: float = 0.05) -> list[Key]:
    """Return the flags discovered at false discovery rate `level`, strongest evidence first.

    Args:
        log_e_values: current ln E by flag (`SequentialSrmVerdict.log_e_value`), flags that pass included.
        level: q.

    Raises:
        InputError: unless 0 < level < 1.
    """
    checked_level(level, "level")
    keys = sorted(log_e_values, key=lambda key: (-log_e_values[key], str(key)))
    found = e_bh(np.array([log_e_values[key] for key in keys]), level)
    return [key for key, real in zip(keys, found.tolist(), strict=True) if real]


def e_bh(log_e_values: Floats, level: float = 0.05) -> Booleans:
    """Return which hypotheses e-BH rejects, bool (F,), of ln E, float (F,)."""
    flags = len(log_e_values)
    order = np.argsort(-log_e_values, kind="stable")
    rank = np.arange(1, flags + 1)
    enough = log_e_values[order] >= log(max(flags, 1)) - log(level) - np.log(rank)
    found = np.zeros(flags, dtype=bool)
    found[order[: int(rank[enough].max(initial=0))]] = True
    return found


@dataclass(frozen=True, slots=True)
class SourceOutage:
    """Many flags of one source lost their traffic together: one fault of the source, not of each flag.

    Attributes:
        flags: those that are down, as text, sorted.
        watched: how many flags were tested.
        since: earliest first hour at fault (UTC), where known.
        sentence: one sentence.
    """

    flags: tuple[str, ...]
    watched: int
    since: datetime | None
    sentence: str


def source_outage(verdicts: Mapping[Key, TrafficVerdict]) -> SourceOutage | None:
    """Return the outage of a source when at least 20 %, and at least 3, of its flags are down at once.

    Args:
        verdicts: traffic verdicts of one source's flags; only ongoing failures count as down.
    """
    tested = {key: v for key, v in verdicts.items() if v.verdict in ("pass", "fail")}
    down = {key: v for key, v in tested.items() if v.failed and v.state == "ongoing"}
    if len(down) < max(FEWEST_FLAGS, SOURCE_SHARE * len(tested)):
        return None
    since = min((v.bad_from for v in down.values() if v.bad_from is not None), default=None)
    when = f" since {words.instant(since)}" if since else ""
    return SourceOutage(
        flags=tuple(sorted(str(key) for key in down)),
        watched=len(tested),
        since=since,
        sentence=f"{len(down)} of {len(tested)} flags lost traffic together{when}: check the source first.",
    )
