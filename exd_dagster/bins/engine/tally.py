"""Count in the engine of the records: Ibis expressions in its SQL, only hash aggregates; only bins leave it.

Three aggregates read the log by more than a handful of values: rows by evaluation id (`ids`), units by hour,
and each unit's first exposure as the least of milliseconds * RANKS + rank of the variant.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from typing import Any, TypeAlias

import duckdb

from exd_dagster.bins.counting.audience import Target, ignored, left_out
from exd_dagster.bins.counting.count import write_noted, write_table, write_targets
from exd_dagster.bins.counting.segments import Cell, Dimensions
from exd_dagster.bins.counting.variant_ranks import place
from exd_dagster.bins.engine.exposures import are, by_iteration, counted, found_exposures, slots_of
from exd_dagster.bins.engine.expressions import (
    how_many,
    instant_literal,
    is_one_of,
    value_literal,
)
from exd_dagster.bins.engine.functions import hashed
from exd_dagster.bins.engine.log import EngineLog
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import instant_ms, literal

Expression: TypeAlias = Any
"""An Ibis value or table."""

SCOPE = ("flag", "namespace", "environment")
OF_TARGET = (
    "JOIN exd_targets ON flag = exd_key AND (exd_namespace IS NULL OR namespace = exd_namespace) "
    "AND (exd_environment IS NULL OR environment = exd_environment)"
)
KIND = ("reason", "version", "late", "unitless")
"""What a fact depends on, beside scope, variant and hour."""


@dataclass(frozen=True, slots=True)
class EngineTally:
    """Counts some flags in the engine; see `Tally`."""

    log: EngineLog
    targets: Sequence[Target]
    ranks: dict[str, int] = field(default_factory=dict)
    slots: list[list[int]] = field(default_factory=list)
    reasons: dict[int, list[str]] = field(default_factory=dict)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The store."""
        return self.log.connection

    def look(self) -> None:
        """Count evaluations by everything but unit: `exd_overview`."""
        from exd_dagster.bins.engine.ids import count_ids

        self.look_briefly()
        count_ids(self)

    def look_briefly(self) -> None:
        """Count rows by everything but unit: enough to know which records count."""
        write_targets(self.connection, self.targets)
        rows = self.rows(counted_only=False)
        raw, own = ([f"{kind}_{name}" for name in TEXTS] for kind in ("raw", "own"))
        found = rows.group_by([*own, "late", "unitless", "hour_key"]).agg(
            rows=rows.count().cast("int64"), bare=how_many(~rows.has_id)
        )
        texts_of = {name: found[kept].cast("string") for name, kept in zip(raw, own, strict=True)}
        found = self.log.by_hour(found.mutate(**texts_of).drop(*own))
        stateful = self.log.state is not None
        if stateful:
            found = found.mutate(scope=scope_hash(found, *(f"raw_{name}" for name in SCOPE), log=self.log))
        scope = ", any_value(scope)::BIGINT AS scope" if stateful else ""
        texts = ", ".join(f"coalesce(raw_{name}, '') AS {name}" for name in TEXTS)
        kinds = (
            "SELECT target, hour::BIGINT AS hour, namespace, environment, nullif(variant, '') AS variant, "
            "reason, version, late::BOOLEAN AS late, unitless::BOOLEAN AS unitless, "
            f"sum(rows)::BIGINT AS rows, sum(bare)::BIGINT AS bare{scope} "
            f"FROM (SELECT * EXCLUDE ({', '.join(raw)}), {texts} FROM exd_found) {OF_TARGET} GROUP BY ALL"
        )
        marks = f"{left_out(self.targets)} AS left_out, {ignored(self.targets)} AS ignored"
        self.take(found, "overview", f"SELECT *, {marks} FROM ({kinds})", few=True)

    def label(self, ranks: Sequence[tuple[int, str, int]]) -> None:
        """Take the variants that count; the engine's ranks are of all flags together."""
        self.ranks.update(self.ranked(sorted({name for _, name, _ in ranks})))
        self.slots[:] = slots_of((number, name, self.ranks[name]) for number, name, _ in ranks)
        self.reasons.update(_reasons_left_out(self.connection))
        write_table(self.connection, "labels", ranks)

    def ranked(self, names: Sequence[str]) -> dict[str, int]:
        """Return the rank of each variant."""
        return place({}, names)

    def count(self) -> None:
        """Count units, evaluations and facts by hour: `exd_counts` and `exd_noted`."""
        from exd_dagster.bins.engine.ids import count_evaluations

        write_targets(self.connection, self.targets)
        found = (
            f"SELECT target, hour::BIGINT AS hour, {self.variant_sql}, units::BIGINT AS units FROM exd_found"
        )
        self.take(self.active_units(), "active", f"{found} {OF_TARGET}")
        count_evaluations(self)
        write_noted(self.connection, self.targets)

    def first_exposures(self) -> None:
        """Count the first exposures: `exd_delta` and, in the hours read, `exd_exposed`."""
        counts = ", ".join(f"{name}::BIGINT AS {name}" for name in ("new_units", "multi", "carried"))
        found = (
            f"SELECT target, hour::BIGINT AS hour, {self.variant_sql}, {counts} FROM exd_found {OF_TARGET}"
        )
        self.take(self.new_units(), "delta", found)
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_exposed AS "
            "SELECT target, hour, variant, new_units FROM exd_delta"
        )

    def lost_exposures(self) -> set[int]:
        """None is lost: all are counted again."""
        return set()

    @property
    def variant_sql(self) -> str:
        """SQL for the name of the variant of a rank."""
        names, ranks = ", ".join(map(literal, self.ranks)), ", ".join(map(str, self.ranks.values()))
        return f"[{names}][list_position([{ranks}], rank::BIGINT)] AS variant"

    def segments(self, dimensions: Dimensions) -> None:
        """See `Tally`."""
        from exd_dagster.bins.engine.segments import count_segments

        count_segments(self, dimensions)

    def within(self, segment: tuple[str, str], names: Sequence[str], since: datetime) -> list[Cell]:
        """See `Tally`."""
        from exd_dagster.bins.engine.segments import count_within

        return count_within(self, segment, names, instant_ms(since))

    def active_units(self) -> Expression:
        """Count units by scope, hour and rank of the variant."""
        (scope, fixed), rows = self.scope(), self.counted_rows()
        key = [*scope, "hour_key", "rank"]
        cells = rows.select(*key, "unit_key").distinct()
        found = cells.group_by(key).agg(units=cells.count().cast("int64"))
        return with_fixed(self.log.by_hour(found), fixed)

    def new_units(self) -> Expression:
        """Count first exposures by scope, hour and rank of the variant."""
        key, fixed = self.scope()
        return with_fixed(counted(self.exposures(), key), fixed)

    def exposures(self) -> Expression:
        """Return each unit once per scope and iteration; see `by_iteration`."""
        rows, (key, _) = self.counted_rows(), self.scope()
        units = found_exposures(rows, [*key, *self.phase_key, "unit_key"], self.slots, self.log.engine)
        return by_iteration(units, [*key, "iteration", "unit_key"], phases=bool(self.phase_key))

    def firsts(self, rows: Expression) -> tuple[Expression, Expression, list[str]]:
        """Return records, the units first exposed in them, and the columns that both are joined by."""
        key, _ = self.scope()
        return rows, self.exposures(), [*key, *self.phase_key[1:], "unit_key"]

    @property
    def phase_key(self) -> list[str]:
        """Columns of the phase, where any flag has more than one."""
        return ["phase", "iteration"] if any(len(target.parts) > 1 for target in self.targets) else []

    def scope(self) -> tuple[list[str], dict[str, Any]]:
        """Return the columns of the scope to group by, and those that have one value in all records."""
        seen: dict[str, set[Any]] = {"flag": {target.flag.key for target in self.targets}}
        numbers = ", ".join(str(target.number) for target in self.targets)
        for name in SCOPE[1:]:
            values = self.connection.execute(
                f"SELECT DISTINCT {name} FROM exd_overview WHERE target IN ({numbers}) LIMIT 2"
            ).fetchall()
            seen[name] = {value for (value,) in values}
        fixed = {name: next(iter(values)) for name, values in seen.items() if len(values) == 1}
        return [name for name in SCOPE if name not in fixed], fixed

    def clear(self) -> None:
        """Drop the temporary tables."""
        for name in _TEMPORARY:
            self.connection.execute(f"DROP TABLE IF EXISTS exd_{name}")

    def counted_rows(self) -> Expression:
        """Return the records that count, each with the rank of its variant, and its phase if any."""
        import ibis

        rows = self.rows(counted_only=True)
        ranks = [(rows.raw_variant == name, rank) for name, rank in self.ranks.items()]
        rows = rows.mutate(rank=(ibis.cases(*ranks) if ranks else value_literal(0)).cast("int64"))
        rows = rows.filter(are(rows.raw_variant, [*self.ranks]))  # others came since it was looked
        if self.phase_key:
            phase, iteration = self.phases(rows)
            rows = rows.mutate(phase=phase, iteration=iteration)
        return rows

    def phases(self, rows: Expression) -> tuple[Expression, Expression]:
        """Return the phase (+ UPTAKE while it is taken up) and the iteration of its flag at each row."""
        phase = iteration = value_literal(0).cast("int64")
        for target in self.targets:
            for (_, was, past), (start, now, number) in pairwise(target.parts):
                begun = (_of(rows, target) & (rows.at >= instant_literal(rows.at, start))).ifelse(1, 0)
                phase = phase + begun * (now - was)
                iteration = iteration + begun if number > past else iteration
        return phase, iteration

    def rows(self, *, counted_only: bool) -> Expression:
        """Return the records that any of the flags counts, or would but for unit, variant and reason."""
        rows = self.log.rows()
        rows = rows.mutate(unitless=~rows.has_unit)
        groups: dict[str, list[Target]] = defaultdict(list)
        for target in self.targets:
            flag = target.flag
            kind = (target.scope[1:], target.start, target.end, flag.include, flag.exclude)
            groups[repr((kind, flag.ignore_variants, flag.exclude_reasons))].append(target)
        return rows.filter(reduce(or_, (self._let_through(rows, g, counted_only) for g in groups.values())))

    def _let_through(self, rows: Expression, targets: Sequence[Target], counted_only: bool) -> Expression:
        target, flag = targets[0], targets[0].flag
        inside = self.log.between(rows, target.start, target.end)
        tests = [rows.raw_flag.isin([t.flag.key for t in targets]), inside]
        tests += [
            rows[f"raw_{name}"] == value if value else rows[name] == value
            for name, value in zip(SCOPE[1:], target.scope[1:], strict=True)
            if value is not None
        ]
        for name, values in flag.include.items():
            tests.append(is_one_of(self._column(name), values).coalesce(False))
        for name, values in flag.exclude.items():
            tests.append(~is_one_of(self._column(name), values).coalesce(False))
        if counted_only:
            tests += [rows.has_unit, rows.raw_variant != ""]
            reasons = sorted({name for t in targets for name in self.reasons.get(t.number, ())})
            tests += [~rows.reason.isin(reasons)] if reasons else []
            tests += [~rows.variant.isin(list(flag.ignore_variants))] if flag.ignore_variants else []
        return reduce(and_, tests)

    def _column(self, name: str) -> Expression:
        return self.log.records.column(self.log.table, name)

    def take(self, expression: Expression, table: str, query: str, *, few: bool = False) -> None:
        """Run an expression in the engine and store `query` over its result as a temporary table."""
        self.connection.register("exd_found", self.log.execute(expression, few=few))
        try:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_{table} AS {query}")
        finally:
            self.connection.unregister("exd_found")


