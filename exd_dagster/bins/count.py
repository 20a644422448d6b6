"""Records to counts: one look at what is there, then one grouping by unit, hour and variant for all flags.

The grouping leaves one *cell* per flag, unit, hour and variant, with the first millisecond, the number of
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
    left_out,
    part_of_hour,
    spans,
)
from exd_dagster.telemetry.records import Columns, stored_unit_sql

_SHIFT = RANKS << SUB_BITS
"""A cell's number is its hour, the part of the hour (6 bits) and the variant's rank (20 bits)."""

TABLES = {
    "targets": "target INTEGER, exd_key VARCHAR, exd_namespace VARCHAR, exd_environment VARCHAR, "
    "exd_start BIGINT, exd_end BIGINT",
    "labels": "target INTEGER, variant VARCHAR, rank BIGINT",
    "spans": "target INTEGER, phase INTEGER, iteration INTEGER, first BIGINT, last BIGINT",
    "noted": "target INTEGER, hour BIGINT, name VARCHAR, detail VARCHAR, count BIGINT",
}
_APART = "left_out OR (NOT ignored AND (variant IS NULL OR unitless))"
_WHOLE = "NOT left_out AND NOT ignored AND variant IS NOT NULL AND NOT unitless"


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the records of one scan for the flags of one reading, into temporary tables named exd_*.

    Attributes:
        connection: where the temporary tables are.
        columns: the canonical columns.
        lateness_ms: how long after its end an hour closes.
        seed: of the store's unit hashes.
    """

    connection: duckdb.DuckDBPyConnection
    columns: Columns
    lateness_ms: int
    seed: int

    def look(self, targets: Sequence[Target]) -> None:
        """Count rows by everything but unit and time within the hour: `exd_overview`."""
        rows = [(t.number, t.flag.key, t.flag.namespace, t.flag.environment, t.start, t.end) for t in targets]
        self._write("targets", rows)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE exd_overview AS SELECT target, hour, namespace, environment, "
            f"variant, reason, version, late, unitless, left_out, ignored, count(*) AS n "
            f"FROM ({self._marked(targets, ['namespace', 'environment'])}) GROUP BY ALL"
        )

    def scopes(self) -> list[tuple[int, str, str]]:
        """Return target, namespace and environment of the records seen."""
        query = "SELECT DISTINCT target, namespace, environment FROM exd_overview ORDER BY ALL"
        return self.connection.execute(query).fetchall()

    def variants(self) -> list[tuple[int, str]]:
        """Return target and name of every variant that counts."""
        query = f"SELECT DISTINCT target, variant FROM exd_overview WHERE {_WHOLE} ORDER BY ALL"
        return self.connection.execute(query).fetchall()

    def count(self, targets: Sequence[Target], ranks: Sequence[tuple[int, str, int]]) -> None:
        """Count every measure of these flags: `exd_cells`, `exd_counts`, `exd_noted` and `exd_grouped`.

        Args:
            targets: the flags to count, all of them known to `look`.
            ranks: target, variant and its rank.
        """
        self._write("labels", ranks)
        self._write("spans", [span for target in targets for span in spans(target)])
        self._make_cells(targets)
        repeated = self._has_ids and self._count_ids(targets)
        self._sum_cells(split=part_of_hour(targets) != "0")
        self._note(targets, repeated)
        self._group_exposures()

    def fresh(self) -> str:
        """Return a SELECT of target, phase, stored unit, first exposure and first to another variant."""
        unit = stored_unit_sql("unit", self.columns.unit_type, self.seed)
        row = self.connection.execute("SELECT count(*) FROM exd_grouped WHERE mixed").fetchone()
        if not row or not row[0]:
            return f"SELECT target, phase, {unit} AS unit, first, NULL::BIGINT AS other FROM exd_grouped"
        least = (
            f"SELECT target, phase, unit, min(exposure) AS exposure FROM ({_EXPOSURES}) "
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
        for name in (*TABLES, "overview", "cells", "recount", "counts", "grouped"):
            self.connection.execute(f"DROP TABLE IF EXISTS exd_{name}")

    @property
    def _has_ids(self) -> bool:
        return "id" in self.columns.expressions

    def _write(self, name: str, rows: Sequence[tuple[object, ...]]) -> None:
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_{name} ({TABLES[name]})")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            self.connection.executemany(f"INSERT INTO exd_{name} VALUES ({marks})", rows)

    def _rows(self, targets: Sequence[Target], names: Sequence[str]) -> str:
        """Return a SELECT of the records of these flags that their filters let through."""
        sql = self.columns.expressions
        chosen = ", ".join(f"{sql[name]} AS {name}" for name in names)
        start, end = min(t.start for t in targets), max(t.end for t in targets)
        numbers = ", ".join(str(t.number) for t in targets)
        return (
            f"SELECT target, {chosen} FROM {self.columns.scan.relation} JOIN exd_targets ON {sql['flag']} = exd_key "
            f"WHERE target IN ({numbers}) AND {self.columns.between(start, end)} "
            f"AND {sql['ms']} >= exd_start AND {sql['ms']} < exd_end "
            f"AND (exd_namespace IS NULL OR {sql['namespace']} = exd_namespace) "
            f"AND (exd_environment IS NULL OR {sql['environment']} = exd_environment) "
            f"AND {conditions(targets, self.columns.extras)}"
        )

    def _marked(self, targets: Sequence[Target], names: Sequence[str]) -> str:
        """Return a SELECT of those records with everything a fact depends on."""
        late = "false"
        names = [*names, "ms", "variant", "reason", "version", "unit"]
        if "ingested" in self.columns.expressions:
            names.append("ingested")
            late = f"coalesce(ingested > (ms // {HOUR_MS} + 1) * {HOUR_MS} + {self.lateness_ms}, false)"
        return (
            f"SELECT *, ms // {HOUR_MS} AS hour, {late} AS late, unit IS NULL AS unitless, "
            f"{left_out(targets)} AS left_out, {ignored(targets)} AS ignored FROM ({self._rows(targets, names)})"
        )

    def _counted(self, targets: Sequence[Target], names: Sequence[str]) -> str:
        """Return a SELECT of the records that enter cells."""
        rows = self._rows(targets, ["unit", "variant", "reason", "ms", *(["id"] if "id" in names else [])])
        return (
            f"SELECT target, unit, ms // {HOUR_MS} * {_SHIFT} + {part_of_hour(targets)} * {RANKS} + rank AS cell, "
            f"{', '.join(names)} FROM ({rows}) JOIN exd_labels USING (target, variant) "
            f"WHERE unit IS NOT NULL AND NOT {left_out(targets)}"
        )

    def _make_cells(self, targets: Sequence[Target]) -> None:
        ids = "bit_xor(id)" if self._has_ids else "NULL::UBIGINT"
        rows = self._counted(targets, ["ms", "id"] if self._has_ids else ["ms"])
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_cells AS SELECT target, unit, cell, min(ms) AS ms, "
            f"count(*) AS n, {ids} AS ids FROM ({rows}) GROUP BY target, unit, cell"
        )

    def _count_ids(self, targets: Sequence[Target]) -> bool:
        """Count each evaluation of a cell once; return True when any id is repeated."""
        query = "SELECT count(*) FILTER (n = 2 AND ids = 0), count(*) FILTER (n > 2) FROM exd_cells"
        pairs, more = self.connection.execute(query).fetchall()[0]
        if pairs:
            self.connection.execute("UPDATE exd_cells SET n = 1 WHERE n = 2 AND ids = 0")
        if not more:
            return bool(pairs)
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_recount AS SELECT target, unit, cell, "
            "count(DISTINCT id) + count(*) FILTER (id IS NULL) AS n "
            f"FROM ({self._counted(targets, ['id'])}) "
            "SEMI JOIN (SELECT * FROM exd_cells WHERE n > 2) USING (target, unit, cell) GROUP BY ALL"
        )
        changed = self.connection.execute(
            "UPDATE exd_cells c SET n = r.n FROM exd_recount r WHERE c.target = r.target "
            "AND c.unit = r.unit AND c.cell = r.cell AND c.n <> r.n"
        ).fetchall()[0][0]
        return bool(pairs or changed)

    def _sum_cells(self, *, split: bool) -> None:
        """Sum cells into units and evaluations: `exd_counts`. A split hour may hold a unit in two parts."""
        units = "count(DISTINCT unit)" if split else "count(*)"
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_counts AS SELECT target, hour, variant, units, evaluations "
            f"FROM (SELECT target, cell // {_SHIFT} AS hour, cell % {RANKS} AS rank, {units} AS units, "
            "sum(n)::BIGINT AS evaluations FROM exd_cells GROUP BY ALL) JOIN exd_labels USING (target, rank)"
        )

    def _note(self, targets: Sequence[Target], repeated: bool) -> None:
        """Write down what else was seen: `exd_noted`; each evaluation once, so far as ids tell."""
        self._write("noted", [])
        for which, once in ((_APART, self._has_ids), (_WHOLE, repeated)):
            found = f"SELECT * FROM exd_overview SEMI JOIN exd_spans USING (target) WHERE {which}"
            row = self.connection.execute(f"SELECT count(*) FROM ({found})").fetchone()
            if not row or not row[0]:
                continue
            measure = "sum(n)::BIGINT"
            if once:
                found = f"SELECT * FROM ({self._marked(targets, ['id'])}) WHERE {which}"
                measure = "count(DISTINCT id) + count(*) FILTER (id IS NULL)"
            self.connection.execute(f"INSERT INTO exd_noted {_facts(found, measure)}")

    def _group_exposures(self) -> None:
        """Reduce cells to units: `exd_grouped`, with the first exposure and whether there was another variant."""
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_grouped AS SELECT target, phase, unit, min(exposure) AS first, "
            f"min(exposure % {RANKS}) <> max(exposure % {RANKS}) AS mixed FROM ({_EXPOSURES}) GROUP BY ALL"
        )


_EXPOSURES = (
    f"SELECT target, phase, unit, ms * {RANKS} + cell % {RANKS} AS exposure FROM exd_cells "
    f"JOIN exd_spans USING (target) WHERE cell // {RANKS} >= exd_spans.first AND cell // {RANKS} < exd_spans.last"
)


def _facts(rows: str, measure: str) -> str:
    """Return a SELECT of target, hour, name, detail and count of each fact in the rows."""
    facts = (
        "CASE WHEN left_out THEN [{'name': 'excluded_reason', 'detail': reason}] "
        "WHEN variant IS NULL THEN [{'name': 'null_variants', 'detail': ''}] "
        "WHEN unitless THEN [{'name': 'null_units', 'detail': variant}] "
        "ELSE list_filter([{'name': 'manifest_version', 'detail': version}, "
        "CASE WHEN late THEN {'name': 'late_rows', 'detail': ''} END], "
        "lambda fact: fact IS NOT NULL AND (fact.name <> 'manifest_version' OR fact.detail <> '')) END"
    )
    return (
        f"SELECT target, hour, fact.name, fact.detail, {measure} FROM "
        f"(SELECT *, unnest({facts}) AS fact FROM ({rows})) GROUP BY target, hour, fact.name, fact.detail"
    )
