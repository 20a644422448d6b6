"""The canonical columns of one scan as SQL (see `records`), and any value as text, unit or reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb

from exd_dagster.telemetry.instants import AMBIGUOUS, AWARE, INTEGERS
from exd_dagster.telemetry.paths import Step, field_sql
from exd_dagster.telemetry.records import EARLIEST, Scan, from_ms, ident
from exd_dagster.telemetry.unit_hash import NATIVE, seeded_sql


@dataclass(frozen=True, slots=True)
class Columns:
    """The canonical columns of one scan as SQL expressions.

    Attributes:
        scan: what they are read from.
        expressions: canonical name to SQL.
        extras: SQL of further columns, by exd's or the log's own name.
        values: SQL and DuckDB type of every column found, as the log has it, by exd's name or its own.
        absent: optional columns the log does not have.
        raw_time: SQL of the timestamp as it is, for skipping what is out of range.
        time_type: its DuckDB type.
        time_zone: zone of timestamps without an offset.
        unit_type: DuckDB type of the unit column.
        hash_function: SQL function that makes text units whole numbers; see `unit_hash`.
    """

    scan: Scan
    expressions: Mapping[str, str]
    extras: Mapping[str, str]
    values: Mapping[str, tuple[str, str]]
    absent: tuple[str, ...]
    raw_time: str
    time_type: str
    time_zone: str
    unit_type: str
    hash_function: str = NATIVE

    def between(self, start: int, end: int | None) -> str:
        """Return a condition for records in `[start, end)` (ms), in a form that skips row groups."""
        bounds = [(">=", start)] + ([("<", end)] if end is not None else [])
        if self._aware or (self.time_type.startswith("TIMESTAMP") and self.time_zone == "UTC"):
            return " AND ".join(f"{self.raw_time} {sign} {self._stamp(at)}" for sign, at in bounds)
        return " AND ".join(f"{self.expressions['us']} {sign} {at * 1000}" for sign, at in bounds)

    @property
    def implausible(self) -> str:
        """A condition for records without a usable time; cheap if the file has statistics."""
        if self.time_type.startswith("TIMESTAMP"):
            return f"{self.raw_time} IS NULL OR {self.raw_time} < {self._stamp(EARLIEST)}"
        return f"{self.expressions['us']} IS NULL OR {self.expressions['us']} < {EARLIEST * 1000}"

    @property
    def ambiguous(self) -> str:
        """A condition for records whose time can be read in two ways."""
        if self.time_type != "VARCHAR":
            return "false"
        return f"regexp_matches({self.raw_time}, '{AMBIGUOUS}')"

    def select(self) -> str:
        """Return a SELECT of the records under exd's names, their values as the log has them."""
        named = ", ".join(f"{sql} AS {ident(name)}" for name, (sql, _) in self.values.items())
        return f"SELECT {named} FROM {self.scan.relation}"

    def computed(self, connection: duckdb.DuckDBPyConnection) -> "Columns":
        """Return the same columns, computed once, in place of the temporary table that holds the rows.

        What `values` has is no longer there.
        """
        table = f"{self.scan.table}_columns"
        extras = {name: f"extra_{number}" for number, name in enumerate(self.extras)}
        sql = {
            **self.expressions,
            **{extras[name]: value for name, value in self.extras.items()},
            "raw_time": self.raw_time,
        }
        chosen = ", ".join(f"{value} AS {ident(name)}" for name, value in sql.items())
        connection.execute(
            f"CREATE TEMP TABLE {table} AS "
            "SELECT * REPLACE (CASE WHEN us IS NULL THEN raw_time END AS raw_time) "
            f"FROM (SELECT {chosen} FROM {self.scan.relation})"
        )
        connection.execute(f"DROP TABLE {self.scan.table}; ALTER TABLE {table} RENAME TO {self.scan.table}")
        return replace(
            self,
            scan=replace(self.scan, relation=self.scan.table),
            expressions={name: ident(name) for name in self.expressions},
            extras=extras,
            values={},
            raw_time="raw_time",
            time_type=self.time_type if self.time_type == "VARCHAR" else "BIGINT",
        )

    @property
    def _aware(self) -> bool:
        return self.time_type in AWARE

    def _stamp(self, ms: int) -> str:
        text = from_ms(ms).strftime("%Y-%m-%d %H:%M:%S.%f")
        return f"'{text}+00'::{self.time_type}" if self._aware else f"TIMESTAMP '{text}'"


_NESTED = ("STRUCT", "MAP", "UNION")


def text_sql(column: str, kind: str) -> str:
    """Return SQL for a column as text; 5 and 5.0 and '5' are the same name."""
    if kind in ("DOUBLE", "FLOAT"):
        whole = f"TRY_CAST({column} AS BIGINT)"
        return (
            f"CASE WHEN isnan({column}) THEN NULL WHEN {whole} = {column} "
            f"THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    if kind.startswith("DECIMAL") and not kind.endswith(",0)"):
        whole = f"TRY_CAST({column} AS HUGEINT)"
        return (
            f"CASE WHEN {whole} = {column} THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        )
    return column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"


def is_nested(kind: str) -> bool:
    """Return True for a DuckDB type with more than one value."""
    return kind.startswith(_NESTED) or kind.endswith("[]")


def unit_sql(column: str, kind: str, function: str = NATIVE) -> tuple[str, str]:
    """Return SQL for the unit (text by this hash function), and for whether there is one; see above."""
    if kind in INTEGERS:
        return column, f"{column} IS NOT NULL"
    text = text_sql(column, kind)
    return f"{function}({text})", f"coalesce({text}, '') <> ''"


def stored_unit_sql(columns: Columns, seed: int) -> str:
    """Return SQL for the stored form of the column `unit`: the same for 5 and '5', other in every store."""
    function = columns.hash_function
    hashed = f"{function}(CAST(unit AS VARCHAR))" if columns.unit_type in INTEGERS else "unit"
    return seeded_sql(function, hashed, seed)


TEXTS = {
    "flag": "flag_key",
    "variant": "variant_key",
    "namespace": "namespace",
    "environment": "environment",
    "version": "manifest_version",
    "reason": "evaluation_reason",
}


def reason_sql(column: str, kind: str) -> str:
    """Return SQL for an evaluation reason as text; of an object, as LaunchDarkly writes it, its `kind`."""
    if (found := field_sql(column, kind, [Step(name="kind")])) is None:
        return text_sql(column, kind)
    if kind != "VARCHAR":
        return text_sql(*found)
    return f"CASE WHEN starts_with({column}, '{{') THEN coalesce({found[0]}, {column}) ELSE {column} END"
