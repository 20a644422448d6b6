"""A log open for counting, by DuckDB or by the engine of the records."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from re import sub
from typing import Protocol

import duckdb

from exd_dagster.bins.counting.audience import RANKS, Target, iteration_of
from exd_dagster.bins.counting.count import Counter, write_fingerprints, write_targets
from exd_dagster.bins.counting.segments import (
    IN_OVERVIEW,
    Cell,
    Dimensions,
    count_segments,
    count_within,
)
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.store.merge import drop_temporary, lost_exposures, merge_units
from exd_dagster.config.dimensions import dimensions_of
from exd_dagster.telemetry.canonical import Columns
from exd_dagster.telemetry.records import (
    AMBIGUOUS_TIME,
    BEFORE_2000,
    EARLIEST,
    FUTURE,
    NO_FLAG,
    UNREADABLE_LINE,
    UNREADABLE_TIME,
    Unreadable,
    instant_ms,
    literal,
)


class Tally(Protocol):
    """Counts the records of some flags into temporary tables of the store's connection."""

    def look(self) -> None:
        """Scan every hour into `exd_overview`: its evaluations by everything but unit."""

    def label(self, ranks: Sequence[tuple[int, str, int]]) -> None:
        """Take target, variant and rank of what counts: `exd_labels`."""

    def count(self) -> None:
        """Count units, evaluations and facts by hour: `exd_counts` and `exd_noted`."""

    def first_exposures(self) -> None:
        """Compute the change of the first exposures in the bins: `exd_delta`."""

    def lost_exposures(self) -> set[int]:
        """Return the flags of which a stored exposure was not found again where it had been."""

    def segments(self, dimensions: Dimensions) -> None:
        """Count first exposures by dimension, value and variant: `exd_segmented`."""

    def look_briefly(self) -> None:
        """Scan enough into `exd_overview` to know which records count."""

    def within(self, segment: tuple[str, str], names: Sequence[str], since: datetime) -> list[Cell]:
        """Count the first exposures of a segment since an instant (UTC) by each other dimension.

        Of one flag, after `look_briefly` and `label`.
        """

    def clear(self) -> None:
        """Drop the temporary tables."""


