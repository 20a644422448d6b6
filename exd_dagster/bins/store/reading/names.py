"""Configured names that are not in the log: found when a log is read, and stored.

Searched for a flag of which nothing was ever counted, with the nearest name in the log, and for a filter that
is counted for the first time. Only then the log is queried for at most `MOST_NAMES` distinct names and their
record counts.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from exd_dagster.bins.counting.audience import Target, wanted_values
from exd_dagster.bins.model import Unmatched
from exd_dagster.bins.rows import insert_rows
from exd_dagster.bins.store.reading.log import OpenLog
from exd_dagster.config import FlagAudit, Scalar
from exd_dagster.config.reasons import EXCLUDED_REASONS, reason_form
from exd_dagster.errors import nearest_name

MOST_NAMES = 10_000
"""Maximum number of names queried, those with the most records first."""


@dataclass(frozen=True, slots=True)
class Names:
    """Reads and writes `exd_unmatched`; writers run inside the caller's transaction."""

    connection: duckdb.DuckDBPyConnection

    def of(self, numbers: Collection[int]) -> dict[int, tuple[Unmatched, ...]]:
        """Return what is known of these flags, by number."""
        found: dict[int, tuple[Unmatched, ...]] = {}
        query = "SELECT * FROM exd_unmatched WHERE list_contains(?, flag) ORDER BY ALL"
        for number, *row in self.connection.execute(query, [list(numbers)]).fetchall():
            found[number] = (*found.get(number, ()), Unmatched(*row))
        return found

    def save(self, found: Mapping[int, Sequence[Unmatched]]) -> None:
        """Replace what is known of these flags."""
        self.connection.execute("DELETE FROM exd_unmatched WHERE list_contains(?, flag)", [list(found)])
        rows = [
            (number, each.place, each.name, each.nearest, each.records)
            for number, names in found.items()
            for each in names
        ]
        insert_rows(self.connection, "exd_unmatched", rows)

    def uncounted(self, numbers: Collection[int]) -> set[int]:
        """Return those of these flags without any count."""
        query = "SELECT DISTINCT flag FROM exd_bins WHERE list_contains(?, flag) AND evaluations > 0"
        counted = self.connection.execute(query, [list(numbers)]).fetchall()
        return {*numbers} - {number for (number,) in counted}


def learn_names(
    connection: duckdb.DuckDBPyConnection,
    opened: OpenLog,
    targets: Sequence[Target],
    empty: Collection[int],
    anew: Collection[int],
) -> None:
    """Find and store which names of these flags are not in the log.

    Args:
        connection: the store, whose bins are up to date.
        opened: the log.
        targets: the flags read.
        empty: numbers of those of which this update counted nothing.
        anew: numbers of those that are new to the store, or declared differently.
    """
    names, numbers = Names(connection), [target.number for target in targets]
    known, uncounted = names.of(numbers), names.uncounted(empty)
    asked = {n for n in uncounted if n in anew or not any(u.nearest for u in known.get(n, ()))}
    found: dict[int, list[Unmatched]] = {}
    scopes = _scopes(opened, [target for target in targets if target.number in asked])
    for target in targets:
        number, before = target.number, known.get(target.number, ())
        if number in asked:
            found[number] = [*_scope(target, scopes)] or [*_values(target, opened)]
        elif number not in uncounted and (before or number in anew):
            still = [*_values(target, opened)]
            met_since = number not in anew
            found[number] = [u for u in before if _key(u) in map(_key, still)] if met_since else still
        kept = [u for u in found.get(number, before) if u.place != "dimensions"]
        found[number] = [*kept, *_no_columns(target.flag, opened)]
    changed = {n: new for n, new in found.items() if {*new} != {*known.get(n, ())}}
    if changed:
        names.save(changed)


def _key(unmatched: Unmatched) -> tuple[str, str]:
    return unmatched.place, unmatched.name


def _scopes(opened: OpenLog, targets: Sequence[Target]) -> list[tuple[tuple[str, ...], int]]:
    if not targets:
        return []
    start, end = min(target.start for target in targets), max(target.end for target in targets)
    return opened.held(("flag", "namespace", "environment"), start, end, most=MOST_NAMES)


def _scope(target: Target, seen: Sequence[tuple[tuple[str, ...], int]]) -> Iterator[Unmatched]:
    """Yield key, or else namespace and environment, if the log has no record of them."""
    keys: Counter[str] = Counter()
    for scope, records in seen:
        keys[scope[0]] += records
    if target.flag.key not in keys:
        yield _unmatched("flag", target.flag.key, keys)
        return
    own = [(scope, records) for scope, records in seen if scope[0] == target.flag.key]
    for part, (place, declared) in enumerate(
        zip(("namespace", "environment"), target.scope[1:], strict=True), 1
    ):
        held: Counter[str] = Counter()
        for scope, records in own:
            held[scope[part]] += records
        if declared is not None and declared not in held:
            yield _unmatched(place, declared, held)


def _no_columns(flag: FlagAudit, opened: OpenLog) -> Iterator[Unmatched]:
    """Yield the dimensions that are not columns of the log; only the schema is read."""
    for name in opened.missing(flag.dimensions):
        yield Unmatched("dimensions", name, nearest_name(name, opened.near(name)))


def _values(target: Target, opened: OpenLog) -> Iterator[Unmatched]:
    """Yield the values of filters, ignored variants and chosen reasons that no record of the flag has."""
    # So too the dimensions that have a column, and no value in it.
    flag = target.flag
    for which, filters in (("include", flag.include), ("exclude", flag.exclude)):
        for column, values in filters.items():
            yield from _unmet(target, opened, f"{which} {column}", column, values)
    yield from _unmet(target, opened, "ignore_variants", "variant", flag.ignore_variants)
    chosen = [reason for reason in flag.exclude_reasons if reason not in EXCLUDED_REASONS]
    if chosen:
        held = {reason_form(name): n for (name,), n in _held(target, opened, "reason")}
        yield from (_unmatched("exclude_reasons", r, held) for r in chosen if reason_form(r) not in held)
    for name in sorted({*flag.dimensions} - {*opened.missing(flag.dimensions)}):
        if not any(value.strip() for (value,), _ in _held(target, opened, name)):
            yield Unmatched("empty dimensions", name)


def _unmet(
    target: Target, opened: OpenLog, place: str, column: str, values: Sequence[Scalar]
) -> Iterator[Unmatched]:
    if not values:
        return
    seen = {name: records for (name,), records in _held(target, opened, column)}
    if len(seen) >= MOST_NAMES:  # rarer names were not queried
        return
    for value in values:
        wanted = wanted_values([value])
        if not any(wanted.meets(name) for name in seen):
            yield _unmatched(place, str(value), seen)


def _held(target: Target, opened: OpenLog, column: str) -> list[tuple[tuple[str, ...], int]]:
    return opened.held((column,), target.start, target.end, flag=target.flag.key, most=MOST_NAMES)


def _unmatched(place: str, name: str, held: Mapping[str, int]) -> Unmatched:
    near = nearest_name(name, [key for key in held if key])
    if near is None and {*held} == {""} and place in ("namespace", "environment"):
        near = ""
    return Unmatched(place, name, near, held[near] if near is not None else 0)
