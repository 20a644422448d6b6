"""Count in the engine of the records, and bring the first exposures that it keeps up to date.

Of the records read, the first exposures are merged with those known of the same units into a table of their
own, the step. From it come the change of the bins, the units that are new in the hours read, and the next
delta or base.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from exd_dagster.bins.counting.variant_ranks import place
from exd_dagster.bins.engine.exposures import (
    ROW,
    Ranges,
    are,
    by_iteration,
    counted,
    found_exposures,
    has_changed,
    is_in_range,
    is_lost,
    merged,
    no_exposure,
    overridden,
    reranked,
)
from exd_dagster.bins.engine.expressions import how_many, value_literal
from exd_dagster.bins.engine.state import EngineState, Pointer, moved
from exd_dagster.bins.engine.tally import SCOPE, EngineTally, scope_hash, with_fixed
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.rows import insert_rows

Expression: TypeAlias = Any
"""An Ibis value or table."""

SHARE = 8
"""The base is made anew when the delta has more than this part of its rows."""


@dataclass(frozen=True, slots=True)
class StatefulTally(EngineTally):
    """Counts some flags in an engine that keeps their first exposures; see `Tally`."""

    every_rank: dict[str, int] = field(default_factory=dict)
    steps: list[Expression] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    @property
    def state(self) -> EngineState:
        """What the engine keeps."""
        return self.log.kept

    def ranked(self, names: Sequence[str]) -> dict[str, int]:
        """Return the rank of each variant, as it is in the state where it has one."""
        known = self.state.pointer.ranks if self.state.pointer else {}
        self.every_rank.update(place(known, names))
        return {name: self.every_rank[name] for name in names}

    def first_exposures(self) -> None:
        """Bring the state up to date, and count what that changes: `exd_delta` and `exd_exposed`."""
        state = self.state
        state.refresh()
        scopes = self._scopes()
        known = [t for t in self.targets if t.number in state.scopes and scopes[t.number] is not None]
        pointer = state.pointer
        live = self._live(pointer) if pointer else None
        found = self._found()
        if known and live is not None:
            ranges = self._ranges(scopes)
            own = live.filter(are(live.scope, [scopes[target.number] for target in known]))
            step = merged(own, found, ranges, phases=bool(self.phase_key))
        else:
            step = found.mutate(was_first=no_exposure(), was_other=no_exposure())
        name = state.make("step", step, self.log.size)
        self.steps[:] = [state.table(name)]
        changed = self._take_changes(scopes, known=bool(known))
        self._move_pointer(name, live, scopes, changed)

    def lost_exposures(self) -> set[int]:
        """See `Tally`."""
        return self.lost

    def firsts(self, rows: Expression) -> tuple[Expression, Expression, list[str]]:
        """See `EngineTally`; units whose first exposure is in the hours read."""
        units = self._units("first", "other", self.steps[0])
        ranges = self._ranges(self._scopes())
        units = units.filter(is_in_range(units.scope, units["first"], ranges))
        rows = rows.mutate(scope=scope_hash(rows, *SCOPE, log=self.log), unit=rows.unit_key)
        return rows, units, ["scope", *self.phase_key[1:], "unit"]

    def _found(self) -> Expression:
        """Return the first exposures in the records read."""
        rows, (scope, fixed) = self.counted_rows(), self.scope()
        key = [*scope, *self.phase_key, "unit_key"]
        units = with_fixed(found_exposures(rows, key, self.slots, self.log.engine), fixed)
        if not self.phase_key:
            units = units.mutate(phase=value_literal(0), iteration=value_literal(0))
        return units.select(
            scope=scope_hash(units, *SCOPE, log=self.log),
            iteration=units.iteration.cast("int64"),
            phase=units.phase.cast("int64"),
            unit=units.unit_key,
            first=units["first"],
            other=units.other,
        )

    def _scopes(self) -> dict[int, int | None]:
        """Return the hash of the scope of each flag; None where it has no record yet."""
        numbers = [target.number for target in self.targets]
        query = "SELECT target, min(scope) FROM exd_overview WHERE list_contains(?, target) GROUP BY target"
        seen = dict(self.connection.execute(query, [numbers]).fetchall())
        return {number: seen.get(number, self.state.scopes.get(number)) for number in numbers}

    def _ranges(self, scopes: dict[int, int | None]) -> Ranges:
        ranges: dict[tuple[int, int], list[int]] = defaultdict(list)
        for target in self.targets:
            scope = scopes[target.number]
            if scope is not None:
                ranges[target.start, target.end].append(scope)
        return ranges

    def _live(self, pointer: Pointer) -> Expression:
        """Return all rows of the state, with the ranks of today."""
        rows = self.state.table(pointer.base).select(*ROW, "first", "other")
        if pointer.delta:
            rows = overridden(rows, self.state.table(pointer.delta))
        rows = rows.filter(rows["first"].notnull())
        return reranked(rows, moved(pointer.ranks, self.every_rank))

    def _units(self, first: str, other: str, step: Expression) -> Expression:
        """Return the units of a step as they are or were, once per iteration."""
        rows = step.filter(step[first].notnull())
        rows = rows.select(*ROW, first=rows[first], other=rows[other])
        return by_iteration(rows, ["scope", "iteration", "unit"], phases=bool(self.phase_key))

    def _take_changes(self, scopes: dict[int, int | None], *, known: bool) -> int:
        """Count units as they are and were: `exd_delta`, `exd_exposed`; return how many rows changed."""
        (step,) = self.steps
        sides = counted(self._units("first", "other", step), ["scope"]).mutate(side=value_literal(1))
        if known:
            was = counted(self._units("was_first", "was_other", step), ["scope"])
            sides = sides.union(was.mutate(side=value_literal(0)))
        self.connection.execute("CREATE OR REPLACE TEMP TABLE exd_scoped (target INTEGER, scope BIGINT)")
        insert_rows(self.connection, "exd_scoped", [*scopes.items()])
        counts = ", ".join(f"{name}::BIGINT AS {name}" for name in ("new_units", "multi", "carried"))
        self.take(
            sides,
            "sides",
            f"SELECT target, hour::BIGINT AS hour, {self.variant_sql}, side::INTEGER AS side, {counts} "
            "FROM exd_found JOIN exd_scoped USING (scope)",
        )
        sums = ", ".join(
            f"sum(CASE side WHEN 1 THEN {name} ELSE -{name} END)::BIGINT AS {name}"
            for name in ("new_units", "multi", "carried")
        )
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE exd_delta AS SELECT target, hour, variant, {sums} FROM exd_sides "
            "GROUP BY ALL HAVING new_units <> 0 OR multi <> 0 OR carried <> 0"
        )
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_exposed AS SELECT target, hour, variant, new_units "
            f"FROM exd_sides JOIN exd_targets USING (target) WHERE side = 1 "
            f"AND hour >= exd_start // {HOUR_MS} AND hour * {HOUR_MS} < exd_end"
        )
        if not known:
            return sum(n for (n,) in self.connection.execute("SELECT new_units FROM exd_exposed").fetchall())
        found = self.log.execute(
            step.group_by("scope").agg(changed=how_many(has_changed(step)), lost=how_many(is_lost(step))),
            few=True,
        )
        lost = {int(scope) for scope, n in zip(found["scope"], found["lost"], strict=True) if n}
        self.lost.update(number for number, scope in scopes.items() if scope in lost)
        return int(found["changed"].sum())

    def _move_pointer(
        self, name: str, live: Expression | None, scopes: dict[int, int | None], changed: int
    ) -> None:
        """Make the next delta or base, and write down that it is current."""
        state, (step,), pointer = self.state, self.steps, self.state.pointer
        rows = (pointer.delta_rows if pointer else 0) + changed
        rewritten = True
        if pointer is None or live is None:
            pointer = Pointer(name, None, changed, 0, self.every_rank)
        elif state.dead or rows * SHARE > pointer.base_rows or moved(pointer.ranks, self.every_rank):
            kept = [scope for scope in state.scopes.values() if scope is not None]
            whole = overridden(live.filter(are(live.scope, kept)), step)
            base = state.make("base", whole.filter(whole["first"].notnull()))
            size = int(self.log.execute(state.table(base).count().as_table()).iloc[0, 0])
            pointer = Pointer(base, None, size, 0, self.every_rank)
        else:
            rewritten = False
            pointer = replace(pointer, delta_rows=rows, ranks=self.every_rank)
            if changed:
                news = step.filter(has_changed(step)).select(*ROW, "first", "other")
                news = overridden(state.table(pointer.delta), news) if pointer.delta else news
                pointer = replace(pointer, delta=state.make("delta", news, rows))
        state.save(pointer, scopes, rewritten=rewritten)
