"""Count in the engine of the records: one Ibis expression in its SQL; only bins are transferred.

The same steps as `count`, without a state of units: cells by unit, hour and variant, then sums over cells. A
unit's first exposure is its first cell in order of (millisecond, rank of the variant). Hours are whole hours
since 1970 in UTC, taken from seconds since 1970, so the time zone of a session or value has no effect.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from typing import Any, TypeAlias

import duckdb

from exd_dagster.bins.counting.audience import UPTAKE, Target, ignored, left_out
from exd_dagster.bins.counting.count import (
    seen_scopes,
    seen_variants,
    write_noted,
    write_table,
    write_targets,
)
from exd_dagster.bins.counting.segments import Dimensions
from exd_dagster.bins.engine.expressions import (
    day_literal,
    instant_literal,
    is_between,
    is_one_of,
    ms_of,
    value_literal,
)
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

Expression: TypeAlias = Any
"""An Ibis value or table."""

SCOPE = ("flag", "namespace", "environment")
_TEXTS = {**TEXTS, "unit": "unit_id_hash", "id": "evaluation_id"}
OF_TARGET = (
    "JOIN exd_targets ON flag = exd_key AND (exd_namespace IS NULL OR namespace = exd_namespace) "
    "AND (exd_environment IS NULL OR environment = exd_environment)"
)


@dataclass(frozen=True, slots=True)
class EngineLog:
    """A table of a foreign engine, open for counting; see `OpenLog`.

    Attributes:
        connection: the store.
        records: the table.
        table: its Ibis expression.
        lateness_ms: how long after its end an hour closes.
    """

    connection: duckdb.DuckDBPyConnection
    records: IbisRecords
    table: Expression
    lateness_ms: int
    recounts: bool = True
    unreadable: tuple[Unreadable, ...] = ()
    unread_files: tuple[str, ...] = ()

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
        rows = self.rows()
        rows = rows.filter(self.between(rows, start, latest))
        found = self.execute(rows.group_by("hour").agg(newest=rows.at.max(), n=rows.count().cast("int64")))
        cells = zip(found["hour"], found["newest"], found["n"], strict=True)
        return {int(hour): (ms_of(at), int(count)) for hour, at, count in cells}

    def quarantine(self, start: int, latest: int, flags: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the rows that can be in no bin, by reason and flag; of partitions, those from `start` on."""
        rows = self.rows()
        day = self._day()
        if day is not None:
            rows = rows.filter(day.isnull() | (day >= day_literal(start, -1)))
        reasons = {
            UNREADABLE_TIME: rows.at.isnull(),
            BEFORE_2000: rows.at < instant_literal(rows.at, EARLIEST),
            FUTURE: rows.at >= instant_literal(rows.at, latest),
            NO_FLAG: is_between(rows.at, start, latest) & (rows.flag == ""),
        }
        sums = {reason: _how_many(test).coalesce(0) for reason, test in reasons.items()}
        whose = rows.flag.isin(list(flags)).ifelse(rows.flag, "") if flags else value_literal("")
        rows = rows.filter(reduce(or_, reasons.values())).mutate(whose=whose)
        found = self.execute(rows.group_by("whose").agg(**sums))
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
        return EngineTally(self, targets)

    def fingerprint_hours(self, targets: Sequence[Target], first: int) -> None:
        """No fingerprints are stored, so there is nothing to compare."""

    def rows(self) -> Expression:
        """Return the table with the canonical columns added: at, hour, flag, variant, unit, id, ..."""
        at: Expression = self.records.column(self.table, "timestamp")
        texts = {name: self.text(source) for name, source in _TEXTS.items()}
        # whole seconds first: some engines round when they cast
        hour = at.truncate("s").epoch_seconds() // 3600
        ingested = self.records.column(self.table, "ingested_at")
        late = value_literal(False)
        if ingested is not None:
            closes = (hour + 1) * 3600 + self.lateness_ms // 1000
            late = (ingested.truncate("s").epoch_seconds() >= closes).coalesce(False)
        return self.table.mutate(at=at, hour=hour.cast("int64"), late=late, **texts)

    def between(self, rows: Expression, start: int, end: int) -> Expression:
        """Return a test for the records in `[start, end)` (ms), in a form by which partitions are skipped."""
        inside, day = is_between(rows.at, start, end), self._day()
        if day is None:
            return inside
        # a day more on either side, should the days be those of another zone
        return inside & (day.isnull() | day.between(day_literal(start, -1), day_literal(end, 1)))

    def _day(self) -> Expression | None:
        """Return the column by which the table is partitioned, None without one."""
        column = self.records.column(self.table, PARTITION)
        return column if column is not None and column.type().is_date() else None

    def text(self, name: str) -> Expression:
        """Return a column as text, "" where it is empty or there is none."""
        column = self.records.column(self.table, name)
        if column is None:
            return value_literal("")
        if column.type().is_struct() and "kind" in column.type().names:  # LaunchDarkly's evaluation reason
            column = column["kind"]
        return column.cast("string").coalesce("")

    def execute(self, expression: Expression) -> Any:
        """Run an expression in the engine and return a small DataFrame.

        Raises:
            RecordsError: when the engine refuses.
        """
        try:
            return self.records.connection.execute(expression)
        except Exception as error:
            engine = self.records.connection.name
            raise RecordsError(f"{self.records.place} cannot be counted by {engine}: {error}") from error


