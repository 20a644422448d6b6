"""Evaluations: records with the same evaluation id count once.

One aggregate by id, within scope, hour and variant. Nearly every id has one unit and one kind (reason,
manifest version, late or not), however often it is repeated, so that counting ids counts evaluations of each
kind. The few others are looked up by themselves: a fact counts the ids of its kind, a bin the pairs of unit
and id.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from exd_dagster.bins.counting.count import COUNTED
from exd_dagster.bins.engine.expressions import how_many, value_literal
from exd_dagster.bins.engine.tally import KIND, OF_TARGET, SCOPE, EngineTally, with_fixed
from exd_dagster.bins.rows import has_rows
from exd_dagster.telemetry.canonical import TEXTS
from exd_dagster.telemetry.records import literal

Expression: TypeAlias = Any
"""An Ibis value or table."""

MOST_KINDS = 100
"""Most values of a column of `KIND` that are looked up by number; with more, all ids are looked up."""
_CELL = (*SCOPE, "hour_key", "variant")
_OTHERS = "exd_once WHERE others > 0"


def count_ids(tally: EngineTally) -> None:
    """Add to `exd_overview` the evaluations of each kind, `n`, and what that adds to its bin, `pairs`."""
    connection = tally.connection
    once, odd = "NULL::BIGINT", "NULL::BIGINT"
    joins = ""
    if _has_ids(tally):
        values = _kinds(tally)
        if values is not None:
            _take_once(tally, values)
            once, joins = "c.once", _join("once", "c")
        if values is None or has_rows(connection, _OTHERS):
            _take_odd(tally)
            odd, joins = "d.n", f"{joins} {_join('odd', 'd')}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE exd_overview AS SELECT o.*, bare + coalesce({once}, 0) AS pairs, "
        f"bare + coalesce({once}, 0) + coalesce({odd}, 0) AS n FROM exd_overview o {joins}"
    )


def count_evaluations(tally: EngineTally) -> None:
    """Join units and evaluations of each bin: `exd_counts`."""
    connection = tally.connection
    pairs = f"SELECT target, hour, variant, sum(pairs) AS n FROM exd_overview WHERE {COUNTED} GROUP BY ALL"
    if _has_ids(tally) and (_kinds(tally) is None or has_rows(connection, _OTHERS)):
        scope, fixed = tally.scope()
        key = [*scope, "hour_key", "variant"]
        rows = _odd(tally, tally.rows(counted_only=True)).select(*key, "unit_key", "id_key").distinct()
        counts = tally.log.by_hour(rows.group_by(key).agg(n=rows.count().cast("int64")))
        tally.take(
            with_fixed(counts, fixed),
            "pairs",
            f"SELECT target, hour::BIGINT AS hour, variant, n::BIGINT AS n FROM exd_found {OF_TARGET}",
        )
        pairs = (
            f"SELECT target, hour, variant, sum(n) AS n FROM ({pairs} UNION ALL FROM exd_pairs) GROUP BY ALL"
        )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exd_counts AS SELECT target, hour, variant, units, n::BIGINT AS "
        f"evaluations FROM exd_active JOIN ({pairs}) USING (target, hour, variant)"
    )


def _has_ids(tally: EngineTally) -> bool:
    return not tally.log.missing(["evaluation_id"])


def _kinds(tally: EngineTally) -> dict[str, list[Any]] | None:
    """Return the values of each column of `KIND`; None for too many to number."""
    values = {name: _values(tally, name) for name in KIND}
    return None if None in values.values() else values  # type: ignore[return-value]


def _values(tally: EngineTally, column: str) -> list[Any] | None:
    """Return the values that a column has in the overview; None for more than `MOST_KINDS`."""
    query = f"SELECT DISTINCT {column} FROM exd_overview ORDER BY 1 LIMIT {MOST_KINDS + 1}"
    values = [value for (value,) in tally.connection.execute(query).fetchall()]
    return values if len(values) <= MOST_KINDS else None


def _place(rows: Expression, name: str, values: Sequence[Any]) -> Expression:
    """Return the place of each row's value among these."""
    import ibis

    return ibis.cases(*((_has(rows, name, value), i) for i, value in enumerate(values))).cast("int64")


