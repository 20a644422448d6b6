"""What a test is given: counts, levels and declared splits, each refused with its value and the fix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from exd_dagster.config import validate_split
from exd_dagster.config.faults import short
from exd_dagster.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Booleans: TypeAlias = NDArray[np.bool_]
Expected: TypeAlias = Mapping[str, float] | Sequence[tuple[int, Mapping[str, float]]]

LARGEST_COUNT = 2**53
"""Above this a float cannot represent every integer."""


@dataclass(frozen=True, slots=True)
class Period:
    """Bins from `first` on (until the next period) that share one declared split.

    Attributes:
        first: index of the first bin.
        shares: float (V,), declared share of each variant; 0 where the variant is not declared.
        replaced: float (V,), the split that may still be served instead, unit by unit, because `shares` are
            being taken up; None: every unit is served `shares`.
    """

    first: int
    shares: Floats
    replaced: Floats | None = None

    @property
    def active(self) -> Booleans:
        """True (V,) for variants that have a share."""
        active = self.shares > 0
        return active if self.replaced is None else active | (self.replaced > 0)


def checked_counts(values: ArrayLike, name: str, dimensions: int) -> Floats:
    """Return `values` as floats after proving that each is a count.

    Args:
        values: whole numbers, 0 or more, with `dimensions` axes.
        name: what the caller calls them, for the message.
        dimensions: wanted number of axes.

    Raises:
        InputError: for a negative, fractional, missing or over-large count, or the wrong number of axes.
    """
    try:
        counts = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be whole numbers; seen {short(values)}") from None
    if counts.ndim != dimensions:
        raise InputError(f"{name} must have {dimensions} axes; seen {counts.ndim}, shape {counts.shape}")
    usable = np.isfinite(counts) & (counts >= 0) & (counts <= LARGEST_COUNT) & (counts == np.floor(counts))
    if not usable.all():
        place = tuple(int(i) for i in np.argwhere(~usable)[0])
        where = "".join(f"[{i}]" for i in place)
        raise InputError(f"{name}{where} is {counts[place]:g}; a count is a whole number, 0 or more")
    return counts


def checked_count(value: object, name: str) -> int:
    """Return one count as an int; see `checked_counts`."""
    return int(checked_counts(np.asarray([value]), name, 1)[0])


def checked_level(value: float, name: str) -> float:
    """Return a significance level.

    Raises:
        InputError: unless it is strictly between 0 and 1.
    """
    if not (isinstance(value, (int, float)) and 0 < value < 1):
        raise InputError(f"{name} is {value!r}; a level is between 0 and 1, for example .001")
    return float(value)


def checked_split(expected: Mapping[str, float]) -> dict[str, float]:
    """Return declared shares that sum to exactly 1.

    Raises:
        InputError: when a share is negative or not finite, or they do not sum to 1 +- .001.
    """
    try:
        return validate_split(expected)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected: {error}") from None


def checked_periods(expected: Expected, columns: int | None) -> tuple[tuple[str, ...], list[Period]]:
    """Read a declared split, or phases `[(first_bin, split), ...]`, as named columns and periods.

    Args:
        expected: one split, in column order; or phases, whose columns are the variants in order of first
            declaration.
        columns: number of columns of the counts; None where there are none.

    Returns:
        The column names, and the periods in order.

    Raises:
        InputError: for an unusable split, phases out of order, or another number of variants than columns.
    """
    phases: Sequence[Any] = [(0, expected)] if isinstance(expected, Mapping) else list(expected)
    splits = [(int(first), checked_split(split)) for first, split in phases]
    starts = [first for first, _ in splits]
    if not splits or starts[0] != 0 or starts != sorted(set(starts)):
        raise InputError(f"phases must begin with bin 0 and rise; seen first bins {starts}")
    names = tuple(dict.fromkeys(name for _, split in splits for name in split))
    if columns not in (None, len(names)):
        raise InputError(f"new_units has {columns} columns, expected names {len(names)}: {', '.join(names)}")
    return names, [
        Period(first, np.array([split.get(name, 0.0) for name in names])) for first, split in splits
    ]


def bounds(periods: Sequence[Period], bins: int) -> list[tuple[int, int, Period]]:
    """Return (first bin, end bin, period) of each period that has at least one of `bins` bins."""
    ends = [period.first for period in periods[1:]] + [bins]
    return [
        (period.first, min(end, bins), period)
        for period, end in zip(periods, ends, strict=True)
        if period.first < min(end, bins)
    ]


def after(periods: Sequence[Period], first: int) -> list[Period]:
    """Return the periods of the bins from `first` on, counted from there."""
    begun = [period for period in periods if period.first <= first][-1:]
    later = [period for period in periods if period.first > first]
    return [replace(period, first=max(period.first - first, 0)) for period in begun + later]
