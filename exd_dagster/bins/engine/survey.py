"""What a log of an engine holds: its records by hour, and fingerprints of the hours that may change.

A fingerprint is the sum of a hash of each record over all that decides what it counts for: the same in any
order, and different (but for one chance in 2^32) when any record was replaced by another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, TypeAlias

from exd_dagster.bins.engine.expressions import (
    day_literal,
    instant_literal,
    is_between,
    ms_of,
)
from exd_dagster.bins.engine.functions import hashed_together, in_few_groups
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import EARLIEST

if TYPE_CHECKING:
    from exd_dagster.bins.engine.log import EngineLog

Expression: TypeAlias = Any
"""An Ibis value or table."""

_NULL = "\x1e"
_HASHES = 1 << 32


@dataclass(frozen=True, slots=True)
class Survey:
    """The records of a log by hour since 1970.

    Attributes:
        flags_from: first hour of whose records the flag was read too.
        prints_from: first hour with a fingerprint, None for no fingerprints.
        hours: newest record (ms) and number of records.
        unflagged: records without a flag, from `flags_from` on.
        outside: number of rows without a time that can be.
        prints: the fingerprints.
    """

    flags_from: int = 0
    prints_from: int | None = None
    hours: dict[int, tuple[int, int]] = field(default_factory=dict)
    unflagged: dict[int, int] = field(default_factory=dict)
    outside: list[int] = field(default_factory=list)
    prints: dict[int, int] = field(default_factory=dict)


def take_survey(
    log: "EngineLog",
    start: int,
    latest: int,
    prints_from: int | None = None,
    extras: Sequence[str] = (),
    *,
    known: bool = False,
) -> Survey:
    """Read the records of `[start, latest)` (ms); those that can be in no hour are counted as outside.

    Where only later hours get a fingerprint, these are read by a query of their own, so that of earlier
    records few columns are read.

    Args:
        log: the log.
        start: first millisecond; of partitions, those of its day and later are read.
        latest: first millisecond that is ahead of the clock.
        prints_from: first hour to take the fingerprint of, None for none.
        extras: further columns that decide what a record counts for.
        known: whether flags of this log were counted before: then of the hours without a fingerprint no
            column is read but the time.
    """
    rows, day = log.rows(), log.day()
    rows = rows if day is None else rows.filter(day.isnull() | (day >= day_literal(start, -1)))
    never = rows.at < instant_literal(rows.at, EARLIEST)
    outside = rows.at.isnull() | never | (rows.at >= instant_literal(rows.at, latest))
    split = start if prints_from is None else min(max(prints_from * HOUR_MS, start), latest)
    earlier, later = rows.filter(is_between(rows.at, start, split) | outside), None
    if split == start:
        later = rows.filter(is_between(rows.at, start, latest) | outside)
    elif split < latest:
        rows = log.rows()
        later = rows.filter(log.between(rows, split, latest))
    survey = Survey(split // HOUR_MS if known else 0, prints_from)
    if split > start:
        _read_hours(survey, log, earlier, latest, {} if known else _unflagged(earlier))
    if later is not None:
        prints = {} if prints_from is None else {"print": _print(log, later, extras)}
        _read_hours(survey, log, later, latest, {**_unflagged(later), **prints})
    return survey


def _read_hours(
    survey: Survey, log: "EngineLog", rows: Expression, latest: int, more: Mapping[str, Expression]
) -> None:
    """Add rows to a survey: their hours, and the sums of unflagged and print."""
    key = is_between(rows.at, EARLIEST, latest).ifelse(rows.hour_key, None)
    rows = in_few_groups(rows.select("at", hour_key=key, **more), log.table, log.engine)
    sums = {"newest": rows.at.max(), "n": rows.count().cast("int64")}
    sums |= {name: rows[name].sum().cast("int64") for name in more}
    found = log.by_hour(rows.group_by("hour_key").agg(**sums))
    found = log.execute(found.mutate(hour=found.hour.coalesce(-1)), few=True)
    for row in found.itertuples():
        hour = int(row.hour)
        if hour < 0:
            survey.outside.append(int(row.n))
            continue
        survey.hours[hour] = (ms_of(row.newest), int(row.n))
        for name, sums_by_hour in (("unflagged", survey.unflagged), ("print", survey.prints)):
            if name in more:
                sums_by_hour[hour] = int(getattr(row, name))


def _unflagged(rows: Expression) -> dict[str, Expression]:
    return {"unflagged": (rows.flag == "").ifelse(1, 0).cast("int64")}


def _print(log: "EngineLog", rows: Expression, extras: Sequence[str]) -> Expression:
    return hashed_together(_content(log, rows, extras), log.engine) % _HASHES


def _content(log: "EngineLog", rows: Expression, extras: Sequence[str]) -> list[Expression]:
    """Return all that decides what a record counts for."""
    texts = [rows[name] for name in TEXTS]
    texts += [log.raw(name).coalesce(_NULL) for name in extras]
    truths = [rows[name].ifelse("1", "0") for name in ("late", "has_unit", "has_id")]
    return [
        *texts,
        reduce(add, truths),
        rows.ms,
        *(rows[name].coalesce(0) for name in ("unit_key", "id_key")),
    ]
