"""A table of a foreign engine as a source: named through Ibis, counted by `bins.engine`."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import partial, reduce
from operator import or_
from typing import Any

from pydantic import Field, field_validator

from exd_dagster.config.reasons import NOT_ASSIGNED, reason_form
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.columns import ANY, either
from exd_dagster.telemetry.export import check_export
from exd_dagster.telemetry.paths import Step, base_of, below, list_chains, lists_of, parse_path, steps_to
from exd_dagster.telemetry.preset import Row, read_preset
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, Scan, as_text
from exd_dagster.telemetry.sources.base import Connection, Records
from exd_dagster.telemetry.sources.sample import MOST_ROWS


class IbisRecords(Records):
    """A table of a foreign engine (Spark, PostgreSQL, Snowflake, BigQuery, ...), through Ibis.

    The engine counts; only bins leave it. With `state_schema` it keeps first exposures in tables there and
    reads what is new, else it counts from the flag's start in every run. Its timestamps must be timestamps.
    """

    connection: Any = Field(description="An Ibis backend, for example ibis.postgres.connect(...).")
    table: str = Field(min_length=1, description="Name of the table.")
    database: str | None = Field(
        default=None, description="Schema or database of the table, as Ibis takes it."
    )
    state_schema: str | None = Field(
        default=None,
        min_length=1,
        description="Schema in which the engine keeps first exposures, so that a run reads only what is new; "
        "the role creates and drops tables there. None: every run counts from the flags' start.",
    )

    @field_validator("connection")
    @classmethod
    def _backend(cls, connection: object) -> object:
        if not (hasattr(connection, "table") and hasattr(connection, "name")):
            raise ValueError("is no Ibis backend; write for example ibis.postgres.connect(...)")
        return connection

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
        table = self._named()
        if self.preset is not None:
            check_export(self.place, self.column_map, {self.place: self._first_rows(table)})
        own = self.column_map
        table = self._expanded(table)
        faults = [
            f"it has no column '{either(own.paths(name))}', which identifies exposures"
            for name, values in own.where.items()
            if "" not in values.split("|") and not self._all(table, name)
        ]
        faults += [
            f"it has no column '{either(own.paths(name))}' for {name}."
            + did_you_mean(own.paths(name)[0], table.columns)
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
        kept = [_is_one_of(self._all(table, name), values) for name, values in own.where.items()]
        return table.filter(kept) if kept else table

    def column(self, table: Any, name: str) -> Any:
        """Return a column by exd's name, or a field of one by path; None when the table does not have it.

        Raises:
            RecordsError: when several columns differ in case only and none is spelled exactly so.
        """
        import ibis

        own = self.column_map
        if name in own.constants:
            return ibis.literal(as_text(own.constants[name]))
        found = _first_of(self._all(table, name))
        if found is not None and name in own.extract:
            found = found.cast("string").re_extract(own.extract[name], 1)
        if found is not None and name in ("timestamp", "ingested_at"):
            found = self._instant(found)
        if name == "evaluation_reason" and own.not_assigned:
            return self._reason(table, found)
        return found

    def _instant(self, value: Any) -> Any:
        """Return a number of the preset's unit, or text, as an instant."""
        if self.preset is None:
            return value
        unit = read_preset(self.preset).time_unit
        if value.type().is_string():
            if unit not in _FINE:  # text of an instant, whatever the unit of numbers is
                return value.cast("timestamp")
            value = value.cast("int64")
        if not (unit and value.type().is_integer()):
            return value
        # not every engine knows finer units than milliseconds, and none is needed
        return _since_1970(value // _FINE[unit], "ms") if unit in _FINE else _since_1970(value, unit)

    def _reason(self, table: Any, reason: Any) -> Any:
        """Return the evaluation reason; that of a row without an assignment says so."""
        import ibis

        text = ibis.literal("") if reason is None else _reason_text(reason)
        tests = []
        for name, values in self.column_map.not_assigned.items():
            value = reason if name == "evaluation_reason" else self.column(table, name)
            if value is None:
                continue
            if name == "evaluation_reason":
                folded = _reason_text(value).lower().re_replace("[ _-]", "")
                tests.append(folded.isin(sorted(map(reason_form, values))))
            else:
                tests.append(value.cast("string").coalesce("").isin(list(values)))
        return reduce(or_, tests).ifelse(NOT_ASSIGNED, text) if tests else text

    def _all(self, table: Any, name: str) -> list[Any]:
        return [value for path in self.column_map.paths(name) for value in self._values(table, path)]

    def _values(self, table: Any, path: str) -> list[Any]:
        """Return the column of that very name, and the field a path leads to."""
        raw = self._spelled(table, path)
        found = [] if raw is None else [table[raw]]
        if lists := lists_of(path):
            inner = _field(table[lists[-1]], below(path, lists[-1])) if lists[-1] in table.columns else None
            return found if inner is None else [*found, inner]
        parsed = parse_path(path)
        base = self._spelled(table, parsed[0]) if parsed else None
        inner = _field(table[base], parsed[1]) if parsed and base is not None else None
        return found if inner is None else [*found, inner]

    def _expanded(self, table: Any) -> Any:
        """Return the table with a row for each element of the lists that paths go through."""
        import ibis

        chains = list_chains(self.column_map.raw((*OPTIONAL, *self.column_map.where)))
        parts = [part for chain in chains if (part := self._unnested(table, chain)) is not None]
        types = {name: kind for part in parts for name, kind in part.schema().items()}
        whole = [
            part.mutate(
                **{name: ibis.null().cast(kind) for name, kind in types.items() if name not in part.columns}
            ).select(*types)
            for part in parts
        ]
        return reduce(lambda one, other: one.union(other), whole) if whole else table

    def _unnested(self, table: Any, chain: Sequence[str]) -> Any:
        """Return the table with a column for the element of each list, the outermost first; None without."""
        for outer, inner in zip(("", *chain), chain, strict=False):
            base = outer or self._spelled(table, base_of(inner.removesuffix("[]")))
            if base is None:
                return None
            elements = _list(table[base], steps_to(inner, outer))
            if elements is None:
                return None
            table = table.mutate(**{inner: elements.unnest()})
        return table

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

    def sample(
        self,
        connection: Connection,  # noqa: ARG002
        start: datetime,  # noqa: ARG002
        end: datetime,  # noqa: ARG002
    ) -> Mapping[str, Sequence[Row]]:
        """Return the first rows; see `Records.sample`."""
        return {self.place: self._first_rows(self._named())}

    def _named(self) -> Any:
        try:
            return self.connection.table(self.table, database=self.database)
        except Exception as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error

    def _first_rows(self, table: Any) -> list[Row]:
        try:
            rows: list[Row] = table.limit(MOST_ROWS).to_pyarrow().to_pylist()
        except Exception as error:
            raise RecordsError(f"{self.place} cannot be read: {error}") from error
        return rows


_FINE = {"us": 1000, "ns": 1_000_000}
"""Units finer than a millisecond, and how many of each are one."""


def _since_1970(number: Any, unit: Any) -> Any:
    """Return whole seconds or milliseconds since 1970 as an instant (UTC)."""
    import ibis
    import ibis.expr.operations as ops

    if number.get_backend().has_operation(ops.TimestampFromUNIX):
        return number.as_timestamp(unit)
    epoch = ibis.literal(datetime(1970, 1, 1, tzinfo=timezone.utc))
    return epoch + (number * (1000 if unit == "s" else 1)).as_interval("ms")


def _first_of(found: Sequence[Any]) -> Any:
    """Return the first value that a row has; None for none."""
    if len(found) < 2:
        return found[0] if found else None
    kinds = {str(value.type()) for value in found}
    if len(kinds) == 1 and kinds != {"string"}:
        return found[0].coalesce(*found[1:])
    texts = [value.cast("string").nullif("") for value in found]
    return texts[0].coalesce(*texts[1:])


def _is_one_of(found: Sequence[Any], values: str) -> Any:
    """Return a test for the rows that hold one of the values of a `where`."""
    import ibis

    value = _first_of(found)
    text = ibis.literal("") if value is None else value.cast("string").coalesce("")
    return text != "" if values == ANY else text.isin(values.split("|"))


def _reason_text(value: Any) -> Any:
    """Return a reason as text; of an object, as LaunchDarkly writes it, its `kind`."""
    if value.type().is_struct() and "kind" in value.type().names:
        value = value["kind"]
    return value.cast("string").coalesce("")


def _field(value: Any, steps: Sequence[Step]) -> Any:
    """Return a field of an Ibis value, as text where the value is JSON; None where its type has none."""
    if not steps:
        return value
    kind, step, rest = value.type(), steps[0], steps[1:]
    if kind.is_string():
        return _json_field(_as_json(value), steps)
    if kind.is_json():
        return _json_field(value, steps)
    if kind.is_array():
        return _element(value, step, rest)
    if step.wanted is not None and kind.is_struct() and step.name in kind.names:
        return _field((value[step.name].cast("string") == step.wanted).ifelse(value, None), rest)
    if kind.is_struct() and step.name in kind.names:
        return _field(value[step.name], rest)
    if kind.is_struct() and ".".join(s.name for s in steps) in kind.names:
        return value[".".join(s.name for s in steps)]
    return _field(value[step.name], rest) if kind.is_map() and step.name else None


def _list(value: Any, steps: Sequence[Step]) -> Any:
    """Return the list that steps lead to; None where there is none."""
    if value.type().is_string():
        value = _as_json(value)
    if value.type().is_json():
        for step in steps:
            value = value[step.name if step.index is None else step.index]
        return value.array
    found = _field(value, steps)
    if found is None or found.type().is_array():
        return found
    return _list(found, ()) if found.type().is_string() or found.type().is_json() else None


def _element(value: Any, step: Step, rest: Sequence[Step]) -> Any:
    """Return what stands below one element of a list; None where its elements have no such field."""
    if step.index is not None:
        return _field(value[step.index], rest)
    if step.wanted is None or _field(value[0], [Step(name=step.name)]) is None:
        return None
    same = value.filter(lambda x: _field(x, [Step(name=step.name)]).cast("string") == step.wanted)
    return _field(same[0], rest)


def _json_field(value: Any, steps: Sequence[Step]) -> Any:
    """Return a field of JSON as text; of a list with a condition, that of the first element that meets it."""
    for step in steps:
        if step.wanted is not None:
            meets = partial(_has, step=step)
            value = meets(value).ifelse(value, value.array.filter(meets)[0])
        else:
            value = value[step.name if step.index is None else step.index]
    return value.str


def _has(value: Any, step: Step) -> Any:
    return (value[step.name].str == step.wanted).fill_null(False)


def _as_json(text: Any) -> Any:
    """Return text as JSON; in PostgreSQL as its binary form, whose fields Ibis compiles to valid SQL."""
    import ibis.expr.datatypes as dt

    return text.cast(dt.JSON(binary=True) if text.get_backend().name == "postgres" else "json")


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
