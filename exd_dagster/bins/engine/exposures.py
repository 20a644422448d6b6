"""First exposures as expressions of an engine: found in records, merged with those known, counted.

A row is the first exposure of a unit in a phase, and the first one to another variant (NULL without one),
each as milliseconds * RANKS + rank of the variant. Both are minima, so rows of different hours merge in any
order; see `store.merge`, which does the same in DuckDB.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from exd_dagster.bins.counting.audience import RANKS, UPTAKE
from exd_dagster.bins.engine.expressions import value_literal
from exd_dagster.bins.engine.functions import epoch_ms, whole
from exd_dagster.bins.hours import HOUR_MS

Expression: TypeAlias = Any
"""An Ibis value or table."""

ROW = ("scope", "iteration", "phase", "unit")
"""What a row is known by in the tables of the state."""
_NONE = 1 << 62
"""Stands for no exposure: later than all."""


def slots_of(variants: Iterable[tuple[int, str, int]]) -> list[list[int]]:
    """Divide ranks so that no two variants of one flag are together: few groups, each with one minimum.

    Args:
        variants: number of the flag, name and rank.
    """
    flags: dict[int, list[int]] = {}
    for number, _, rank in variants:
        flags.setdefault(number, []).append(rank)
    beside: dict[int, set[int]] = {}
    for ranks in flags.values():
        for rank in ranks:
            beside.setdefault(rank, set()).update(ranks)
    slots: list[set[int]] = []
    for rank in sorted(beside):
        free = next((slot for slot in slots if not slot & beside[rank]), None)
        if free is None:
            slots.append({rank})
        else:
            free.add(rank)
    return [sorted(slot) for slot in slots]


def found_exposures(
    rows: Expression, key: Sequence[str], slots: Sequence[Sequence[int]], engine: str
) -> Expression:
    """Return `first` and `other` by key, in one hash aggregate.

    Args:
        rows: records that count, with at, ms and rank.
        key: columns to group by.
        slots: see `slots_of`.
        engine: name of the Ibis backend.
    """
    slots = slots or [[0]]  # without a variant nothing is found
    rank, single = rows["rank"], all(len(slot) == 1 for slot in slots)
    # the time as it is, where the rank is known without it: less to compute for each record
    exposure = rows.at if single else rows.ms * RANKS + rank
    least = {
        f"m{i}": (are(rank, slot).ifelse(exposure, None) if len(slots) > 1 else exposure).min()
        for i, slot in enumerate(slots)
    }
    found = rows.group_by(key).agg(**least)
    if single:
        ranks = (slot[0] for slot in slots)
        packed = {n: epoch_ms(found[n], engine) * RANKS + r for n, r in zip(least, ranks, strict=True)}
        found = found.mutate(**packed)
    found = found.mutate(**{name: found[name].coalesce(_NONE) for name in least})
    found = found.mutate(first=found.m0, other=value_literal(_NONE))
    for name in list(least)[1:]:
        low, more = found["first"], found[name]
        found = found.mutate(first=_least(low, more), other=_least(found.other, _greatest(low, more)))
    return found.mutate(other=_or_null(found.other)).select(*key, "first", "other")


def by_iteration(units: Expression, key: Sequence[str], *, phases: bool) -> Expression:
    """Return first exposure, and whether in several variants (multi) and so within a phase (clash), 1 or 0.

    Args:
        units: first and other by `key`, `unit_key` or `unit`, and phase and iteration if any.
        key: columns by which a unit is known, the iteration among them.
        phases: whether there is more than one phase.
    """
    mixed = units.other.notnull().ifelse(1, 0)
    if not phases:
        return units.mutate(multi=mixed, clash=mixed)
    clash = (units.other.notnull() & (units.phase < UPTAKE)).ifelse(1, 0)
    units = units.mutate(multi=mixed, clash=clash, rank=units["first"] % RANKS)
    found = units.group_by(list(key)).agg(
        first=units["first"].min(),
        multi=units.multi.max(),
        clash=units.clash.max(),
        low=units["rank"].min(),
        high=units["rank"].max(),
    )
    return found.mutate(multi=((found.multi == 1) | (found.low < found.high)).ifelse(1, 0))


def counted(units: Expression, key: Sequence[str]) -> Expression:
    """Count units by key, hour and rank of their first exposure: new_units, multi, carried.

    Args:
        units: see `by_iteration`.
        key: further columns to group by.
    """
    first = units["first"]
    units = units.mutate(
        hour=whole(first, RANKS * HOUR_MS), rank=first % RANKS, carried=units.multi * (1 - units.clash)
    )
    return units.group_by([*key, "hour", "rank"]).agg(
        new_units=units.count().cast("int64"),
        multi=units.multi.sum().cast("int64"),
        carried=units.carried.sum().cast("int64"),
    )


Ranges: TypeAlias = Mapping[tuple[int, int], Sequence[int]]
"""Scopes by the milliseconds [start, end) in which they are read."""


def is_in_range(scope: Expression, exposure: Expression, ranges: Ranges) -> Expression:
    """Return a test for an exposure in the range that its scope is read in."""
    tests = []
    for (start, end), scopes in ranges.items():
        inside = (exposure >= start * RANKS) & (exposure < end * RANKS)
        tests.append(inside if len(ranges) == 1 else scope.isin(list(scopes)) & inside)
    return reduce(or_, tests, value_literal(False)).coalesce(False)


def merged(known: Expression, found: Expression, ranges: Ranges, *, phases: bool) -> Expression:
    """Merge exposures found in ranges with those known of the same units.

    Known ones in a range are replaced by those found there; the others stay.

    Args:
        known: rows of the state of the scopes read.
        found: rows found in their records.
        ranges: what was read.
        phases: whether a unit can have several rows, one for each phase.

    Returns:
        A row for each row known or found of a unit that was found, or known from the range: first and other
        as they are now, NULL for none, and was_first and was_other as they were known.
    """
    inside = [is_in_range(known.scope, known[name], ranges) for name in ("first", "other")]
    known = known.mutate(in_first=inside[0], in_other=inside[1])
    units = ["scope", "unit"]
    if phases:
        touched = known.filter(known.in_first | known.in_other).select(*units).union(found.select(*units))
        again = known.semi_join(touched, units)
    else:  # the state is read once, and not moved
        again = known.left_join(found.select(*units).mutate(again=True), units)
        again = again.filter(again.again.notnull() | again.in_first | again.in_other)
    columns = {
        "was_first": again["first"],
        "was_other": again.other,
        "c0": again.in_first.ifelse(None, again["first"]),
        "c1": again.in_other.ifelse(None, again.other),
        "c2": no_exposure(),
        "c3": no_exposure(),
    }
    once = again.select(*ROW, **columns)
    none = {name: no_exposure() for name in ("was_first", "was_other", "c0", "c1")}
    rows = once.union(found.select(*ROW, **none, c2=found["first"], c3=found.other))
    each = rows.group_by(list(ROW)).agg(**{name: rows[name].max() for name in columns})
    return _two_least(each).select(*ROW, "first", "other", "was_first", "was_other")


def _two_least(each: Expression) -> Expression:
    """Return the least of four exposures, and the least to another variant than that."""
    candidates = [each[f"c{i}"].coalesce(_NONE) for i in range(4)]
    each = each.mutate(**{f"c{i}": value for i, value in enumerate(candidates)})
    each = each.mutate(first=_least(*(each[f"c{i}"] for i in range(4))))
    others = [(each[f"c{i}"] % RANKS != each["first"] % RANKS).ifelse(each[f"c{i}"], _NONE) for i in range(4)]
    return each.mutate(first=_or_null(each["first"]), other=_or_null(_least(*others)))


def has_changed(step: Expression) -> Expression:
    """Return a test for rows of `merged` that are not as they were."""
    return reduce(or_, (now != was for now, was in _now_and_before(step)))


def is_lost(step: Expression) -> Expression:
    """Return a test for rows of `merged` of which an exposure was not found again where it had been."""
    return reduce(or_, (now > was for now, was in _now_and_before(step)))


def _now_and_before(step: Expression) -> list[tuple[Expression, Expression]]:
    return [(step[name].coalesce(_NONE), step[f"was_{name}"].coalesce(_NONE)) for name in ("first", "other")]


def overridden(base: Expression, delta: Expression) -> Expression:
    """Return the rows of a base with those of a delta in their place."""
    rest = base.select(*ROW, "first", "other").anti_join(delta.select(*ROW), list(ROW))
    return rest.union(delta.select(*ROW, "first", "other"))


def reranked(units: Expression, ranks: Mapping[int, int]) -> Expression:
    """Return rows with other ranks for the variants whose rank has changed."""
    import ibis

    if not ranks:
        return units

    def anew(exposure: Expression) -> Expression:
        old = exposure % RANKS
        new = ibis.cases(*((old == was, now) for was, now in ranks.items()), else_=old)
        return exposure - old + new.cast("int64")

    return units.mutate(first=anew(units["first"]), other=anew(units.other))


def are(column: Expression, values: Sequence[Any]) -> Expression:
    """Return a test for one of these values."""
    return column.isin(list(values)) if values else value_literal(False)


def _least(*values: Expression) -> Expression:
    import ibis

    return ibis.least(*values)


def _greatest(*values: Expression) -> Expression:
    import ibis

    return ibis.greatest(*values)


def _or_null(exposure: Expression) -> Expression:
    return (exposure < _NONE).ifelse(exposure, None)


def no_exposure() -> Expression:
    """Return NULL as an exposure."""
    return value_literal(None).cast("int64")
