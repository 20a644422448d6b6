"""Records to counts: one look at what is there, then one grouping by unit, hour and variant for all flags.

The grouping leaves one *cell* per flag, unit, hour and variant, with the first microsecond, the number of
rows and the exclusive-or of their id hashes. Every measure is a sum or a minimum over cells:

- units of an hour: its cells; evaluations: their rows, once per evaluation_id;
- first exposure of a unit: the least (millisecond, rank of the variant) over its cells.

Two rows of a cell with the same id cancel in the exclusive-or, so only cells of three rows or more need a
second look for repeated ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from exd_dagster.bins.audience import (
    HOUR_MS,
    RANKS,
    SUB_BITS,
    Target,
    conditions,
    ignored,
    is_inside,
    left_out,
    part_of_hour,
    spans,
)
from exd_dagster.bins.schema import insert_rows
from exd_dagster.telemetry.records import Columns, literal, stored_unit_sql

_SHIFT = RANKS << SUB_BITS
"""A cell's number is its hour, the part of the hour (6 bits) and the variant's rank (20 bits)."""
_HOUR_US = HOUR_MS * 1000

_TABLES = {
    "targets": "target INTEGER, exd_key VARCHAR, exd_namespace VARCHAR, exd_environment VARCHAR, "
    "exd_start BIGINT, exd_end BIGINT",
    "labels": "target INTEGER, variant VARCHAR, rank BIGINT",
    "spans": "target INTEGER, phase INTEGER, iteration INTEGER, first BIGINT, last BIGINT",
    "noted": "target INTEGER, hour BIGINT, name VARCHAR, detail VARCHAR, count BIGINT",
}
_APART = "(left_out OR (NOT ignored AND (variant IS NULL OR unitless)))"
_COUNTED = "(NOT left_out AND NOT ignored AND variant IS NOT NULL AND NOT unitless)"
_ONCE_PER_ID = "count(DISTINCT id) + count(*) FILTER (id IS NULL)"
_EXPOSURES = f"us // 1000 * {RANKS} + cell % {RANKS}"


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the records of one scan for the flags of one reading, into temporary tables named exd_*.

    Attributes:
        connection: where the temporary tables are.
        columns: the canonical columns.
        targets: the flags to look at.
        lateness_ms: how long after its end an hour closes.
        seed: of the store's unit hashes.
        kept: further columns that rows keep, as kept_0, kept_1, ...
    """

    connection: duckdb.DuckDBPyConnection
    columns: Columns
    targets: Sequence[Target]
    lateness_ms: int = 0
    seed: int = 0
    kept: Sequence[str] = ()

    def look(self) -> None:
        """Count rows by everything but unit and time within the hour: `exd_overview`."""
        write_targets(self.connection, self.targets)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_overview AS {self._overview('count(*)')}")

    def scopes(self) -> list[tuple[int, str, str]]:
        """Return target, namespace and environment of the records seen."""
        return seen_scopes(self.connection)

    def variants(self) -> list[tuple[int, str]]:
        """Return target and name of every variant that counts."""
        return seen_variants(self.connection)

    def look_briefly(self) -> None:
        """Count rows by variant and reason alone: enough to know which records count."""
        write_targets(self.connection, self.targets)
        rows = self._rows(["variant", "reason"])
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_overview AS SELECT *, false AS unitless, "
            f"{left_out(self.targets)} AS left_out, {ignored(self.targets)} AS ignored FROM (SELECT target, "
            f"nullif(variant, '') AS variant, reason FROM ({rows}) GROUP BY target, variant, reason)"
        )

    def label(self, ranks: Sequence[tuple[int, str, int]]) -> None:
        """Write down which variants count, as target, variant and rank: `exd_labels`."""
        write_table(self.connection, "labels", ranks)

    def count(self) -> None:
        """Count every measure: `exd_counts`, `exd_noted` and `exd_grouped`, out of `exd_cells`."""
        write_table(self.connection, "spans", [span for target in self.targets for span in spans(target)])
        self._make_cells()
        repeated = self._has("id") and self._count_ids()
        self._sum_cells()
        self._note(repeated=repeated)
        self._group_exposures()

    def fresh(self) -> str:
        """Return a SELECT of target, phase, stored unit, first exposure and first to another variant."""
        unit = stored_unit_sql("unit", self.columns.unit_type, self.seed)
        if not self._any("exd_grouped WHERE mixed"):
            return f"SELECT target, phase, {unit} AS unit, first, NULL::BIGINT AS other FROM exd_grouped"
        least = (
            f"SELECT target, phase, unit, min(exposure) AS exposure FROM ({self._exposures}) "
            "SEMI JOIN (SELECT * FROM exd_grouped WHERE mixed) USING (target, phase, unit) "
            f"GROUP BY target, phase, unit, exposure % {RANKS}"
        )
        others = f"SELECT target, phase, unit, min(exposure, 2)[2] AS other FROM ({least}) GROUP BY ALL"
        return (
            f"SELECT target, phase, {unit} AS unit, first, other "
            f"FROM exd_grouped LEFT JOIN ({others}) USING (target, phase, unit)"
        )

    def clear(self) -> None:
        """Drop the temporary tables."""
        for name in (*_TABLES, "overview", "cells", "recount", "counts", "grouped"):
            self.connection.execute(f"DROP TABLE IF EXISTS exd_{name}")

    def _has(self, name: str) -> bool:
        return name in self.columns.expressions

    def _any(self, rows: str) -> bool:
        return bool(self.connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone())

    def _rows(self, names: Sequence[str], only: str = "true") -> str:
        """Return a SELECT of the records of these flags that their filters let through.

        One flag is compared with, several are joined.
        """
        sql = self.columns.expressions
        chosen = ", ".join(f"{sql[name]} AS {name}" for name in names)
        chosen += "".join(f", {self.columns.extras[name]} AS kept_{i}" for i, name in enumerate(self.kept))
        start, end = min(t.start for t in self.targets), max(t.end for t in self.targets)
        where = [self.columns.between(start, end), conditions(self.targets, self.columns.extras), only]
        scope = zip(("flag", "namespace", "environment"), self.targets[0].scope, strict=True)
        if len(self.targets) == 1:
            target, join = f"{self.targets[0].number}::INTEGER AS target", ""
            where += [f"{sql[name]} = {literal(value)}" for name, value in scope if value is not None]
        else:
            target, join = "target", f"JOIN exd_targets ON {sql['flag']} = exd_key"
            where += [f"{sql['us']} >= exd_start * 1000", f"{sql['us']} < exd_end * 1000"]
            where += [
                f"(exd_{name} IS NULL OR {sql[name]} = exd_{name})" for name in ("namespace", "environment")
            ]
        clauses = " AND ".join(clause for clause in where if clause != "true")
        return f"SELECT {target}, {chosen} FROM {self.columns.scan.relation} {join} WHERE {clauses}"

    def _overview(self, measure: str, only: str = "true") -> str:
        """Return a SELECT of the rows by everything a fact depends on, `n` of each kind."""
        names = ["us", "namespace", "environment", "variant", "reason", "version", "has_unit"]
        late = "false"
        if self._has("ingested"):
            names.append("ingested")
            late = f"ingested > (us // {_HOUR_US} + 1) * {_HOUR_US} + {self.lateness_ms * 1000}"
        rows = self._rows(names + ["id"] * ("id" in measure), only)
        raw = "target, hour, namespace, environment, variant, reason, version, late, has_unit"
        grouped = (
            f"SELECT {raw}, {measure} AS n "
            f"FROM (SELECT *, us // {_HOUR_US} AS hour, {late} AS late FROM ({rows})) GROUP BY {raw}"
        )
        marked = (
            "SELECT target, hour, nullif(variant, '') AS variant, coalesce(namespace, '') AS namespace, "
            "coalesce(environment, '') AS environment, coalesce(reason, '') AS reason, "
            "coalesce(version, '') AS version, "
            f"coalesce(late, false) AS late, NOT coalesce(has_unit, false) AS unitless, n FROM ({grouped})"
        )
        return (
            f"SELECT * EXCLUDE (n), {left_out(self.targets)} AS left_out, "
            f"{ignored(self.targets)} AS ignored, sum(n)::BIGINT AS n FROM ({marked}) GROUP BY ALL"
        )

    def rows(self, names: Sequence[str], only: str = "true") -> str:
        """Return a SELECT of target, unit, cell, rank and these columns of every record that counts."""
        reasons = self._any("exd_overview WHERE left_out")
        rows = self._rows([*dict.fromkeys(["unit", "variant", "us", *names, *["reason"] * reasons])], only)
        where = f"NOT {left_out(self.targets)}" if reasons else "true"
        part = f"{part_of_hour(self.targets)} * {RANKS} + " if self._in_parts else ""
        return (
            f"SELECT target, unit, us // {_HOUR_US} * {_SHIFT} + {part}rank AS cell, rank, "
            f"{', '.join([*names, *(f'kept_{i}' for i in range(len(self.kept)))])} "
            f"FROM ({rows}) JOIN exd_labels USING (target, variant) WHERE {where}"
        )

    def _make_cells(self) -> None:
        ids = "bit_xor(id)" if self._has("id") else "NULL::UBIGINT"
        rows = self.rows(["us", "id"] if self._has("id") else ["us"], self.columns.expressions["has_unit"])
        target, key = self._target
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE exd_cells AS SELECT {target}, unit, cell, min(us) AS us, "
            f"count(*) AS n, {ids} AS ids FROM ({rows}) GROUP BY {key}unit, cell"
        )

    @property
    def _target(self) -> tuple[str, str]:
        """The target as a SELECT names it, and as a GROUP BY must repeat it."""
        if len(self.targets) == 1:
            return f"{self.targets[0].number}::INTEGER AS target", ""
        return "target", "target, "

    @property
    def _in_parts(self) -> bool:
        """True when a phase begins inside an hour."""
        return any(is_inside(i, start) for t in self.targets for i, (start, _) in enumerate(t.phases))

    def _count_ids(self) -> bool:
        """Count each evaluation of a cell once; return True when any id is repeated."""
        query = "SELECT count(*) FILTER (n = 2 AND ids = 0), count(*) FILTER (n > 2) FROM exd_cells"
        pairs, more = self.connection.execute(query).fetchall()[0]
        if pairs:
            self.connection.execute("UPDATE exd_cells SET n = 1 WHERE n = 2 AND ids = 0")
        if not more:
            return bool(pairs)
        suspects = f"{self.columns.expressions['unit']} IN (SELECT unit FROM exd_cells WHERE n > 2)"
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE exd_recount AS SELECT target, unit, cell, {_ONCE_PER_ID} AS n "
            f"FROM ({self.rows(['id'], suspects)}) "
            "SEMI JOIN (SELECT * FROM exd_cells WHERE n > 2) USING (target, unit, cell) GROUP BY ALL"
        )
        changed = self.connection.execute(
            "UPDATE exd_cells c SET n = r.n FROM exd_recount r WHERE c.target = r.target "
            "AND c.unit = r.unit AND c.cell = r.cell AND c.n <> r.n"
        ).fetchall()[0][0]
        return bool(pairs or changed)

    def _sum_cells(self) -> None:
        """Sum cells into units and evaluations: `exd_counts`."""
        # an hour in parts may hold a unit in two of them
        units = "count(DISTINCT unit)" if self._in_parts else "count(*)"
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_counts AS SELECT target, hour, variant, units, evaluations "
            f"FROM (SELECT target, cell // {_SHIFT} AS hour, cell % {RANKS} AS rank, {units} AS units, "
            "sum(n)::BIGINT AS evaluations FROM exd_cells GROUP BY ALL) JOIN exd_labels USING (target, rank)"
        )

    def _note(self, *, repeated: bool) -> None:
        """Write down what else was seen: `exd_noted`; each evaluation once, so far as ids tell."""
        write_table(self.connection, "noted", [])
        reasons = sorted({reason for target in self.targets for reason in target.flag.exclude_reasons})
        sql = self.columns.expressions
        odd = f"(coalesce({sql['variant']}, '') = '' OR NOT coalesce({sql['has_unit']}, false)"
        odd += f" OR {sql['reason']} IN ({', '.join(map(literal, reasons))}))" if reasons else ")"
        for which, only, once in ((_APART, odd, self._has("id")), (_COUNTED, "true", repeated)):
            if self._any(f"exd_overview WHERE {which}"):
                rows = f"({self._overview(_ONCE_PER_ID, only)})" if once else "exd_overview"
                self.connection.execute(f"INSERT INTO exd_noted {facts_sql(rows, which)}")

    @property
    def _exposures(self) -> str:
        """A SELECT of every cell's target, phase, unit and first exposure."""
        if self._one_phase:
            return f"SELECT target, 0::INTEGER AS phase, unit, {_EXPOSURES} AS exposure FROM exd_cells"
        return (
            f"SELECT target, phase, unit, {_EXPOSURES} AS exposure FROM exd_cells JOIN exd_spans s "
            f"USING (target) WHERE cell // {RANKS} >= s.first AND cell // {RANKS} < s.last"
        )

    @property
    def _one_phase(self) -> bool:
        return all(len(target.phases) == 1 for target in self.targets)

    def _group_exposures(self) -> None:
        """Reduce cells to units: `exd_grouped`, first exposure and whether there was another variant."""
        target, key = self._target
        phase = "0::INTEGER AS phase" if self._one_phase else "phase"
        key += "" if self._one_phase else "phase, "
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_grouped AS "
            f"SELECT {target}, {phase}, unit, min(exposure) AS first, min(exposure % {RANKS}) <> "
            f"max(exposure % {RANKS}) AS mixed FROM ({self._exposures}) GROUP BY {key}unit"
        )


