"""The warehouse, and how tables are replaced there: in one transaction, or not at all."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, TypeAlias

from pydantic import Field

from exd_dagster.config import ConfigModel
from exd_dagster.definitions.publish.tables import TABLES, Row, Table
from exd_dagster.definitions.store import resolved
from exd_dagster.errors import ConfigError

INSERTED = 500
"""Rows of one INSERT."""

Replaced: TypeAlias = tuple[Table, Sequence[str], Sequence[Row]]
"""A table, conditions of the rows that are deleted, and the rows that take their place."""

_SESSIONS = ("duckdb", "snowflake")
"""Engines whose Ibis connection is one session, in which BEGIN and COMMIT are statements."""


class Warehouse(ConfigModel):
    """Where bins, trust and verdicts are published after each audit: `publish=` of an audit."""

    connection: Any = Field(
        description="An address for ibis.connect (in YAML from an environment variable), an Ibis connection, "
        "or a function that returns one. PostgreSQL, Snowflake or DuckDB."
    )
    schema_name: str = Field(
        min_length=1, description="Schema of the tables; it must exist, and the role must own it."
    )

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Give an Ibis connection, and close it unless it was given open.

        Raises:
            ConfigError: when the engine has no transactions that hold for several statements.
        """
        given, opened = self.connection, None
        if isinstance(given, str):
            import ibis

            opened = ibis.connect(resolved(given))
        elif callable(given):
            opened = given()
        backend = given if opened is None else opened
        if backend.name not in (*_SESSIONS, "postgres"):
            fault = f"connection: tables of {backend.name} cannot be replaced in one transaction through Ibis"
            raise ConfigError("publish", [f"{fault}; publish to PostgreSQL, Snowflake or DuckDB"])
        try:
            yield backend
        finally:
            if opened is not None:
                opened.disconnect()

    def make_tables(self, backend: Any) -> None:
        """Make the tables that are missing, with types and comments, and add columns an older one lacks."""
        there = self._columns(backend)
        for table in TABLES:
            types = {name: _kind(kind, backend) for name, (kind, _) in table.columns.items()}
            where = self.named(table, backend)
            if table.name not in there:
                listed = ", ".join(f"{_name(name, backend)} {kind}" for name, kind in types.items())
                statements = [f"CREATE TABLE {where} ({listed})"]
            else:
                missing = [name for name in types if name not in there[table.name]]
                statements = [
                    f"ALTER TABLE {where} ADD COLUMN {_name(n, backend)} {types[n]}" for n in missing
                ]
            if statements:
                statements += [f"COMMENT ON TABLE {where} IS {_value(table.text, 'varchar', backend)}"]
                statements += [
                    f"COMMENT ON COLUMN {where}.{_name(name, backend)} IS {_value(text, 'varchar', backend)}"
                    for name, (_, text) in table.columns.items()
                ]
            with transaction(backend) as execute:
                for statement in statements:
                    execute(statement)

    def _columns(self, backend: Any) -> dict[str, set[str]]:
        """Return the columns of each table of the schema."""
        schema = _value(self.schema_name.lower(), "varchar", backend)
        found: dict[str, set[str]] = {}
        query = "SELECT lower(table_name), lower(column_name) FROM information_schema.columns WHERE "
        query += f"lower(table_schema) = {schema}"
        with transaction(backend) as execute:
            for table, column in execute(query):
                found.setdefault(table, set()).add(column)
        return found

    def replace(self, backend: Any, parts: Sequence[Replaced]) -> None:
        """Delete and insert rows of several tables, all or nothing."""
        with transaction(backend) as execute:
            for table, conditions, rows in parts:
                where = self.named(table, backend)
                for condition in conditions:
                    execute(f"DELETE FROM {where} WHERE {condition}")  # noqa: S608 - quoted names and values
                columns = ", ".join(_name(name, backend) for name in table.columns)
                for start in range(0, len(rows), INSERTED):
                    values = ", ".join(_row(table, row, backend) for row in rows[start : start + INSERTED])
                    execute(f"INSERT INTO {where} ({columns}) VALUES {values}")  # noqa: S608

    def rows(self, backend: Any, table: Table) -> list[Row]:
        """Return every row of a table."""
        columns = ", ".join(_name(name, backend) for name in table.columns)
        with transaction(backend) as execute:
            found: list[Row] = execute(f"SELECT {columns} FROM {self.named(table, backend)}")  # noqa: S608
            return found

    def named(self, table: Table, backend: Any) -> str:
        """Return schema and name of a table as SQL."""
        return f"{_name(self.schema_name, backend)}.{_name(table.name, backend)}"


@contextmanager
def transaction(backend: Any) -> Iterator[Any]:
    """Give a function that executes statements, all in one transaction, and returns their rows."""
    if backend.name not in _SESSIONS:
        with backend.begin() as cursor:
            yield lambda statement: _fetched(cursor.execute(statement) or cursor)
        return

    def execute(statement: str) -> list[Row]:
        return _fetched(backend.raw_sql(statement))

    execute("BEGIN")
    try:
        yield execute
        execute("COMMIT")
    except BaseException:
        with suppress(Exception):  # the failure itself may have ended the transaction
            execute("ROLLBACK")
        raise


def _fetched(cursor: Any) -> list[Row]:
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def condition(backend: Any, **equal: Any) -> str:
    """Return a condition by equality of columns."""
    return " AND ".join(
        f"{_name(name, backend)} = {_value(v, 'varchar', backend)}" for name, v in equal.items()
    )


def between(backend: Any, column: str, kind: str, first: Any, end: Any) -> str:
    """Return the condition that a column is in `[first, end)`."""
    name = _name(column, backend)
    return f"{name} >= {_value(first, kind, backend)} AND {name} < {_value(end, kind, backend)}"


def _row(table: Table, row: Row, backend: Any) -> str:
    kinds = (kind for kind, _ in table.columns.values())
    return f"({', '.join(_value(value, kind, backend) for value, kind in zip(row, kinds, strict=True))})"


def _name(name: str, backend: Any) -> str:
    import sqlglot.expressions as sg

    return sg.to_identifier(name, quoted=backend.name != "snowflake").sql(dialect=backend.dialect)


def _kind(kind: str, backend: Any) -> str:
    import sqlglot.expressions as sg

    return sg.DataType.build(kind, dialect="duckdb").sql(dialect=backend.dialect)


def _value(value: Any, kind: str, backend: Any) -> str:
    import sqlglot.expressions as sg

    if kind == "timestamptz" and isinstance(value, int):  # milliseconds
        value = datetime.fromtimestamp(value / 1000, timezone.utc)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        made: Any = sg.null()
    elif isinstance(value, datetime):
        made = sg.cast(sg.Literal.string(value.isoformat(" ")), sg.DataType.build(kind, dialect="duckdb"))
    elif isinstance(value, str):
        made = sg.Literal.string(value.replace("\0", ""))
    else:
        made = sg.convert(value)
    return str(made.sql(dialect=backend.dialect))
