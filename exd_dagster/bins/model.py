"""The Bin: how many units each variant gained in one hour of one flag."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.hours import hour_of, instant_of
from exd_dagster.config import FlagId

Counts: TypeAlias = NDArray[np.int64]
Strings: TypeAlias = NDArray[np.object_]

HOUR = timedelta(hours=1)
OTHER = "(other)"
"""Name of the sum of rare variants, or of rare values of a dimension."""


class Fact(NamedTuple):
    """One further count of a flag and hour.

    `name` is one of `FACTS`; `detail` is the variant, manifest version or reason it is about ("" if none).
    """

    hour: datetime
    name: str
    detail: str
    count: int  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A name in a flag's configuration that is not in its log.

    Attributes:
        place: where it is configured: flag, namespace, environment, "include country", ignore_variants,
            variant, dimensions (the log has no such column) or "empty dimensions" (the column has no
            value).
        name: as it is configured.
        nearest: the nearest name in the log, None for none, "" if its records have no value.
        records: number of records with the nearest name.
    """

    place: str
    name: str
    nearest: str | None = None
    records: int = 0

    def __str__(self) -> str:
        """Return it as part of a sentence, with the fix."""
        if self.place in _OF_COLUMNS:
            near = f"; the log has '{self.nearest}'" if self.nearest else ""
            return _OF_COLUMNS[self.place].format(name=self.name, near=near)
        what, _, column = self.place.partition(" ")
        named = f"{column} '{self.name}' of {what}" if column else f"{what} '{self.name}'"
        option = _OPTION.get(what, what)
        if self.nearest is None:
            return f"{named} has no record in this log, nor has a name like it: correct {option}="
        records = f"{self.records:,} record{'' if self.records == 1 else 's'}"
        if not self.nearest:
            return (
                f"{named} has no record in this log, which names no {what} ({records}): "
                f"leave {option}= out, or give the records constants={{'{what}': '{self.name}'}}"
            )
        held = f"the log holds '{self.nearest}' ({records})"
        return f"{named} has no record in this log; {held}: correct {option}="


_OPTION = {"flag": "key", "variant": "split"}
_OF_COLUMNS = {
    "dimensions": "dimensions '{name}' is no column of this log{near}: correct dimensions=",
    "empty dimensions": "dimensions '{name}' has no value in any record of this flag: no cause can be "
    "found in it",
}


FACTS = (
    "multi_variant_units",  # units first exposed in this hour that were also seen in another variant
    "carry_over_units",  # of those, units whose second variant was due to a declared phase
    "null_units",  # evaluations without a unit
    "null_variants",  # evaluations without a variant
    "excluded_reason",  # evaluations left out for their reason (detail)
    "manifest_version",  # evaluations by manifest version (detail)
    "late_rows",  # evaluations ingested after their hour had closed
    "duplicate_rows",  # rows that repeat an evaluation by its id, by variant (detail)
    "reused_ids",  # at least so many evaluations have the id of another unit's, by variant (detail)
)


@dataclass(frozen=True, slots=True)
class Facts:
    """F facts of one flag by column, in order of hour: a flag of some months has thousands.

    Attributes:
        hours: int64 (F,), whole hours since 1970.
        names: str (F,).
        details: str (F,).
        counts: int64 (F,).
    """

    hours: Counts
    names: Strings
    details: Strings
    counts: Counts

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "Facts":
        """Return single facts together."""
        rows = sorted(facts)
        return cls(
            np.array([hour_of(fact.hour) for fact in rows], dtype=np.int64),
            np.array([fact.name for fact in rows], dtype=object),
            np.array([fact.detail for fact in rows], dtype=object),
            np.array([fact.count for fact in rows], dtype=np.int64),
        )

    def __len__(self) -> int:
        """Return the number of facts F."""
        return len(self.hours)

    def __iter__(self) -> Iterator[Fact]:
        """Yield each fact alone."""
        columns = (self.hours, self.names, self.details, self.counts)
        for hour, *rest in zip(*(column.tolist() for column in columns), strict=True):
            yield Fact(instant_of(hour), *rest)

    def between(self, first: int, last: int) -> "Facts":
        """Return those of the hours in `[first, last)`."""
        rows = slice(*self.hours.searchsorted((first, last)))
        return Facts(self.hours[rows], self.names[rows], self.details[rows], self.counts[rows])

    def total(self, name: str) -> int:
        """Sum one fact over all hours and details."""
        return int(self.counts[self.names == name].sum())


NO_FACTS = Facts.of(())