class OpenLog(Protocol):
    """An open log."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Optional columns it does not have."""

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Files and lines that could not be read."""

    @property
    def unread_files(self) -> tuple[str, ...]:
        """Files that may turn out to be damaged."""

    @property
    def recounts(self) -> bool:
        """Whether every flag is counted from its start each time, since no unit state is kept."""

    def missing(self, columns: Collection[str]) -> list[str]:
        """Return those of the columns that the log does not have."""

    def near(self, column: str) -> Sequence[str]:
        """Return its columns, as suggestions for a missing one."""

    def hours(self, start: int, latest: int) -> Mapping[int, tuple[int, int]]:
        """Return newest record (ms) and number of records by hour in `[start, latest)` (ms)."""

    def quarantine(self, start: int, latest: int, flags: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """Count the rows that can be in no bin, by reason and flag: "" for any but these flags.

        `start` and `latest` are in ms.
        """

    def time_form(self) -> str:
        """Return how a time that cannot be read is written, without its digits and letters; "" for none."""

    def held(
        self, names: Sequence[str], start: int, end: int, *, flag: str | None = None, most: int
    ) -> list[tuple[tuple[str, ...], int]]:
        """Return the distinct values of these columns in `[start, end)` (ms), and how many records have them.

        Columns are canonical names or those filters need; those with the most records first, up to `most`.
        """

    def tally(self, targets: Sequence[Target]) -> Tally:
        """Return what counts these flags."""

    def tidy(self) -> None:
        """Remove what is no longer needed, after the commit."""

    def fingerprint_hours(self, targets: Sequence[Target], first: int) -> int:
        """Compute the fingerprints of these flags' hours from `first` on: `exd_fingerprints`.

        Returns:
            The first hour that has one, `first` or later.
        """


@dataclass(frozen=True, slots=True)
class DuckTally(Counter):
    """A counter whose first exposures are merged with the stored ones."""

    def first_exposures(self) -> None:
        """Bring exd_units up to date; see `Tally`."""
        self.fresh()
        merge_units(self.connection, self.targets)

    def lost_exposures(self) -> set[int]:
        """See `Tally`."""
        return lost_exposures(self.connection)

    def segments(self, dimensions: Dimensions) -> None:
        """See `Tally`."""
        count_segments(self, dimensions)

    def within(self, segment: tuple[str, str], names: Sequence[str], since: datetime) -> list[Cell]:
        """See `Tally`."""
        (target,) = self.targets
        begun = iteration_of(target)
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_firsts AS SELECT flag AS target, unit, min(first) AS first "
            f"FROM exd_units WHERE flag = {target.number} AND first >= {instant_ms(begun) * RANKS} "
            f"GROUP BY ALL HAVING min(first) >= {instant_ms(since) * RANKS}"
        )
        try:
            return count_within(self, segment, names)
        finally:
            self.connection.execute("DROP TABLE exd_firsts")

    def clear(self) -> None:
        """Drop the temporary tables."""
        Counter.clear(self)
        drop_temporary(self.connection)


@dataclass(frozen=True, slots=True)
class DuckLog:
    """An open scan that DuckDB reads.

    Attributes:
        connection: the store.
        columns: the canonical columns of the scan.
        lateness_ms: how long after its end an hour closes.
        seed: of the store's unit hashes.
        sizes: rows of each hour, once `hours` was read.
    """

    connection: duckdb.DuckDBPyConnection
    columns: Columns
    lateness_ms: int
    seed: int
    recounts: bool = False
    sizes: dict[int, int] = field(default_factory=dict)

    @property
    def absent(self) -> tuple[str, ...]:
        """Optional columns it does not have."""
        return self.columns.absent

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """Files and lines that could not be read."""
        return self.columns.scan.unreadable

    @property
    def unread_files(self) -> tuple[str, ...]:
        """Files that may turn out to be damaged."""
        return self.columns.scan.files

    def missing(self, columns: Collection[str]) -> list[str]:
        """Return those of the columns that the log does not have."""
        return sorted(set(columns) - set(self.columns.extras))

    def near(self, column: str) -> list[str]:
        """See `OpenLog`."""
        return self.columns.scan.near(column)

    def hours(self, start: int, latest: int) -> dict[int, tuple[int, int]]:
        """See `OpenLog`."""
        us = self.columns.expressions["us"]
        rows = self.connection.execute(
            f"SELECT {us} // {HOUR_MS * 1000} AS hour, max({us}) // 1000, count(*) "
            f"FROM {self.columns.scan.relation} WHERE {self.columns.between(start, latest)} GROUP BY hour"
        ).fetchall()
        self.sizes.update((hour, count) for hour, _, count in rows)
        return {hour: (newest, count) for hour, newest, count in rows}

    def quarantine(self, start: int, latest: int, flags: Sequence[str]) -> dict[str, dict[str, int]]:
        """See `OpenLog`."""
        columns = self.columns
        us, flag = columns.expressions["us"], columns.expressions["flag"]
        conditions = {
            UNREADABLE_TIME: f"({columns.implausible}) AND {us} IS NULL AND {columns.ambiguous} IS NOT TRUE",
            AMBIGUOUS_TIME: f"{us} IS NULL AND {columns.ambiguous}",
            BEFORE_2000: f"({columns.implausible}) AND {us} < {EARLIEST * 1000}",
            FUTURE: columns.between(latest, None),
            NO_FLAG: f"{columns.between(start, latest)} AND coalesce({flag}, '') = ''",
        }
        found = {UNREADABLE_LINE: {"": sum(part.lines or 0 for part in self.unreadable)}}
        whose = f"CASE WHEN {flag} IN ({', '.join(map(literal, flags)) or 'NULL'}) THEN {flag} ELSE '' END"
        for reason, where in conditions.items():
            query = f"SELECT {whose}, count(*) FROM {columns.scan.relation} WHERE {where} GROUP BY 1"
            found[reason] = dict(self.connection.execute(query).fetchall())
        return found

    def time_form(self) -> str:
        """See `OpenLog`."""
        columns = self.columns
        row = self.connection.execute(
            f"SELECT CAST({columns.raw_time} AS VARCHAR) FROM {columns.scan.relation} "
            f"WHERE {columns.expressions['us']} IS NULL AND {columns.raw_time} IS NOT NULL LIMIT 1"
        ).fetchone()
        return sub("[^\\W\\d_]", "a", sub("\\d", "9", row[0]))[:40] if row else ""

    def held(
        self, names: Sequence[str], start: int, end: int, *, flag: str | None = None, most: int
    ) -> list[tuple[tuple[str, ...], int]]:
        """See `OpenLog`."""
        sql = {**self.columns.extras, **self.columns.expressions}
        where = self.columns.between(start, end)
        where += "" if flag is None else f" AND {sql['flag']} = {literal(flag)}"
        chosen = ", ".join(
            f"coalesce(CAST({sql[name]} AS VARCHAR), '') AS n{i}" for i, name in enumerate(names)
        )
        rows = self.connection.execute(
            f"SELECT {chosen}, count(*) AS n FROM {self.columns.scan.relation} WHERE {where} "
            f"GROUP BY ALL ORDER BY n DESC, n0 LIMIT {most}"
        ).fetchall()
        return [(tuple(row[:-1]), row[-1]) for row in rows]

    def fingerprint_hours(self, targets: Sequence[Target], first: int) -> int:
        """See `OpenLog`."""
        write_targets(self.connection, targets)
        named = {name for target in targets for name in dimensions_of(target.flag)}
        kept = sorted((named & self.columns.extras.keys()) - IN_OVERVIEW.keys())
        records = replace(self.tally(targets), kept=kept).hashed(first)
        prints = (
            "SELECT target, hour, count(*) AS records, sum(hash)::HUGEINT AS hashes "
            f"FROM ({records}) GROUP BY target, hour"
        )
        write_fingerprints(self.connection, prints, "target, hour", first)
        return first

    def tidy(self) -> None:
        """Nothing is left."""

    def tally(self, targets: Sequence[Target]) -> DuckTally:
        """Return what counts these flags."""
        return DuckTally(
            self.connection, self.columns, targets, self.lateness_ms, self.seed, sizes=self.sizes
        )