@dataclass(frozen=True, slots=True)
class EngineTally:
    """Counts some flags in the engine; see `Tally`."""

    log: EngineLog
    targets: Sequence[Target]
    ranks: list[str] = field(default_factory=list)
    reasons: dict[int, list[str]] = field(default_factory=dict)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The store."""
        return self.log.connection

    def look(self) -> None:
        """Count evaluations by everything but unit: `exd_overview`."""
        write_targets(self.connection, self.targets)
        rows = self._rows(counted_only=False)
        rows = rows.mutate(unitless=rows.unit == "")
        kinds = [*SCOPE, "variant", "reason", "version", "hour", "late", "unitless"]
        found = rows.group_by(kinds).agg(rows=rows.count().cast("int64"), n=self._evaluations(rows))
        marked = (
            "SELECT target, hour, namespace, environment, nullif(variant, '') AS variant, reason, version, "
            "late::BOOLEAN AS late, unitless::BOOLEAN AS unitless, rows::BIGINT AS rows, n::BIGINT AS n "
            f"FROM exd_found {OF_TARGET}"
        )
        self.take(
            found,
            "overview",
            f"SELECT *, {left_out(self.targets)} AS left_out, {ignored(self.targets)} AS ignored "
            f"FROM ({marked})",
        )

    def scopes(self) -> list[tuple[int, str, str]]:
        """Return target, namespace and environment of the records seen."""
        return seen_scopes(self.connection)

    def variants(self) -> list[tuple[int, str]]:
        """Return target and name of every variant that counts."""
        return seen_variants(self.connection)

    def label(self, ranks: Sequence[tuple[int, str, int]]) -> None:
        """Take the variants that count; ranks of the engine are their order of name."""
        self.ranks[:] = sorted({name for _, name, _ in ranks})
        self.reasons.update(_reasons_left_out(self.connection))
        write_table(self.connection, "labels", ranks)

    def count(self) -> None:
        """Count every measure in one expression: `exd_counts`, `exd_delta` and `exd_noted`."""
        found = (
            "SELECT target, hour::BIGINT AS hour, variant, sum(units)::BIGINT AS units, "
            "sum(evaluations)::BIGINT AS evaluations, sum(new_units)::BIGINT AS new_units, "
            f"sum(multi)::BIGINT AS multi, sum(carried)::BIGINT AS carried FROM exd_found {OF_TARGET} "
            "GROUP BY ALL"
        )
        self.take(self.measures(), "measures", found)
        for table, names in (("counts", "units, evaluations"), ("delta", "new_units, multi, carried")):
            self.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE exd_{table} AS SELECT target, hour, variant, {names} "
                "FROM exd_measures"
            )
        write_noted(self.connection, self.targets)

    def first_exposures(self) -> None:
        """They were computed with the other measures."""

    def segments(self, dimensions: Dimensions) -> None:
        """See `Tally`."""
        from exd_dagster.bins.engine.segments import count_segments

        count_segments(self, dimensions)

    def measures(self) -> Expression:
        """Return the one expression that counts every measure."""
        cells = self._cells()
        key = [*SCOPE, "hour", "variant"]
        active = cells.group_by(key).agg(
            units=cells.unit.nunique().cast("int64"), evaluations=cells.n.sum().cast("int64")
        )
        exposed = self._first_cells(cells)
        mixed = exposed.low < exposed.high
        first = exposed.group_by(key).agg(
            new_units=exposed.count().cast("int64"),
            multi=_how_many(mixed),
            carried=_how_many(mixed & (exposed.clash == 0)),
        )
        nothing = value_literal(0).cast("int64")
        active = active.mutate(new_units=nothing, multi=nothing, carried=nothing)
        first = first.mutate(units=nothing, evaluations=nothing)
        return active.union(first.select(active.columns))

    def clear(self) -> None:
        """Drop the temporary tables."""
        for name in (
            "targets",
            "labels",
            "noted",
            "overview",
            "measures",
            "counts",
            "delta",
            "wanted",
            "segmented",
        ):
            self.connection.execute(f"DROP TABLE IF EXISTS exd_{name}")

    def counted_rows(self) -> Expression:
        """Return the records that count, each with the rank of its variant."""
        import ibis

        rows = self._rows(counted_only=True)
        ranks = [(rows.variant == name, rank) for rank, name in enumerate(self.ranks)]
        return rows.mutate(rank=ibis.cases(*ranks) if ranks else value_literal(0))

    def _cells(self) -> Expression:
        rows = self.counted_rows()
        phase, iteration = self.phases(rows)
        rows = rows.mutate(phase=phase, iteration=iteration)
        kinds = [*SCOPE, "iteration", "phase", "hour", "variant", "rank", "unit"]
        return rows.group_by(kinds).agg(first=rows.at.truncate("ms").min(), n=self._evaluations(rows))

    def _first_cells(self, cells: Expression) -> Expression:
        """Select each unit's first cell of an iteration, with the least and greatest rank it was seen in."""
        import ibis

        unit = [*SCOPE, "iteration", "unit"]
        in_phase = ibis.window(group_by=[*unit, "phase"])
        clash = cells["rank"].min().over(in_phase) < cells["rank"].max().over(in_phase)
        cells = cells.mutate(in_clash=(clash & (cells.phase < UPTAKE)).ifelse(1, 0))
        of_unit = ibis.window(group_by=unit)
        cells = cells.mutate(
            clash=cells.in_clash.max().over(of_unit),
            low=cells["rank"].min().over(of_unit),
            high=cells["rank"].max().over(of_unit),
            place=ibis.row_number().over(ibis.window(group_by=unit, order_by=["first", "rank"])),
        )
        return cells.filter(cells.place == 0)

    def phases(self, rows: Expression) -> tuple[Expression, Expression]:
        """Return the phase (+ UPTAKE while it is taken up) and the iteration of its flag at each row."""
        phase = iteration = value_literal(0).cast("int64")
        for target in self.targets:
            for (_, was, past), (start, now, number) in pairwise(target.parts):
                begun = (_of(rows, target) & (rows.at >= instant_literal(rows.at, start))).ifelse(1, 0)
                phase = phase + begun * (now - was)
                iteration = iteration + begun if number > past else iteration
        return phase, iteration

    def _rows(self, *, counted_only: bool) -> Expression:
        """Return the records that any of the flags counts, or would but for unit, variant and reason."""
        rows = self.log.rows()
        groups: dict[str, list[Target]] = defaultdict(list)
        for target in self.targets:
            flag = target.flag
            kind = (target.scope[1:], target.start, target.end, flag.include, flag.exclude)
            groups[repr((kind, flag.ignore_variants, flag.exclude_reasons))].append(target)
        return rows.filter(reduce(or_, (self._let_through(rows, g, counted_only) for g in groups.values())))

    def _let_through(self, rows: Expression, targets: Sequence[Target], counted_only: bool) -> Expression:
        target, flag = targets[0], targets[0].flag
        inside = self.log.between(rows, target.start, target.end)
        tests = [rows.flag.isin([t.flag.key for t in targets]), inside]
        tests += [
            rows[name] == value
            for name, value in zip(SCOPE[1:], target.scope[1:], strict=True)
            if value is not None
        ]
        for name, values in flag.include.items():
            tests.append(is_one_of(self._column(name), values).coalesce(False))
        for name, values in flag.exclude.items():
            tests.append(~is_one_of(self._column(name), values).coalesce(False))
        if counted_only:
            tests += [rows.unit != "", rows.variant != ""]
            reasons = sorted({name for t in targets for name in self.reasons.get(t.number, ())})
            tests += [~rows.reason.isin(reasons)] if reasons else []
            tests += [~rows.variant.isin(list(flag.ignore_variants))] if flag.ignore_variants else []
        return reduce(and_, tests)

    def _column(self, name: str) -> Expression:
        return self.log.records.column(self.log.table, name)

    def _evaluations(self, rows: Expression) -> Expression:
        """Count rows, those with the same evaluation_id once."""
        if self._column("evaluation_id") is None:
            return rows.count().cast("int64")
        return (rows.id.nullif("").nunique() + _how_many(rows.id == "")).cast("int64")

    def take(self, expression: Expression, table: str, query: str) -> None:
        """Run an expression in the engine and store `query` over its result as a temporary table."""
        self.connection.register("exd_found", self.log.execute(expression))
        try:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_{table} AS {query}")
        finally:
            self.connection.unregister("exd_found")


def _reasons_left_out(connection: duckdb.DuckDBPyConnection) -> dict[int, list[str]]:
    """Return the reasons in `exd_overview` that leave records out, as written, by number of the flag."""
    query = "SELECT target, list(DISTINCT reason) FROM exd_overview WHERE left_out GROUP BY target"
    return dict(connection.execute(query).fetchall())


def _of(rows: Expression, target: Target) -> Expression:
    scope = zip(SCOPE, target.scope, strict=True)
    return reduce(and_, (rows[name] == value for name, value in scope if value is not None))


def _how_many(test: Expression) -> Expression:
    """Return how many rows pass; not every engine casts booleans to numbers."""
    return test.ifelse(1, 0).sum().cast("int64")
