"""What engines name differently: hashes of text, instants as milliseconds."""

from collections.abc import Sequence
from functools import cache, reduce
from operator import add
from typing import Any, TypeAlias

from exd_dagster.bins.hours import HOUR_MS
from exd_dagster.telemetry.records import from_ms

Expression: TypeAlias = Any
"""An Ibis value or table."""

EPOCH = from_ms(0)
_APART = "\x1f"


def epoch_ms(at: Expression, engine: str) -> Expression:
    """Return an instant as whole milliseconds since 1970 (UTC).

    Args:
        at: a timestamp column.
        engine: name of its Ibis backend.
    """
    if engine in _SPARK:
        return _function("unix_millis", "timestamp", returns="int64")(at)
    if engine == "bigquery":
        if at.type().timezone is None:  # a DATETIME, which its functions of a TIMESTAMP refuse
            at = _function("timestamp", "timestamp", "string", returns="timestamp('UTC')")(at, "UTC")
        return _function("unix_millis", "timestamp('UTC')", returns="int64")(at)
    if engine == "postgres":
        return (_postgres_seconds(at) * 1_000_000).cast("int64") // 1000
    # whole seconds first, since some engines round when they cast; // 1 makes some engines' floats integers
    return at.truncate("s").epoch_seconds() // 1 * 1000 + at.millisecond().cast("int64")


def hour_of(at: Expression, engine: str, *, before: int = 0) -> Expression:
    """Return the hour (since 1970, UTC) of the instant so many milliseconds before; see `epoch_ms`."""
    if engine == "postgres" and not before % 1000:
        return (_postgres_seconds(at) - before // 1000) // 3600
    return whole(epoch_ms(at, engine) - before, HOUR_MS)


def hour_key(at: Expression, engine: str, *, before: int = 0) -> Expression:
    """Return what to group instants by to group them by hour, where the hour itself is dear to compute.

    Its order is that of the hours; `key_hour` gives the hour of a key.

    Args:
        at: a timestamp column.
        engine: name of its Ibis backend.
        before: milliseconds to go back from the instant.
    """
    import ibis

    if engine != "postgres":
        return hour_of(at, engine, before=before)
    kind = "timestamp" if at.type().timezone is None else "timestamp('UTC')"
    # Ibis' own bucket() begins at midnight of the session's zone
    origin = ibis.literal(EPOCH.replace(tzinfo=None) if kind == "timestamp" else EPOCH)
    at = at - ibis.interval(milliseconds=before) if before else at
    return _function("date_bin", "string", kind, kind, returns=kind)("1 hour", at, origin)


def key_hour(key: Expression, engine: str) -> Expression:
    """Return the hour (since 1970, UTC) of a key; see `hour_key`."""
    return hour_of(key, engine) if engine == "postgres" else key


def in_few_groups(rows: Expression, table: Expression, engine: str) -> Expression:
    """Return rows that are grouped by hour alone, in a form of which PostgreSQL expects few groups.

    By its statistics of the time it expects as many groups as rows, and does not share the work. It has none
    of a union.

    Args:
        rows: what is grouped.
        table: any table of the engine; none of its rows is read.
        engine: name of its Ibis backend.
    """
    import ibis

    if engine != "postgres":
        return rows
    none = {name: ibis.null().cast(kind) for name, kind in rows.schema().items()}
    return rows.union(table.filter(ibis.literal(False)).select(**none))


def _postgres_seconds(at: Expression) -> Expression:
    """Return seconds as a float, good for microseconds; EXTRACT, which is exact, is much slower."""
    return _function("date_part", "string", "timestamp", returns="float64")("epoch", at)


def hashed(value: Expression, engine: str, seed: int | None = None) -> Expression:
    """Return a 64-bit hash of text, which groups faster; the text itself where no such function is known.

    Args:
        value: a text column; with a seed also one of whole numbers.
        engine: name of its Ibis backend.
        seed: makes the hash another one, at most 64 bits.
    """
    number = value.type().is_integer()
    value = value.cast("int64") if number else value
    salt = "" if seed is None else str(seed)
    if engine in _SPARK:
        kind = "int64" if number else "string"
        return _function("xxhash64", kind, "string", returns="int64")(value, salt)
    if engine == "postgres" and seed is not None:
        name, kind = ("hashint8extended", "int64") if number else ("hashtextextended", "string")
        return _function(name, kind, "int64", returns="int64")(value, seed - (seed >> 63 << 64))
    text = value.cast("string") + salt if salt else value
    if engine in ("trino", "athena"):
        octets = _function("to_utf8", "string", returns="binary")(text)
        half = _function("xxhash64", "binary", returns="binary")(octets)
        return _function("from_big_endian_64", "binary", returns="int64")(half)
    return text.hash() if engine in _HASHING else text


def hashed_together(values: Sequence[Expression], engine: str) -> Expression:
    """Return a 64-bit hash of several texts and whole numbers, none of them NULL.

    Where the engine's function takes a seed, each hash is that of the next value: joining texts costs more.

    Args:
        values: at least one.
        engine: name of its Ibis backend, one that `hashes`.
    """
    if engine not in (*_SPARK, "postgres"):
        return hashed(reduce(add, (value.cast("string") + _APART for value in values)), engine)
    found: Expression = 0
    for value in values:
        number = value.type().is_integer()
        name = "xxhash64" if engine in _SPARK else "hashint8extended" if number else "hashtextextended"
        kind = "int64" if number else "string"
        value = value.cast("int64") if number else value  # noqa: PLW2901
        found = _function(name, kind, "int64", returns="int64")(value, found)
    return found


def hashes(engine: str) -> bool:
    """Return whether a 64-bit hash of the engine is known."""
    return engine in (*_SPARK, *_HASHING, "trino", "athena")


def whole(number: Expression, by: int) -> Expression:
    """Return the whole quotient of a number that is not negative, exact for 63 bits in every engine."""
    return ((number - number % by) / by).cast("int64")


_SPARK = ("pyspark", "databricks")
_HASHING = ("duckdb", "postgres", "snowflake", "bigquery", "clickhouse")
"""Engines whose hash by Ibis has 64 bits."""


@cache
def _function(name: str, *takes: str, returns: str) -> Any:
    """Return a function of the engine by name; Ibis does not know it."""
    import ibis

    shapes = {1: lambda a: None, 2: lambda a, b: None, 3: lambda a, b, c: None}  # noqa: ARG005
    kinds = tuple(map(ibis.dtype, takes))
    return ibis.udf.scalar.builtin(shapes[len(takes)], name=name, signature=(kinds, ibis.dtype(returns)))
