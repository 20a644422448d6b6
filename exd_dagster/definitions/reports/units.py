"""The units per arm of a report: what its query or function returns, as counts by arm."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, nullcontext
from datetime import datetime
from typing import Any, TypeAlias

import dagster as dg

from exd_dagster.errors import InputError
from exd_dagster.stats.reports.reconcile import NO_ARM

UnitsByArm: TypeAlias = str | Callable[..., Mapping[Any, Any]]
"""A query of two columns, arm and units, or a function that returns {arm: units}."""

_KNOWN = ("context", "since", "until")


def asks_for(units_by_arm: UnitsByArm, bound: str) -> bool:
    """Return whether a query mentions `{since}` or `{until}`, or a function takes it."""
    if isinstance(units_by_arm, str):
        return f"{{{bound}}}" in units_by_arm
    return bound in inspect.signature(units_by_arm).parameters


def resources_of(units_by_arm: UnitsByArm, connection: str | None) -> set[str]:
    """Return the keys of the resources that are needed: the connection, or a function's other parameters."""
    if isinstance(units_by_arm, str):
        return {connection} if connection else set()
    return set(inspect.signature(units_by_arm).parameters) - {*_KNOWN}


def units_of(
    units_by_arm: UnitsByArm,
    context: dg.AssetCheckExecutionContext,
    connection: Any,
    since: datetime,
    until: datetime,
) -> dict[str, int]:
    """Return the report's units by arm, as its query or function counts them.

    Args:
        units_by_arm: the query or function.
        context: of the check.
        connection: what a query is run on: a DuckDB or DB-API connection, an Ibis backend, or a resource that
            has one.
        since: start of the window (UTC).
        until: end of the window (UTC).

    Raises:
        InputError: when what was returned are no counts by arm.
    """
    if isinstance(units_by_arm, str):
        query = units_by_arm
        for name, instant in (("since", since), ("until", until)):
            query = query.replace(f"{{{name}}}", f"'{instant:%Y-%m-%d %H:%M:%S}+00:00'")
        return counts_by_arm(_rows(connection, query))
    given = {"context": context, "since": since, "until": until}
    asked = inspect.signature(units_by_arm).parameters
    values = {name: given[name] if name in given else getattr(context.resources, name) for name in asked}
    found = units_by_arm(**values)
    if not isinstance(found, Mapping):
        raise InputError(f"units_by_arm returned {type(found).__name__}; return a dict {{arm: units}}")
    return counts_by_arm(found.items())


def counts_by_arm(rows: Iterable[Any]) -> dict[str, int]:
    """Return rows of arm and units as counts; a missing arm is `NO_ARM`, truth values are "true" and "false".

    Raises:
        InputError: for another number of columns, an arm in two rows, and what is no whole number.
    """
    counts: dict[str, int] = {}
    for row in rows:
        if len(row) != 2:
            raise InputError(f"units_by_arm has {len(row)} columns; select two: the arm, and its units")
        arm, units = row
        name = NO_ARM if arm is None else str(arm).lower() if isinstance(arm, bool) else str(arm)
        try:
            count = int(units)
        except (TypeError, ValueError):
            count = -1
        if count < 0 or count != units:
            said = f"units of arm '{name}' are {units!r}; select the arm first, then a whole number of units"
            raise InputError(said)
        if name in counts:
            raise InputError(f"arm '{name}' is in two rows of units_by_arm; group by the arm alone")
        counts[name] = count
    return counts


def _rows(connection: Any, query: str) -> list[Any]:
    """Run a query on whatever stands for a database."""
    if hasattr(connection, "get_connection"):  # resources of DuckDB, Snowflake and others
        opened = connection.get_connection()
        with opened if hasattr(opened, "__enter__") else nullcontext(opened) as inner:
            return _rows(inner, query)
    if hasattr(connection, "raw_sql"):  # an Ibis backend; those of databases return a cursor
        cursor = connection.raw_sql(query)
        if hasattr(cursor, "fetchall"):
            return list(cursor.fetchall())  # of DuckDB it is the connection itself, so it stays open
        frame = connection.sql(query).to_pyarrow()
        return list(zip(*(column.to_pylist() for column in frame.columns), strict=True))
    if not hasattr(connection, "cursor"):
        raise InputError(
            f"connection: a {type(connection).__name__} runs no query; give a DuckDBResource, an Ibis "
            "backend or a DB-API connection, or a function as units_by_arm"
        )
    with closing(connection.cursor()) as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
