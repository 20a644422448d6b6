"""What a log of an engine holds: its records by hour, and fingerprints of the hours that may change.

A fingerprint is the sum of a hash of each record over all that decides what it counts for: the same in any
order, and different (but for one chance in 2^32) when any record was replaced by another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

from exd_dagster.bins.engine.expressions import (
    day_literal,
    how_many,
    instant_literal,
    is_between,
    ms_of,
    value_literal,
)
from exd_dagster.bins.engine.functions import hashed
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import EARLIEST

if TYPE_CHECKING:
    from exd_dagster.bins.engine.log import EngineLog

Expression: TypeAlias = Any
"""An Ibis value or table."""

_APART = "\x1f"
_NULL = "\x1e"
_HASHES = 1 << 32


@dataclass(frozen=True, slots=True)
class Survey:
    """The records of a log by hour since 1970.

    Attributes:
        hours: newest record (ms) and number of records.
        unflagged: records without a flag.
        outside: rows without a time that can be.
        prints_from: first hour with a fingerprint, None for no fingerprints.
        prints: the fingerprints.
    """

    hours: dict[int, tuple[int, int]] = field(default_factory=dict)
    unflagged: dict[int, int] = field(default_factory=dict)
    outside: int = 0
    prints_from: int | None = None
    prints: dict[int, int] = field(default_factory=dict)


def take_survey(
    log: "EngineLog", start: int, latest: int, prints_from: int | None = None, extras: Sequence[str] = ()
) -> Survey:
    """Read the records of `[start, latest)` (ms); those that can be in no hour are counted as outside.

    Args:
        log: the log.
        start: first millisecond; of partitions, those of its day and later are read.
        latest: first millisecond that is ahead of the clock.
        prints_from: first hour to take the fingerprint of, None for none.
        extras: further columns that decide what a record counts for.
    """
    rows, day = log.rows(), log.day()
    rows = rows if day is None else rows.filter(day.isnull() | (day >= day_literal(start, -1)))
    inside = is_between(rows.at, start, latest).coalesce(False)
    never = rows.at < instant_literal(rows.at, EARLIEST)
    outside = rows.at.isnull() | never | (rows.at >= instant_literal(rows.at, latest))
    rows = rows.mutate(inside=inside).filter(inside | outside)
    rows = rows.mutate(place=rows.inside.ifelse(rows.hour, -1))
    sums = {
        "newest": rows.at.max(),
        "n": rows.count().cast("int64"),
        "unflagged": how_many(rows.flag == ""),
    }
    whole = prints_from is not None and prints_from * HOUR_MS <= start
    if whole:
        sums["print"] = _print(log, rows, extras)
    found = log.execute(rows.group_by("place").agg(**sums))
    columns = [found[name] for name in ("place", "newest", "n", "unflagged")]
    survey = Survey(prints_from=prints_from)
    for hour, newest, n, unflagged in zip(*columns, strict=True):
        if hour < 0:
            survey = Survey(survey.hours, survey.unflagged, int(n), prints_from, survey.prints)
            continue
        survey.hours[int(hour)] = (ms_of(newest), int(n))
        survey.unflagged[int(hour)] = int(unflagged)
    if prints_from is not None:
        found = found if whole else _later_prints(log, prints_from * HOUR_MS, latest, extras)
        prints = zip(map(int, found["place"]), map(int, found["print"]), strict=True)
        # an hour whose first record came after the first query gets its fingerprint in the next run
        survey.prints.update({hour: total for hour, total in prints if hour in survey.hours})
    return survey


def _later_prints(log: "EngineLog", start: int, latest: int, extras: Sequence[str]) -> Any:
    """Return fingerprints by a query of their own, so that of earlier records few columns are read."""
    rows = log.rows()
    rows = rows.filter(log.between(rows, start, latest)).mutate(place=rows.hour)
    return log.execute(rows.group_by("place").agg(print=_print(log, rows, extras)))


def _print(log: "EngineLog", rows: Expression, extras: Sequence[str]) -> Expression:
    return (hashed(_content(log, rows, extras), log.engine) % _HASHES).sum().cast("int64")


def _content(log: "EngineLog", rows: Expression, extras: Sequence[str]) -> Expression:
    """Return all that decides what a record counts for, as one text."""
    texts = [rows[name] for name in TEXTS]
    texts += [log.raw(name).coalesce(_NULL) for name in extras]
    truths = [rows[name].ifelse("1", "0") for name in ("late", "has_unit", "has_id")]
    numbers = [rows[name].cast("string").coalesce(_NULL) for name in ("ms", "unit_key", "id_key")]
    parts = [*texts, *truths, *numbers]
    return reduce(add, (part + value_literal(_APART) for part in parts))
