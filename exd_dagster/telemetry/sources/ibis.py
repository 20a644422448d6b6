"""A table of a foreign engine as a source: named through Ibis, counted by `bins.engine`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from pydantic import Field

from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.paths import Step, parse_path
from exd_dagster.telemetry.records import REQUIRED, Scan
from exd_dagster.telemetry.sources.base import Connection, Records


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
        """Refuse: its records are counted by their engine.

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
        """Return a column by exd's name, or a field of one by path; None when the table does not have it.

        Raises:
            RecordsError: when several columns differ in case only and none is spelled exactly so.
        """
        import ibis

        if name in self.constants:
            value = self.constants[name]
            return ibis.literal(str(value).lower() if isinstance(value, bool) else str(value))
        wanted = self.columns.get(name, name)
        raw = self._spelled(table, wanted)
        if raw is not None:
            return table[raw]
        path = parse_path(wanted)
        base = self._spelled(table, path[0]) if path else None
        return _field(table[base], path[1]) if path and base is not None else None

    def _spelled(self, table: Any, wanted: str) -> str | None:
        """Return the table's own name of a column, exact spelling first."""
        if wanted in table.columns:
            return wanted
        alike = [column for column in table.columns if column.lower() == wanted.lower()]
        if len(alike) > 1:
            raise RecordsError(
                f"{self.place} has the columns {', '.join(alike)}; name the one to read with columns={{...}}"
            )
        return alike[0] if alike else None

    def hint(self, table: Any, name: str) -> str:
        """Return " Did you mean ...?" for a missing column."""
        return did_you_mean(self.columns.get(name, name), table.columns)


def _field(value: Any, steps: Sequence[Step]) -> Any:
    """Return a field of an Ibis value, as text where the value is JSON; None where its type has none."""
    if not steps:
        return value
    kind, step, rest = value.type(), steps[0], steps[1:]
    if kind.is_string():
        return _json_field(value.cast("json"), steps)
    if kind.is_json():
        return _json_field(value, steps)
    if kind.is_array():
        if step.index is not None:
            return _field(value[step.index], rest)
        if step.wanted is None or _field(value[0], [Step(name=step.name)]) is None:
            return None
        same = value.filter(lambda x: _field(x, [Step(name=step.name)]).cast("string") == step.wanted)
        return _field(same[0], rest)
    if kind.is_struct() and step.name in kind.names and step.wanted is None:
        return _field(value[step.name], rest)
    if kind.is_struct() and ".".join(s.name for s in steps) in kind.names:
        return value[".".join(s.name for s in steps)]
    return _field(value[step.name], rest) if kind.is_map() and step.name else None


def _json_field(value: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if step.wanted is not None:
            return None
        value = value[step.name if step.index is None else step.index]
    return value.str


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