@dataclass(frozen=True, slots=True)
class FlagBins:
    """The closed hourly bins of one flag: a complete calendar, including hours without records.

    Attributes:
        flag: the flag.
        variants: V names: the declared ones in declared order, then undeclared ones seen, sorted.
        start: start of the first bin (UTC, on the hour).
        new_units: int64 (T, V), units by hour and variant of first exposure within the iteration.
        units: int64 (T, V), distinct units active in the hour.
        evaluations: int64 (T, V), distinct evaluations.
        delivered: bool (T,), False where no flag of the source has a record: the hour is not checked.
        facts: further counts, in order of hour; a tuple of single ones is put together.
        unmatched: names in the flag's configuration that are not in the log.
    """

    flag: FlagId
    variants: tuple[str, ...]
    start: datetime
    new_units: Counts
    units: Counts
    evaluations: Counts
    delivered: NDArray[np.bool_]
    facts: Facts = NO_FACTS
    unmatched: tuple[Unmatched, ...] = ()

    def __post_init__(self) -> None:
        """Put facts that are given one by one together."""
        given: object = self.facts
        if isinstance(given, tuple):
            object.__setattr__(self, "facts", Facts.of(given))

    def __len__(self) -> int:
        """Return the number of hours T."""
        return len(self.new_units)

    @property
    def audited_through(self) -> datetime:
        """End of the last closed hour (UTC); `start` when there is none."""
        return self.start + HOUR * len(self)

    @property
    def hours(self) -> list[datetime]:
        """Start of each bin (UTC)."""
        return [self.start + HOUR * i for i in range(len(self))]

    def index(self, instant: datetime) -> int:
        """Return the index of the bin that contains `instant`, clipped to 0..T."""
        return min(max((instant - self.start) // HOUR, 0), len(self))

    def between(self, start: datetime, end: datetime) -> "FlagBins":
        """Return the bins of the hours in `[start, end)`."""
        first, last = self.index(start), self.index(end)
        return replace(
            self,
            start=self.start + HOUR * first,
            new_units=self.new_units[first:last],
            units=self.units[first:last],
            evaluations=self.evaluations[first:last],
            delivered=self.delivered[first:last],
            facts=self.facts.between(hour_of(self.start) + first, hour_of(self.start) + last),
        )

    def fact_total(self, name: str) -> int:
        """Sum one fact over all hours and details."""
        return self.facts.total(name)


ADMITTED = 50
"""Units from which on a value of a dimension is a segment of its own."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One value of one dimension.

    Attributes:
        dimension: a record column, for example sdk_version.
        value: its value in the record of a unit's first exposure; "(none)" where it is empty, `OTHER` for the
            rarer ones.
        since: first bin from which it is counted.
    """

    dimension: str
    value: str
    since: int = 0

    def __str__(self) -> str:
        """Return it as a condition."""
        return f"{self.dimension} = {self.value}"


@dataclass(frozen=True, slots=True)
class FlagSegments:
    """The newly exposed units of one flag by segment, over the hours and variants of its bins.

    Attributes:
        start: start of the first bin (UTC).
        variants: V names.
        segments: S of them, by dimension and value; a dimension's values count every unit once.
        new_units: int64 (S, T, V).
    """

    start: datetime
    variants: tuple[str, ...]
    segments: tuple[Segment, ...]
    new_units: Counts

    def between(self, start: datetime, end: datetime) -> "FlagSegments":
        """Return the bins of the hours in `[start, end)`."""
        first, last = (min(max((at - self.start) // HOUR, 0), self.new_units.shape[1]) for at in (start, end))
        moved = tuple(replace(segment, since=max(segment.since - first, 0)) for segment in self.segments)
        cut = self.new_units[:, first:last]
        return replace(self, start=self.start + HOUR * first, segments=moved, new_units=cut)

    def totals(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the units of all hours by dimension, value and variant, those of no unit left out."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for segment, units in zip(self.segments, self.new_units.sum(axis=1).tolist(), strict=True):
            of = {name: count for name, count in zip(self.variants, units, strict=True) if count}
            if of:
                found.setdefault(segment.dimension, {})[segment.value] = of
        return found


def no_segments(bins: FlagBins) -> FlagSegments:
    """Return what is known by segment of bins whose units are not divided."""
    return FlagSegments(bins.start, bins.variants, (), np.zeros((0, *bins.new_units.shape), np.int64))


@dataclass(frozen=True, slots=True)
class SharedUnits:
    """First exposures of units that several flags share: those of a sample by hash of the unit.

    Attributes:
        units: int64 (R,), number of the unit of each exposure.
        cells: int64 (R,), place in `names` of what it was exposed to.
        names: flag, number of the phase in its schedule, and variant, of each cell.
        quarter: the sample is 1 / 4 ** quarter of all units.
        apart: flags that have units, but none in the store: an engine counts them, or they were dropped.
    """

    units: Counts
    cells: Counts
    names: tuple[tuple[FlagId, int, str], ...]
    quarter: int = 0
    apart: tuple[FlagId, ...] = ()