def _has(rows: Expression, name: str, value: Any) -> Expression:
    """Return a test for a value, in the column as the log has it: a text costs more to make."""
    if name not in TEXTS or value == "":
        return rows[name] == value
    own = rows[f"own_{name}"]
    return own == (int(value) if own.type().is_integer() else value)


def _take_once(tally: EngineTally, values: Mapping[str, list[Any]]) -> None:
    """Count ids of one kind and unit by kind, and the others: `exd_once`."""
    scope, fixed = tally.scope()
    key = [*scope, "hour_key"]
    rows = tally.rows(counted_only=False)
    # the variant as a number: engines group by numbers faster
    variants = _values(tally, "coalesce(variant, '')")
    rows = rows.mutate(place=_place(rows, "variant", variants)) if variants else rows
    ids = _by_id(rows, values, [*key, "place" if variants else "variant"])
    key.append("place" if variants else "variant")
    counts = ids.group_by([*key, "kind"]).agg(
        once=how_many(_is_single(ids)), others=how_many(~_is_single(ids))
    )
    variant = f"[{', '.join(map(literal, variants))}][place::BIGINT + 1]" if variants else "variant"
    kinds, last = "", 1
    for name, found in reversed([*values.items()]):
        listed = ", ".join(map(literal, found))
        kinds += f"[{listed}][kind::BIGINT // {last} % {len(found)} + 1] AS {name}, "
        last *= len(found)
    tally.take(
        with_fixed(tally.log.by_hour(counts), fixed),
        "once",
        f"SELECT target, hour::BIGINT AS hour, namespace, environment, nullif({variant}, '') AS variant, "
        f"{kinds} once::BIGINT AS once, others::BIGINT AS others FROM exd_found {OF_TARGET}",
    )


def _take_odd(tally: EngineTally) -> None:
    """Count the other ids by kind: `exd_odd`."""
    kind = [*SCOPE, "variant", *KIND, "hour_key"]
    rows = _odd(tally, tally.rows(counted_only=False)).select(*kind, "id_key").distinct()
    tally.take(
        tally.log.by_hour(rows.group_by(kind).agg(n=rows.count().cast("int64"))),
        "odd",
        "SELECT target, hour::BIGINT AS hour, namespace, environment, nullif(variant, '') AS variant, "
        "reason, version, late::BOOLEAN AS late, unitless::BOOLEAN AS unitless, n::BIGINT AS n "
        f"FROM exd_found {OF_TARGET}",
    )


def _odd(tally: EngineTally, rows: Expression) -> Expression:
    """Return those of the rows whose id has several kinds or units; all of them where kinds are too many."""
    rows, values = rows.filter(rows.has_id), _kinds(tally)
    if values is None:
        return rows
    ids = _by_id(tally.rows(counted_only=False), values, _CELL)
    return rows.semi_join(ids.filter(~_is_single(ids)), [*_CELL, "id_key"])


def _by_id(rows: Expression, values: Mapping[str, list[Any]], key: Sequence[str]) -> Expression:
    """Return least and greatest unit, and number of the kind, of each id."""
    rows, number = rows.filter(rows.has_id), None
    for name, found in values.items():
        if len(found) > 1:
            place = _place(rows, name, found)
            number = place if number is None else number * len(found) + place
    one = rows.has_unit.ifelse(rows.unit_key, None)
    ends = {"unit": one.min(), "last_unit": one.max()}
    if number is not None:
        ends |= {"kind": number.min(), "last_kind": number.max()}
    ids = rows.group_by([*key, "id_key"]).agg(**ends)
    only = value_literal(0).cast("int64")
    return ids if number is not None else ids.mutate(kind=only, last_kind=only)


def _is_single(ids: Expression) -> Expression:
    """Whether all records of an id have one kind and one unit, or none has any."""
    return (ids.kind == ids.last_kind) & (ids.unit == ids.last_unit).coalesce(True)


def _join(table: str, alias: str) -> str:
    columns = ("target", "hour", "namespace", "environment", "variant", *KIND)
    same = " AND ".join(f"{alias}.{name} IS NOT DISTINCT FROM o.{name}" for name in columns)
    return f"LEFT JOIN exd_{table} {alias} ON {same}"