def write_table(connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Make one of the small temporary tables of a reading, and fill it."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_{name} ({_TABLES[name]})")
    insert_rows(connection, f"exd_{name}", rows)


def write_targets(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> None:
    """Write down who is counted: `exd_targets`."""
    write_table(connection, "targets", [(t.number, *t.scope, t.start, t.end) for t in targets])


def seen_scopes(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
    """Return target, namespace and environment of the records in `exd_overview`."""
    query = "SELECT DISTINCT target, namespace, environment FROM exd_overview ORDER BY ALL"
    return connection.execute(query).fetchall()


def seen_variants(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str]]:
    """Return target and name of every variant that counts in `exd_overview`."""
    query = f"SELECT DISTINCT target, variant FROM exd_overview WHERE {_COUNTED} ORDER BY ALL"
    return connection.execute(query).fetchall()


def facts_sql(rows: str, which: str) -> str:
    """Return a SELECT of target, hour, name, detail and count of each fact in the rows of an overview."""
    facts = (
        ("excluded_reason", "reason", "left_out"),
        ("null_variants", "''", "NOT left_out AND variant IS NULL"),
        ("null_units", "variant", "NOT left_out AND variant IS NOT NULL AND unitless"),
        ("manifest_version", "version", f"{_COUNTED} AND version <> ''"),
        ("late_rows", "''", f"{_COUNTED} AND late"),
    )
    selects = (
        f"SELECT target, hour, {literal(name)} AS name, {detail} AS detail, n FROM chosen WHERE {where}"
        for name, detail, where in facts
    )
    return (
        f"WITH chosen AS (SELECT * FROM {rows} WHERE {which}) "
        f"SELECT target, hour, name, detail, sum(n)::BIGINT FROM ({' UNION ALL '.join(selects)}) "
        "GROUP BY target, hour, name, detail"
    )
