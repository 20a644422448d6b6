"""Filters of a flag as Ibis expressions, which mean what `audience.is_one_of` means on files."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from exd_dagster.bins.audience import wanted_values
from exd_dagster.config import Scalar


def is_one_of(column: Any, values: Iterable[Scalar]) -> Any:
    """Return a test for "the column holds one of these"; see `audience.Wanted`."""
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
    """Return a number as text columns hold it: 1 and 1.0, 2.5 and 2.50."""
    whole = [str(int(number))] if number == int(number) else []
    return [*whole, repr(number), f"{number:.2f}"]
