"""A table of a foreign engine as a source: named through Ibis, counted by `bins.engine`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from pydantic import Field

from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.records import REQUIRED, Scan
from exd_dagster.telemetry.source import Connection, Records


class IbisRecords(Records):
    """A table of a foreign engine (Spark, PostgreSQL, Snowflake, BigQuery, ...), through Ibis.

    The engine counts, from the flag's start in every run; only bins leave it. Its timestamps must be
    timestamps.
    """

    connection: Any = Field(description="An Ibis backend, for example ibis.postgres.connect(...).")
    table: str = Field(min_length=1, description="Name of the table.")
    database: str | None = Field(
        default=None, description="Schema or database of the table, as Ibis takes it."
    )

    @property
    def place(self) -> str:
        """Engine and table."""
        return f"{self.connection.name}:{self.database + '.' if self.database else ''}{self.table}"

    def open(
        self,
        connection: Connection,  # noqa: ARG002
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
        extras: Sequence[str] = (),  # noqa: ARG002
    ) -> AbstractContextManager[Scan]:
        """Refuse: its records stay where they are.

        Raises:
            RecordsError: always.
        """
        raise RecordsError(f"{self.place} is counted by its engine and cannot be opened by DuckDB")

    def expression(self) -> Any:
        """Return the table as an Ibis expression.

        Raises:
            RecordsError: when it cannot be reached, lacks a column, or its timestamp is none.
        """
        try:
            table = self.connection.table(self.table, database=self.database)
        except Exception as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error
        faults = [
            f"it has no column '{self.columns.get(name, name)}' for {name}.{self.hint(table, name)}"
            for name in REQUIRED
            if self.column(table, name) is None
        ]
        if not faults and not self.column(table, "timestamp").type().is_timestamp():
            kind = self.column(table, "timestamp").type()
            faults = [f"timestamp has type {kind}; give a view in which it is a timestamp in UTC"]
        if self.time_zone != "UTC":
            faults.append(f"time_zone is {self.time_zone}; give a view in which timestamp is in UTC")
        if faults:
            raise RecordsError("\n  - ".join([f"{self.place} cannot be read:", *faults]))
        return table

    def column(self, table: Any, name: str) -> Any:
        """Return a column by exd's name, None when the table does not have it."""
        import ibis

        if name in self.constants:
            return ibis.literal(str(self.constants[name]))
        wanted = self.columns.get(name, name)
        raw = next((c for c in table.columns if c == wanted), None)
        raw = raw or next((c for c in table.columns if c.lower() == wanted.lower()), None)
        base, _, key = wanted.partition(".")
        if raw is None and key and base in table.columns:
            kind = table[base].type()
            has = kind.is_map() or (kind.is_struct() and key in kind.names)
            return table[base][key] if has else None
        return None if raw is None else table[raw]

    def hint(self, table: Any, name: str) -> str:
        """Return " Did you mean ...?" for a column that is not there."""
        return did_you_mean(self.columns.get(name, name), table.columns)


def ibis_records(table: Any) -> IbisRecords:
    """Return the records object for an Ibis table.

    Raises:
        RecordsError: for an expression that is not a table by name.
    """
    operation = table.op()
    if not hasattr(operation, "source"):
        raise RecordsError("an Ibis expression has no name to count by; create a view of it and give that")
    namespace = getattr(operation, "namespace", None)
    return IbisRecords(
        connection=operation.source, table=table.get_name(), database=getattr(namespace, "database", None)
    )
