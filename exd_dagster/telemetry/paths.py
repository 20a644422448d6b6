"""Fields inside a column, by JSON path.

| path | names |
|---|---|
| `context.userId` | a field of an object, struct or map |
| `attributes."feature_flag.key"`, `attributes['feature_flag.key']` | one whose name contains dots |
| `variants[0]` | an element of a list, from 0 |
| `event_params[key=flag].value.string_value` | of a list of records, the first whose `key` is `flag` |

A column may be an object, a struct, a map, or text that contains JSON. Missing fields are empty.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

_STEP = re.compile(
    r"""(?P<dot>\.)?(?:
        (?P<name>[^.\[\]"']+)|"(?P<quoted>[^"]+)"
        |\[(?P<index>-?\d+)\]|\[(?P<mark>["'])(?P<key>.+?)(?P=mark)\]
        |\[(?P<field>[^=\]"']+)=(?P<wanted>"[^"]*"|'[^']*'|[^\]]*)\]
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step into a value: the field `name`, the element `index`, or the record whose `name` is `wanted`."""

    name: str = ""
    index: int | None = None
    wanted: str | None = None


def parse_path(text: str) -> tuple[str, tuple[Step, ...]] | None:
    """Return the column and the steps of a path; None for a plain name or what is not a path.

    Args:
        text: for example `properties.$feature_flag`.
    """
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or bool(found["dot"]) != bool(steps and (found["name"] or found["quoted"])):
            return None
        steps.append(_step(found))
        at = found.end()
    if len(steps) < 2 or not steps[0].name or steps[0].wanted is not None:
        return None
    return steps[0].name, tuple(steps[1:])


def _step(found: re.Match[str]) -> Step:
    if found["index"]:
        return Step(index=int(found["index"]))
    if found["field"]:
        return Step(name=found["field"].strip(), wanted=found["wanted"].strip().strip("\"'"))
    return Step(name=found["name"] or found["quoted"] or found["key"])


def field_sql(column: str, kind: str, steps: Sequence[Step]) -> tuple[str, str] | None:
    """Return SQL of a field and its DuckDB type; None where the type of the column has no such field.

    Args:
        column: SQL of the column.
        kind: its DuckDB type.
        steps: from `parse_path`.
    """
    if not steps:
        return column, kind
    if kind in ("VARCHAR", "JSON"):
        return _json_sql(column, steps), "VARCHAR"
    step, rest = steps[0], steps[1:]
    if kind.endswith("]"):
        item = kind[: kind.rindex("[")]
        if step.index is not None:
            place = step.index + (step.index >= 0)  # DuckDB counts from 1
            return field_sql(f"({column})[{place}]", item, rest)
        if step.wanted is None or (inner := field_sql("x", item, [Step(name=step.name)])) is None:
            return None
        same = f"CAST({inner[0]} AS VARCHAR) = {_text(step.wanted)}"
        return field_sql(f"list_filter({column}, lambda x: {same})[1]", item, rest)
    if kind.startswith(("STRUCT", "MAP")) and step.name and step.wanted is None:
        parts = dict(duckdb.sqltype(kind).children)
        if kind.startswith("MAP"):
            return field_sql(f"({column})[{_text(step.name)}]", str(parts["value"]), rest)
        named = next((name for name in (step.name, *_joined(steps)) if name in parts), None)
        if named is None:
            return None
        rest = rest if named == step.name else ()
        return field_sql(f"struct_extract({column}, {_text(named)})", str(parts[named]), rest)
    return None


def _joined(steps: Sequence[Step]) -> Iterator[str]:
    """A struct may have fields whose names contain dots, as converters from maps write them."""
    if all(step.name and step.wanted is None for step in steps):
        yield ".".join(step.name for step in steps)


def fields_of(kind: str) -> list[str]:
    """Return the names of the fields of a DuckDB struct type; none of another."""
    return [str(name) for name, _ in duckdb.sqltype(kind).children] if kind.startswith("STRUCT") else []


def _json_sql(text: str, steps: Sequence[Step]) -> str:
    """Return SQL of a field of JSON text, NULL where the text is none."""
    value = f"CASE WHEN json_valid({text}) THEN {text} END"
    path = "$"
    for step in steps:
        if step.wanted is not None:
            items = f"json_extract({value}, {_text(path + '[*]')})"
            own = f"json_extract_string(x, {_text('$.' + json.dumps(step.name))})"
            value, path = f"list_filter({items}, lambda x: {own} = {_text(step.wanted)})[1]", "$"
        elif step.index is not None:
            path += f"[{step.index}]" if step.index >= 0 else f"[#{step.index}]"
        else:
            path += "." + json.dumps(step.name, ensure_ascii=False)
    return f"json_extract_string({value}, {_text(path)})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
