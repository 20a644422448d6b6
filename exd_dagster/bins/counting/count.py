"""Records to counts: one overview of every hour of every flag, then one grouping by unit for first exposures.

The overview has one *kind* per flag, hour and everything else a fact depends on, with its rows, units and
evaluation ids as lists; `distinct` turns those into counts. Hours are processed in windows, so that memory is
bounded. The grouping gives each unit's first exposure: the least (millisecond, rank of the
variant) over its rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import duckdb

from exd_dagster.bins.counting.audience import (
    RANKS,
    SUB_BITS,
    Target,
    conditions,
    ignored,
    left_out,
    part_of_hour,
    spans,
)
from exd_dagster.bins.counting.distinct import NO_ID, count_kinds
from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.bins.rows import has_rows, insert_rows
from exd_dagster.telemetry.canonical import Columns, stored_unit_sql
from exd_dagster.telemetry.records import literal

_HOUR_US = HOUR_MS * 1000

_TABLES = {
    "targets": "target INTEGER, exd_key VARCHAR, exd_namespace VARCHAR, exd_environment VARCHAR, "
    "exd_start BIGINT, exd_end BIGINT",
    "labels": "target INTEGER, variant VARCHAR, rank BIGINT",
    "spans": "target INTEGER, phase INTEGER, iteration INTEGER, first BIGINT, last BIGINT",
    "noted": "target INTEGER, hour BIGINT, name VARCHAR, detail VARCHAR, count BIGINT",
    "hourly": "target INTEGER, hour BIGINT, variant VARCHAR, units BIGINT, evaluations BIGINT",
    "fresh": "target INTEGER, phase INTEGER, unit UBIGINT, first BIGINT, other BIGINT",
    "wanted": "target INTEGER, dimension VARCHAR",
    "segmented": "flag INTEGER, hour BIGINT, dimension VARCHAR, value VARCHAR, variant VARCHAR, "
    "new_units BIGINT",
    "whole": "hour BIGINT, records BIGINT, hashes HUGEINT",
    "overview": "target INTEGER, hour BIGINT, variant VARCHAR, namespace VARCHAR, environment VARCHAR, "
    "reason VARCHAR, version VARCHAR, late BOOLEAN, unitless BOOLEAN, left_out BOOLEAN, ignored BOOLEAN, "
    "rows BIGINT, n BIGINT",
}
_KIND = "target, hour, variant, namespace, environment, reason, version, late, unitless"
COUNTED = "(NOT left_out AND NOT ignored AND variant IS NOT NULL AND NOT unitless)"
LOOK_ROWS = 16_000_000
"""Maximum rows of the hours processed together."""
GROUPED_ROWS = 64_000_000
"""Maximum rows grouped by unit at once; more are split by hash of the unit."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts the records of one scan for the flags of one update, into temporary tables named exd_*.

    Attributes:
        connection: where the temporary tables are.
        columns: the canonical columns.
        targets: the flags to count.
        lateness_ms: how long after its end an hour closes.
        seed: of the store's unit hashes.
        kept: further columns of the rows, as kept_0, kept_1, ...
        sizes: rows of each hour (since 1970), where they are known.
    """

    connection: duckdb.DuckDBPyConnection
    columns: Columns
    targets: Sequence[Target]
    lateness_ms: int = 0
    seed: int = 0
    kept: Sequence[str] = ()
    sizes: Mapping[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """Count rows by everything but unit, `exd_overview`, and units by hour, `exd_hourly`."""
        write_targets(self.connection, self.targets)
        write_table(self.connection, "overview", [])
        write_table(self.connection, "hourly", [])
        for window in self._windows():
            count_kinds(self.connection, self._kinds(window))
            self.connection.execute(
                f"INSERT INTO exd_overview SELECT * REPLACE (nullif(variant, '') AS variant) "
                f"FROM (SELECT {_KIND}, left_out, ignored, n, once FROM exd_kinds)"
            )
            self.connection.execute(
                "INSERT INTO exd_hourly SELECT target, hour, variant, units, evaluations FROM exd_kinds "
                "WHERE counted AND units > 0"
            )

    def look_briefly(self) -> None:
        """Count rows by variant and reason alone: enough to know which records count."""
        write_targets(self.connection, self.targets)
        rows = self._rows(["variant", "reason"])
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_overview AS SELECT *, false AS unitless, "
            f"{left_out(self.targets)} AS left_out, {ignored(self.targets)} AS ignored FROM (SELECT target, "
            "nullif(variant, '') AS variant, coalesce(reason, '') AS reason, count(*) AS n "
            f"FROM ({rows}) GROUP BY ALL)"
        )

    def label(self, ranks: Sequence[tuple[int, str, int]]) -> None:
        """Write down which variants count, as target, variant and rank: `exd_labels`."""
        write_table(self.connection, "labels", ranks)

    def count(self) -> None:
        """Count every measure but first exposures: `exd_counts` and `exd_noted`."""
        write_table(self.connection, "spans", [span for target in self.targets for span in spans(target)])
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE exd_counts AS FROM exd_hourly SEMI JOIN exd_labels "
            "USING (target, variant)"
        )
        write_noted(self.connection, self.targets)

    def fresh(self) -> None:
        """Find each unit's first exposure, and its first to another variant: `exd_fresh`."""
        unit = stored_unit_sql(self.columns, self.seed)
        phase, keys = ("0::INTEGER", "unit") if self._one_phase else ("phase", "phase, unit")
        target, keys = self._target or "target", keys if self._target else f"target, {keys}"
        write_table(self.connection, "fresh", [])
        for units in self.shares(sum(self.sizes.values())):
            self.connection.execute(
                f"INSERT INTO exd_fresh SELECT {target} AS target, {phase} AS phase, {unit} AS unit, "
                f"min(exposure) AS first, CASE WHEN {self.mixed} THEN 0 END AS other "
                f"FROM ({self._exposures(units)}) GROUP BY {keys}"
            )
        if has_rows(self.connection, "exd_fresh WHERE other IS NOT NULL"):
            self.connection.execute(
                "UPDATE exd_fresh f SET other = o.other FROM ("
                "SELECT target, phase, unit, min(exposure) AS other "
                f"FROM (SELECT * REPLACE ({unit} AS unit) FROM ({self._exposures()})) "
                "JOIN (FROM exd_fresh WHERE other IS NOT NULL) USING (target, phase, unit) "
                f"WHERE rank <> first % {RANKS} GROUP BY target, phase, unit) o "
                "WHERE f.target = o.target AND f.phase = o.phase AND f.unit = o.unit"
            )

    def clear(self) -> None:
        """Drop the temporary tables."""
        for name in (*_TABLES, "kinds", "counts"):
            self.connection.execute(f"DROP TABLE IF EXISTS exd_{name}")

    def _has(self, name: str) -> bool:
        return name in self.columns.expressions

    def _rows(self, names: Sequence[str], only: str = "true") -> str:
        """Return a SELECT of the records of these flags that their filters let through."""
        # One flag is compared with, several are joined.
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

    def _windows(self) -> Iterator[str]:
        """Yield conditions for windows of whole hours with about as many rows as fit in memory."""
        edges, rows = [], 0
        for hour, size in sorted(self.sizes.items()):
            rows += size
            if rows > LOOK_ROWS and size < rows:
                edges.append(hour * HOUR_MS)
                rows = size
        first, last = min(t.start for t in self.targets), max(t.end for t in self.targets)
        edges = [first, *(edge for edge in edges if first < edge < last), last]
        return (self.columns.between(*window) for window in pairwise(edges))

    def _kinds(self, window: str) -> str:
        """Return a SELECT of the rows by everything a fact depends on, with lists of their units and ids."""
        lists = "list(coalesce(unit, 0)) AS units"
        if self._has("id"):
            lists += f", list(coalesce(id, {NO_ID})) AS ids"
        rows = (
            "SELECT * REPLACE (coalesce(variant, '') AS variant, coalesce(namespace, '') AS namespace, "
            "coalesce(environment, '') AS environment, coalesce(reason, '') AS reason, "
            f"coalesce(version, '') AS version), us // {_HOUR_US} AS hour, "
            f"coalesce({self._late}, false) AS late, NOT coalesce(has_unit, false) AS unitless "
            f"FROM ({self._rows(self._overview_columns, window)})"
        )
        return (
            "SELECT *, NOT left_out AND NOT ignored AND variant <> '' AND NOT unitless AS counted "
            f"FROM (SELECT *, {left_out(self.targets)} AS left_out, {ignored(self.targets)} AS ignored "
            f"FROM (SELECT {_KIND}, count(*) AS n, {lists} FROM ({rows}) GROUP BY {_KIND}))"
        )

    def hashed(self, first: int) -> str:
        """Return a SELECT of target, hour and hash of every record from the hour `first` on."""
        names = self._overview_columns
        kept = [f"kept_{i}" for i in range(len(self.kept))]
        seen = ", ".join([self._late, *(name for name in names if name != "ingested"), *kept])
        rows = self._rows(names, self.columns.between(first * HOUR_MS, None))
        seeded = f"hash({seen}, {self.seed}::UBIGINT)"
        return f"SELECT target, us // {_HOUR_US} AS hour, {seeded} AS hash FROM ({rows})"

    @property
    def _overview_columns(self) -> list[str]:
        """The columns that decide what a record counts for."""
        names = ["us", "unit", "namespace", "environment", "variant", "reason", "version", "has_unit"]
        return names + [name for name in ("id", "ingested") if self._has(name)]

    @property
    def _late(self) -> str:
        if not self._has("ingested"):
            return "false"
        return f"ingested >= (us // {_HOUR_US} + 1) * {_HOUR_US} + {self.lateness_ms * 1000}"

    def shares(self, rows: int) -> list[str]:
        """Return conditions that share out the units of so many rows, for groupings that fit in memory."""
        many = -(-rows // GROUPED_ROWS)
        unit = f"hash({self.columns.expressions['unit']})"
        return [f"{unit} % {many} = {share}" for share in range(many)] if many > 1 else ["true"]

    def rows(self, names: Sequence[str], only: str = "true") -> str:
        """Return a SELECT of target, unit, rank and these columns of every record that counts."""
        reasons = has_rows(self.connection, "exd_overview WHERE left_out")
        rows = self._rows(
            [*dict.fromkeys(["unit", "variant", *names, *["reason"] * reasons])],
            f"{self.columns.expressions['has_unit']} AND {only}",
        )
        # reasons were classified in the overview: once per reason instead of once per row
        others = "(SELECT DISTINCT target, reason AS written FROM exd_overview WHERE left_out) o"
        apart = f"ANTI JOIN {others} ON r.target = o.target AND coalesce(r.reason, '') = o.written"
        chosen = ", ".join([*names, *(f"kept_{i}" for i in range(len(self.kept)))])
        return (
            f"SELECT target, unit, rank, {chosen} FROM (FROM ({rows}) r {apart if reasons else ''}) "
            "JOIN exd_labels USING (target, variant)"
        )

    @property
    def mixed(self) -> str:
        """An aggregate, true for a unit in several variants: a bit for each where they fit, for memory."""
        ((highest,),) = self.connection.execute("SELECT coalesce(max(rank), 0) FROM exd_labels").fetchall()
        for bits, kind in ((8, "UTINYINT"), (16, "USMALLINT"), (32, "UINTEGER"), (64, "UBIGINT")):
            if highest < bits:
                return f"bit_count(bit_or(1::{kind} << rank::{kind})) > 1"
        return "min(rank) <> max(rank)"

    def _exposures(self, only: str = "true") -> str:
        """Return a SELECT of target, phase, unit, rank and exposure of every record that counts."""
        exposure = f"us // 1000 * {RANKS} + rank AS exposure"
        if self._one_phase:
            return (
                f"SELECT target, 0::INTEGER AS phase, unit, rank, {exposure} FROM ({self.rows(['us'], only)})"
            )
        slot = f"(us // {_HOUR_US} << {SUB_BITS}) + {part_of_hour(self.targets)}"
        return (
            f"SELECT target, phase, unit, rank, {exposure} "
            f"FROM (SELECT *, {slot} AS slot FROM ({self.rows(['us'], only)})) "
            "JOIN exd_spans s USING (target) WHERE slot >= s.first AND slot < s.last"
        )

    @property
    def _target(self) -> str:
        """The target as a constant where there is only one, which need not be grouped by."""
        return f"{self.targets[0].number}::INTEGER" if len(self.targets) == 1 else ""

    @property
    def _one_phase(self) -> bool:
        return all(len(target.phases) == 1 for target in self.targets)


def write_table(connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Make one of the small temporary tables of a reading, and fill it."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE exd_{name} ({_TABLES[name]})")
    insert_rows(connection, f"exd_{name}", rows)


def write_targets(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> None:
    """Write down who is counted: `exd_targets`."""
    write_table(connection, "targets", [(t.number, *t.scope, t.start, t.end) for t in targets])


def write_fingerprints(connection: duckdb.DuckDBPyConnection, prints: str, by: str, first: int) -> None:
    """Write down the fingerprint of every hour to be read from `first` (since 1970) on: `exd_fingerprints`.

    Args:
        connection: has `exd_targets`.
        prints: SELECT of hour, records and hashes, and of target unless they are of the whole log.
        by: its columns that say whose they are, "target, hour" or "hour".
        first: earlier hours get no fingerprint.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_fingerprints AS SELECT target, hour, coalesce(records, 0) AS "
        f"records, coalesce(hashes, 0) AS hashes FROM (SELECT target, unnest(range(greatest({first}, "
        f"exd_start // {HOUR_MS}), (exd_end - 1) // {HOUR_MS} + 1)) AS hour FROM exd_targets) LEFT JOIN "
        f"({prints}) USING ({by})"
    )


def seen_scopes(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str]]:
    """Return target, namespace and environment of the records in `exd_overview`."""
    query = "SELECT DISTINCT target, namespace, environment FROM exd_overview ORDER BY ALL"
    return connection.execute(query).fetchall()


def seen_variants(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str]]:
    """Return target and name of every variant that counts in `exd_overview`."""
    query = f"SELECT DISTINCT target, variant FROM exd_overview WHERE {COUNTED} ORDER BY ALL"
    return connection.execute(query).fetchall()


def write_noted(connection: duckdb.DuckDBPyConnection, targets: Sequence[Target]) -> None:
    """Write down what else was seen of these flags, from `exd_overview` and `exd_counts`: `exd_noted`."""
    write_targets(connection, targets)
    write_table(connection, "noted", [])
    overview = "(FROM exd_overview SEMI JOIN exd_targets USING (target))"
    for facts in (_facts(overview), _repeats(overview)):
        connection.execute(f"INSERT INTO exd_noted {facts}")


def _facts(overview: str) -> str:
    """Return a SELECT of target, hour, name, detail and count of each fact in the rows of an overview."""
    facts = (
        ("excluded_reason", "reason", "left_out"),
        ("null_variants", "''", "NOT left_out AND variant IS NULL"),
        ("null_units", "variant", "NOT left_out AND variant IS NOT NULL AND unitless"),
        ("manifest_version", "version", f"{COUNTED} AND version <> ''"),
        ("late_rows", "''", f"{COUNTED} AND late"),
    )
    selects = (
        f"SELECT target, hour, {literal(name)} AS name, {detail} AS detail, n FROM chosen WHERE {where}"
        for name, detail, where in facts
    )
    return (
        f"WITH chosen AS (SELECT * FROM {overview} WHERE left_out OR NOT ignored) "
        f"SELECT target, hour, name, detail, sum(n)::BIGINT FROM ({' UNION ALL '.join(selects)}) "
        "GROUP BY target, hour, name, detail"
    )


def _repeats(overview: str) -> str:
    """Return a SELECT of the facts about evaluation ids, from rows, evaluations and ids of each bin."""
    bins = f"SELECT target, hour, variant, sum(rows) AS rows, sum(n) AS ids FROM {overview} WHERE {COUNTED}"
    facts = (("duplicate_rows", "rows - evaluations"), ("reused_ids", "evaluations - ids"))
    selects = (
        f"SELECT target, hour, {literal(name)}, variant, ({count})::BIGINT FROM met WHERE {count} > 0"
        for name, count in facts
    )
    return (
        f"WITH met AS (SELECT * FROM ({bins} GROUP BY ALL) JOIN exd_counts USING (target, hour, variant)) "
        + " UNION ALL ".join(selects)
    )
