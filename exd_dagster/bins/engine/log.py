"""A table of a foreign engine, open for counting: its canonical columns, hours and quarantined rows.

Hours are whole hours since 1970 in UTC, taken from milliseconds since 1970, so the time zone of a session or
value has no effect.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb

from exd_dagster.bins.counting.audience import Target
from exd_dagster.bins.counting.count import write_fingerprints, write_table, write_targets
from exd_dagster.bins.engine.expressions import (
    day_literal,
    how_many,
    instant_literal,
    is_between,
    value_literal,
)
from exd_dagster.bins.engine.functions import epoch_ms, hashed, hour_key, hour_of, key_hour
from exd_dagster.bins.engine.session import tagged
from exd_dagster.bins.engine.state import EngineState
from exd_dagster.bins.engine.survey import Survey, take_survey
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import (
    BEFORE_2000,
    EARLIEST,
    FUTURE,
    NO_FLAG,
    OPTIONAL,
    PARTITION,
    UNREADABLE_TIME,
    Unreadable,
)
from exd_dagster.telemetry.sources.ibis import IbisRecords

if TYPE_CHECKING:
    from exd_dagster.bins.engine.tally import EngineTally

Expression: TypeAlias = Any
"""An Ibis value or table."""

_TEXTS = {**TEXTS, "unit": "unit_id_hash", "id": "evaluation_id"}


@dataclass(frozen=True, slots=True)
class EngineLog:
    """A table of a foreign engine, open for counting; see `OpenLog`.

    Attributes:
        connection: the store.
        records: the table.
        table: its Ibis expression.
        lateness_ms: how long after its end an hour closes.
        state: the first exposures that the engine keeps, None where every run recounts.
        seed: of the hashes of units; None for such as they are.
        surveys: what it holds by hour, once that was read.
        slices: the table of the records that are read, once it was made.
        size: about how many records it has, None where that is not known.
    """

    connection: duckdb.DuckDBPyConnection
    records: IbisRecords
    table: Expression
    lateness_ms: int
    state: EngineState | None = None
    seed: int | None = None
    surveys: list[Survey] = field(default_factory=list)
    slices: list["EngineLog"] = field(default_factory=list)
    size: int | None = None
    unreadable: tuple[Unreadable, ...] = ()
    unread_files: tuple[str, ...] = ()

    @property
    def kept(self) -> EngineState:
        """The first exposures that the engine keeps.

        Raises:
            ValueError: when it keeps none.
        """
        if self.state is None:
            raise ValueError(f"{self.records.place} has no state")
        return self.state

    @property
    def recounts(self) -> bool:
        """See `OpenLog`."""
        return self.state is None

    @property
    def absent(self) -> tuple[str, ...]:
        """Optional columns it does not have."""
        return tuple(self.missing(OPTIONAL))

    def missing(self, columns: Collection[str]) -> list[str]:
        """Return those of the columns that the table does not have."""
        return [name for name in columns if self.records.column(self.table, name) is None]

    def near(self, column: str) -> list[str]:  # noqa: ARG002
        """See `OpenLog`."""
        return list(self.table.columns)

    def hours(self, start: int, latest: int) -> dict[int, tuple[int, int]]:
        """Return newest record (ms) and number of records by hour in `[start, latest)` (ms)."""
        hours = self.survey(start, latest).hours
        return {hour: found for hour, found in hours.items() if hour >= start // HOUR_MS}

    def survey(
        self,
        start: int,
        latest: int,
        prints_from: int | None = None,
        extras: Sequence[str] = (),
        *,
        known: bool = False,
    ) -> Survey:
        """Return the survey, which is taken once; see `take_survey`."""
        if not self.surveys:
            self.surveys.append(take_survey(self, start, latest, prints_from, extras, known=known))
        return self.surveys[0]

    def quarantine(self, start: int, latest: int, flags: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the rows that can be in no bin, by reason and flag; of partitions, those from `start` on."""
        survey = self.survey(start, latest)
        unflagged = sum(n for hour, n in survey.unflagged.items() if hour >= start // HOUR_MS)
        if start // HOUR_MS >= survey.flags_from and not survey.outside and not unflagged:
            return {}
        rows = self.rows()
        day = self.day()
        if day is not None:
            rows = rows.filter(day.isnull() | (day >= day_literal(start, -1)))
        reasons = {
            UNREADABLE_TIME: rows.at.isnull(),
            BEFORE_2000: rows.at < instant_literal(rows.at, EARLIEST),
            FUTURE: rows.at >= instant_literal(rows.at, latest),
            NO_FLAG: is_between(rows.at, start, latest) & (rows.flag == ""),
        }
        sums = {reason: how_many(test).coalesce(0) for reason, test in reasons.items()}
        whose = rows.flag.isin(list(flags)).ifelse(rows.flag, "") if flags else value_literal("")
        rows = rows.filter(reduce(or_, reasons.values())).mutate(whose=whose)
        found = self.execute(rows.group_by("whose").agg(**sums), few=True)
        return {reason: dict(zip(found["whose"], map(int, found[reason]), strict=True)) for reason in reasons}

    def time_form(self) -> str:
        """Its times are timestamps, so there is no format to report."""
        return ""

    def held(
        self, names: Sequence[str], start: int, end: int, *, flag: str | None = None, most: int
    ) -> list[tuple[tuple[str, ...], int]]:
        """See `OpenLog`."""
        rows = self.rows()
        rows = rows.filter(self.between(rows, start, end))
        rows = rows if flag is None else rows.filter(rows.flag == flag)
        own = {name: rows[name] if name in _TEXTS else self.text(name) for name in names}
        named = rows.select(**{f"n{i}": column for i, column in enumerate(own.values())})
        counts = named.group_by(list(named.columns)).agg(records=named.count())
        found = self.execute(counts.order_by(counts.records.desc()).limit(most))
        values = [tuple(map(str, row[:-1])) for row in found.itertuples(index=False)]
        return list(zip(values, map(int, found["records"]), strict=True))

    def tally(self, targets: Sequence[Target]) -> "EngineTally":
        """Return what counts these flags."""
        from exd_dagster.bins.engine.stateful import StatefulTally
        from exd_dagster.bins.engine.tally import EngineTally

        if self.state is None:
            return EngineTally(self, targets)
        if not self.slices:
            self.slices.append(self._sliced(targets))
        return StatefulTally(self.slices[0], targets)

    def _sliced(self, targets: Sequence[Target]) -> "EngineLog":
        """Return the records read as a log of their own; all of it where most is read."""
        from exd_dagster.bins.engine.slices import is_slice, slice_log

        return slice_log(self, targets) if is_slice(self, targets) else self

    def tidy(self) -> None:
        """Drop the tables that are no longer current."""
        if self.state is not None:
            self.state.drop_stale()

    def fingerprint_hours(self, targets: Sequence[Target], first: int) -> int:
        """See `OpenLog`; they are of the whole log, and those of its survey."""
        (survey,) = self.surveys
        first = max(first, survey.prints_from or 0)
        write_targets(self.connection, targets)
        prints = [(hour, survey.hours[hour][1], hashes) for hour, hashes in survey.prints.items()]
        write_table(self.connection, "whole", prints)
        write_fingerprints(self.connection, "FROM exd_whole", "hour", first)
        self.connection.execute("DROP TABLE exd_whole")
        return first

    def rows(self) -> Expression:
        """Return the table with the canonical columns added.

        at, ms and hour since 1970, hour_key to group by (see `functions.hour_key`), late; flag, variant and
        the other texts, "" for none, and as they are (raw_flag, ...), of which engines know how many values
        they have, and where it is a whole number as that (own_flag, ...); unit and id as text, unit_key and
        id_key as what to group by, has_unit and has_id.
        """
        at: Expression = self.records.column(self.table, "timestamp")
        texts = {name: self.text(source) for name, source in _TEXTS.items()}
        raw = {f"raw_{name}": self.raw(source) for name, source in TEXTS.items()}
        own = {f"own_{name}": self._own(source) for name, source in TEXTS.items()}
        ms, hour, key = epoch_ms(at, self.engine), hour_of(at, self.engine), hour_key(at, self.engine)
        keys: dict[str, Expression] = {}
        for name in ("unit", "id"):
            keys[f"{name}_key"], keys[f"has_{name}"] = self._key(_TEXTS[name])
        times = {"at": at, "ms": ms, "hour": hour, "hour_key": key, "late": self._late(at)}
        return self.table.mutate(**times, **texts, **raw, **own, **keys)

    def by_hour(self, found: Expression) -> Expression:
        """Return what was grouped by `hour_key` with the hour in its place."""
        return found.mutate(hour=key_hour(found.hour_key, self.engine)).drop("hour_key")

    def _late(self, at: Expression) -> Expression:
        """Return a test for records that came after their hour was closed."""
        ingested = self.records.column(self.table, "ingested_at")
        if ingested is None:
            return value_literal(False)
        hour = hour_key if ingested.type() == at.type() else hour_of
        closed = hour(ingested, self.engine, before=self.lateness_ms)
        return (closed > hour(at, self.engine)).coalesce(False)

    def _key(self, name: str) -> tuple[Expression, Expression]:
        """Return what to group a column by, a whole number as it is, and whether a row has any."""
        column = self.records.column(self.table, name)
        if column is not None and column.type().is_integer():
            number = column.cast("int64") if self.seed is None else hashed(column, self.engine, self.seed)
            return number, column.notnull()
        raw = self.raw(name)
        return hashed(raw, self.engine, self.seed), (raw != "").coalesce(False)

    @property
    def engine(self) -> str:
        """Name of the Ibis backend."""
        return str(self.records.connection.name)

    def between(self, rows: Expression, start: int, end: int) -> Expression:
        """Return a test for the records in `[start, end)` (ms), in a form by which partitions are skipped."""
        inside, day = is_between(rows.at, start, end), self.day()
        if day is None:
            return inside
        # a day more on either side, should the days be those of another zone
        return inside & (day.isnull() | day.between(day_literal(start, -1), day_literal(end, 1)))

    def day(self) -> Expression | None:
        """Return the column by which the table is partitioned, None without one."""
        column = self.records.column(self.table, PARTITION)
        return column if column is not None and column.type().is_date() else None

    def text(self, name: str) -> Expression:
        """Return a column as text, "" where it is empty or there is none."""
        raw = self.raw(name)
        return raw if self.records.column(self.table, name) is None else raw.coalesce("")

    def raw(self, name: str) -> Expression:
        """Return a column as text, "" where there is none."""
        column = self.records.column(self.table, name)
        if column is None:
            return value_literal("")
        if column.type().is_struct() and "kind" in column.type().names:  # LaunchDarkly's evaluation reason
            column = column["kind"]
        return column.cast("string")

    def _own(self, name: str) -> Expression:
        """Return a column as it is where it holds whole numbers, else as text: a text costs more to make."""
        column = self.records.column(self.table, name)
        return column if column is not None and column.type().is_integer() else self.raw(name)

    def execute(self, expression: Expression, *, few: bool = False) -> Any:
        """Run an expression in the engine and return a small DataFrame.

        Args:
            expression: an Ibis table.
            few: whether it groups what it reads into few groups.

        Raises:
            RecordsError: when the engine refuses.
        """
        try:
            with tagged(self.records.connection, 0 if few else self.size):
                return self.records.connection.execute(expression)
        except Exception as error:
            raise RecordsError(f"{self.records.place} cannot be counted by {self.engine}: {error}") from error
