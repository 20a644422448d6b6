"""Which hours of a log were delivered: not those in which the whole log is far below its expected traffic.

The expectation of an hour is the median of the same hour on up to 7 earlier days, or on up to 3 earlier weeks
if that is less. An hour that expects `FEWEST` records or more was not delivered

- where the log has less than `FLOOR` of them, and so has each counted flag that expects as many, or
- where 3 or more such flags are counted, and 4 of 5 of them have less than `FLEET_FLOOR`.

Nor was an hour next to such a gap with less than `WHOLE` of its expectation: the loader stopped or started
within it. Nor were hours that expect fewer, such as those of a night, between two gaps or after the last one,
unless they have half of their expectation together.

A late loader together with a few devices whose clocks are fast causes such hours at the end of the log; a
missing file causes them in its middle. An hour without any record was not delivered either.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import duckdb
import numpy as np
from numpy.typing import NDArray

from exd_dagster.bins.hours import HOUR_MS

FEWEST = 20.0
"""An hour that expects fewer records is not tested."""
FLOOR = 0.1
FLEET_FLOOR = 0.5
FEWEST_FLAGS = 3
FLAGS_DOWN = 0.8
WHOLE = 0.8

_DAYS = 24 * np.arange(1, 8)
_WEEKS = 168 * np.arange(1, 4)

Floats: TypeAlias = NDArray[np.float64]
Hours: TypeAlias = NDArray[np.int64]
Booleans: TypeAlias = NDArray[np.bool_]
Volumes: TypeAlias = Callable[[Collection[int]], Mapping[int, Mapping[int, float]]]
"""Gives, for some hours, the evaluations of each counted flag by hour."""


def delivered_hours(records: Mapping[int, int], volumes: Volumes) -> set[int]:
    """Return the hours (since 1970) that were delivered.

    Args:
        records: records of the whole log by hour, in every hour that has any.
        volumes: for some hours, the evaluations of each counted flag by hour; read only for doubtful hours.
    """
    if not records:
        return set()
    first = min(records)
    seen = np.zeros(max(records) - first + 1)
    seen[np.fromiter(records, np.int64) - first] = list(records.values())
    expected = _expected(seen, np.arange(len(seen)))
    tested = expected >= FEWEST
    share = np.where(tested, seen / np.maximum(expected, 1.0), 1.0)
    doubtful = np.flatnonzero(tested & (seen > 0) & (share < FLEET_FLOOR))
    gap = tested & (seen == 0)
    gap[_all_down(doubtful, share, first, volumes)] = True
    beside = np.append(gap[1:], False) | np.append(False, gap[:-1])
    lost = gap | (beside & (share < WHOLE))
    lost |= _quiet_between(lost, ~tested, seen, expected)
    return {*(first + np.flatnonzero((seen > 0) & ~lost)).tolist()}


def _quiet_between(lost: Booleans, quiet: Booleans, seen: Floats, expected: Floats) -> Booleans:
    """Return the runs of quiet hours between lost ones, or at the end after one, with too few records."""
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
    found = np.zeros_like(lost)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        between = begin > 0 and lost[begin - 1] and (end == len(lost) or lost[end])
        if between and seen[begin:end].sum() < FLEET_FLOOR * expected[begin:end].sum():
            found[begin:end] = True
    return found


def _expected(seen: Floats, places: Hours) -> Floats:
    """Return the expectation of each element of a series; 0 without earlier days."""

    def median(lags: Hours) -> Floats:
        earlier = places - lags[:, None]
        values = np.where(earlier >= 0, seen[np.maximum(earlier, 0)], np.nan)
        values.sort(axis=0)  # NaN last
        count, columns = np.isfinite(values).sum(axis=0), np.arange(len(places))
        return np.asarray((values[np.maximum(count - 1, 0) // 2, columns] + values[count // 2, columns]) / 2)

    return np.nan_to_num(np.fmin(median(_DAYS), median(_WEEKS)))


def _all_down(doubtful: Hours, share: Floats, first: int, volumes: Volumes) -> list[int]:
    """Return the doubtful places in which the counted flags are down with the log."""
    if not len(doubtful):
        return []
    lags = np.concatenate([np.zeros(1, np.int64), _DAYS, _WEEKS])
    wanted = np.unique(doubtful + first - lags[:, None])
    by_flag = volumes([int(hour) for hour in wanted])
    shares = [_share(doubtful, first, evaluations) for evaluations in by_flag.values()]
    down = []
    for column, place in enumerate(doubtful.tolist()):
        known = np.array([found[column] for found in shares if not np.isnan(found[column])])
        if len(known) >= FEWEST_FLAGS:
            lost = bool(np.mean(known < FLEET_FLOOR) >= FLAGS_DOWN)
        else:
            lost = share[place] < FLOOR and bool((known < FLOOR).all())
        if lost:
            down.append(place)
    return down


def _share(doubtful: Hours, first: int, evaluations: Mapping[int, float]) -> Floats:
    """Return what each doubtful hour of one flag has of what it expects; NaN where that is too little."""
    start = min(evaluations)
    series = np.zeros(int(doubtful.max()) + first - start + 1)
    for hour, count in evaluations.items():
        series[hour - start] = count
    places = doubtful + first - start
    inside = places >= 0
    shares = np.full(len(doubtful), np.nan)
    expected = _expected(series, places[inside])
    shares[inside] = np.where(expected >= FEWEST, series[places[inside]] / np.maximum(expected, 1.0), np.nan)
    return shares


def flag_volumes(connection: duckdb.DuckDBPyConnection, source: str) -> Volumes:
    """Return a function that reads the evaluations of a log's counted flags from the store.

    Of a flag whose declared coverage changes they are divided by it: a declared cut is no fault of a loader.
    """

    def volumes(hours: Collection[int]) -> dict[int, dict[int, float]]:
        query = "SELECT flag, definition FROM exd_flags WHERE source = ?"
        stored = connection.execute(query, [source]).fetchall()
        changes = {flag: json.loads(definition).get("coverage", []) for flag, definition in stored}
        found: dict[int, dict[int, float]] = {}
        rows = connection.execute(
            "SELECT flag, hour, sum(evaluations)::BIGINT FROM exd_bins JOIN exd_flags USING (flag) "
            "WHERE source = ? AND hour IN (SELECT unnest(?)) GROUP BY flag, hour ORDER BY flag, hour",
            [source, list(hours)],
        )
        for flag, hour, evaluations in rows.fetchall():
            found.setdefault(flag, {})[hour] = evaluations / _coverage(changes[flag], hour)
        return found

    return volumes


def _coverage(changes: Sequence[tuple[int, float]], hour: int) -> float:
    """Return the coverage at the end of an hour; `changes`: instants (ms), and the coverage from then on."""
    return [1.0, *(share for at, share in changes if at < (hour + 1) * HOUR_MS)][-1]
