"""Filters and instants as Ibis expressions, with the same meaning as on files."""

from collections.abc import Iterable
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from exd_dagster.bins.counting.audience import wanted_values
from exd_dagster.config import Scalar
from exd_dagster.telemetry.records import from_ms, instant_ms

Expression: TypeAlias = Any


def is_one_of(column: Any, values: Iterable[Scalar]) -> Any:
    """Return the expression "the column has one of these values"; see `audience.Wanted`."""
    import ibis

    wanted, kind = wanted_values(values), column.type()
    text = column.cast("string").strip()
    tests = [text.isin(list(wanted.texts))] if wanted.texts else []
    if wanted.truths:
        tests.append(text.lower().isin(list(wanted.truths)))
    if wanted.numbers and kind.is_boolean():
        tests.append(column.ifelse(1, 0).isin([int(n) for n in wanted.numbers if n in (0, 1)]))
    elif wanted.numbers and kind.is_numeric():
        tests.append(column.cast("float64").isin(list(wanted.numbers)))
    elif wanted.numbers:  # not every engine casts what may be no number
        tests.append(text.isin([spelling for number in wanted.numbers for spelling in _spellings(number)]))
    return reduce(or_, tests) if tests else ibis.literal(False)


def _spellings(number: float) -> list[str]:
    """Return the spellings of a number in text columns: 1 and 1.0, 2.5 and 2.50."""
    whole = [str(int(number))] if number == int(number) else []
    return [*whole, repr(number), f"{number:.2f}"]


def is_between(at: Expression, start: int, end: int) -> Expression:
    """Return a test for an instant in `[start, end)` (ms)."""
    return (at >= instant_literal(at, start)) & (at < instant_literal(at, end))


def instant_literal(at: Expression, ms: int) -> Expression:
    """Return an instant as a literal of the column's own kind, with or without a zone."""
    moment = from_ms(ms)
    return value_literal(moment if at.type().timezone else moment.replace(tzinfo=None))


def day_literal(ms: int, more: int) -> Expression:
    """Return the day (UTC) of an instant and some more days."""
    return value_literal((from_ms(ms) + timedelta(days=more)).date())


def value_literal(value: object) -> Expression:
    """Return a value as a literal of the engine."""
    import ibis

    return ibis.literal(value)


def ms_of(at: Any) -> int:
    """Return an instant that an engine gave as whole milliseconds since 1970 (UTC)."""
    import pandas as pd

    stamp = pd.Timestamp(at)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
    return instant_ms(stamp.to_pydatetime())


def how_many(test: Expression) -> Expression:
    """Return how many rows pass; not every engine casts booleans to numbers."""
    return test.ifelse(1, 0).sum().cast("int64")