_TEMPORARY = (
    *("targets", "labels", "noted", "overview", "once", "odd", "pairs", "active", "counts", "delta", "apart"),
    *("wanted", "segmented", "exposed", "sides", "scoped"),
)


def scope_hash(rows: Expression, *names: str, log: EngineLog) -> Expression:
    """Return a hash of the flag, namespace and environment that these columns hold.

    Args:
        rows: where they are.
        names: of the three columns.
        log: with a state, whose seed makes the hash another one in each store.
    """
    flag, namespace, environment = (rows[name].coalesce("") for name in names)
    apart = value_literal("\x1f")
    return hashed(flag + apart + namespace + apart + environment, log.engine, log.kept.seed)


def with_fixed(found: Expression, fixed: Mapping[str, Any]) -> Expression:
    """Return the counts with the fixed columns again."""
    return found.mutate(**{name: value_literal(value) for name, value in fixed.items()})


def _reasons_left_out(connection: duckdb.DuckDBPyConnection) -> dict[int, list[str]]:
    """Return the reasons in `exd_overview` that leave records out, as written, by number of the flag."""
    query = "SELECT target, list(DISTINCT reason) FROM exd_overview WHERE left_out GROUP BY target"
    return dict(connection.execute(query).fetchall())


def _of(rows: Expression, target: Target) -> Expression:
    scope = zip(SCOPE, target.scope, strict=True)
    return reduce(and_, (rows[name] == value for name, value in scope if value is not None))
