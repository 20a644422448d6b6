"""DataFrames and Arrow tables in a form that DuckDB reads as it reads files."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.paths import base_of

_REFUSED = {
    "period": "map a column of timestamps: frame[name].dt.to_timestamp() gives the start of each period",
    "interval": "map a column of single values",
    "timedelta": "a length of time is no instant; map a column of timestamps",
    "complex": "map a column of single values",
}


@dataclass(frozen=True, slots=True)
class FrameColumns:
    """What is read of a frame: its columns, their names in order, and the names of the others."""

    frame: Any
    names: tuple[str, ...]
    others: tuple[str, ...]


def as_columns(frame: Any, wanted: Sequence[str]) -> FrameColumns:
    """Return the wanted columns of a frame; mixed Python objects become text, objects JSON.

    Args:
        frame: a pandas or polars DataFrame, or an Arrow table.
        wanted: names of columns, or paths.

    Raises:
        RecordsError: for a frame without columns, a duplicate wanted column, or one whose type has
            no plain values.
    """
    if type(frame).__module__.startswith("polars"):
        frame = frame.to_arrow()
    if type(frame).__module__.startswith("pyarrow"):
        names = [str(name) for name in frame.column_names]
        places = _places(names, wanted)
        read = frame.select(places).rename_columns(_safe(names, places))
    else:
        own = [_name(name) for name in frame.columns]
        levels = _levels(frame.index, own)
        names = [*own, *levels]
        places = _places(names, wanted)
        columns = [
            frame.iloc[:, place] if place < len(own) else levels[names[place]].to_series(index=frame.index)
            for place in places
        ]
        plain = [_plain(values, names[place]) for values, place in zip(columns, places, strict=True)]
        read = type(frame)(dict(zip(_safe(names, places), plain, strict=True)))
    others = tuple(name for place, name in enumerate(names) if place not in places)
    return FrameColumns(read, tuple(names[place] for place in places), others)


def _levels(index: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return the levels of an index that have a name of their own; one of instants is else called "index"."""
    levels = {}
    for place, name in enumerate(index.names):
        values = index.get_level_values(place)
        if name is not None or values.dtype.kind == "M":
            levels["index" if name is None else _name(name)] = values
    return {name: values for name, values in levels.items() if name not in columns}


def _safe(names: Sequence[str], places: Sequence[int]) -> list[str]:
    """Return a name for SQL for each column read: DuckDB takes names that differ in case for one."""
    lowered = [names[place].lower() for place in places]
    return [
        f"{names[place]} ({count})" if (count := lowered[:at].count(lowered[at])) else names[place]
        for at, place in enumerate(places)
    ]


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return the places of the columns to read; of names that differ in case only those wanted as spelled."""
    if not names:
        raise RecordsError("the DataFrame has no columns; give one with a row for each evaluation")
    asked = {*wanted, *map(base_of, wanted)}
    lowered = {name.lower() for name in asked}
    if twice := sorted(name for name in asked if list(names).count(name) > 1):
        raise RecordsError(f"the DataFrame has column '{twice[0]}' more than once; rename one of them")
    exact = {name.lower() for name in names if name in asked}
    places = [
        place
        for place, name in enumerate(names)
        if name in asked or (name.lower() in lowered and name.lower() not in exact)
    ]
    return places or [0]


def _plain(values: Any, name: str) -> Any:
    """Return a column as DuckDB reads it; missing values remain missing."""
    kind = str(values.dtype).split("[")[0].rstrip("0123456789").lower()
    if kind in _REFUSED:
        raise RecordsError(f"DataFrame: column '{name}' has dtype {values.dtype}; {_REFUSED[kind]}")
    if kind == "sparse":
        values = values.sparse.to_dense()
    try:
        if kind == "category":  # whole numbers have no missing value
            kept = values.cat.categories.dtype
            values = values.astype(object if kept.kind in "iub" and values.isna().any() else kept)
        return values.map(_text, na_action="ignore") if values.dtype == object else values
    except Exception as error:  # objects of any library
        what = f"holds objects that cannot be written as text ({type(error).__name__})"
        raise RecordsError(f"DataFrame: column '{name}' {what}; map a column of plain values") from error


def _name(column: object) -> str:
    """Return the name of a column; of several levels, those that are not empty, joined by dots."""
    return ".".join(str(part) for part in column if part != "") if isinstance(column, tuple) else str(column)


def _text(value: object) -> str:
    """Write a Python object as every log would: booleans and objects as JSON does, instants as ISO 8601."""
    if isinstance(value, (dict, list, tuple)):
        with suppress(TypeError, ValueError, RecursionError):  # otherwise the text that Python writes
            return _utf8(json.dumps(value, default=str, ensure_ascii=False))
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (float, Decimal)):
        with suppress(ValueError, OverflowError):  # neither infinite nor no number
            return str(int(value) if value == int(value) else value)
    return value.isoformat() if isinstance(value, date) else _utf8(str(value))


def _utf8(text: str) -> str:
    """Return text whose halves of characters, which no engine holds, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()
