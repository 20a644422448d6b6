"""Fields inside a column, by JSON path.

| path | names |
|---|---|
| `context.userId` | a field of an object, struct or map |
| `attributes."feature_flag.key"`, `attributes['feature_flag.key']` | one whose name contains dots |
| `variants[0]` | an element of a list, from 0 |
| `event_params[key=flag].value.string_value` | of a list of records, the first whose `key` is `flag` |
| `context[kind=user].key` | of an object, only where its `kind` is `user` |
| `logRecords[].traceId` | of every element of a list: each becomes a row of its own |

A column may be an object, a struct, a map, or text that contains JSON. Missing fields are empty.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import duckdb

_STEP = re.compile(
    r"""(?P<dot>\.)?(?:
        (?P<name>[^.\[\]"']+)|"(?P<quoted>[^"]+)"
        |\[(?P<index>-?\d+)\]|(?P<each>\[\])|\[(?P<mark>["'])(?P<key>.+?)(?P=mark)\]
        |\[(?P<field>[^=\]"']+)=(?P<wanted>"[^"]*"|'[^']*'|[^\]]*)\]
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step into a value: field `name`, element `index`, `each` element, or what has `name` = `wanted`."""

    name: str = ""
    index: int | None = None
    wanted: str | None = None
    each: bool = False


@lru_cache(maxsize=4096)
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
    if len(steps) < 2 or not steps[0].name or steps[0].wanted is not None or steps[-1].each:
        return None
    return steps[0].name, tuple(steps[1:])


def base_of(text: str) -> str:
    """Return the column that a path begins with; a plain name is one."""
    path = parse_path(text)
    return path[0] if path else text


def lists_of(text: str) -> tuple[str, ...]:
    """Return the lists of which a path takes each element, the outermost first, each up to its `[]`."""
    ends = [found.end() for found in re.finditer(r"\[\]", text)] if parse_path(text) else []
    return tuple(text[:end] for end in ends)


def list_chains(paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Return, for each column whose elements paths take, the lists to open one inside the other."""
    chains: dict[str, tuple[str, ...]] = {}
    for lists in filter(None, map(lists_of, paths)):
        chains[lists[0]] = max(chains.get(lists[0], ()), lists, key=len)
    return list(chains.values())


def below(text: str, outer: str) -> tuple[Step, ...]:
    """Return the steps of a path below one of its lists."""
    rest = parse_path(f"x{text.removeprefix(outer)}")
    return rest[1] if rest else ()


def steps_to(inner: str, outer: str) -> tuple[Step, ...]:
    """Return the steps to a list from the one that it stands in, from its column for ""."""
    within = f"{inner}.x"
    path = parse_path(within)  # the column may be quoted, or spelled in another case
    steps = below(within, outer) if outer else path[1] if path else ()
    return steps[:-2]


def _step(found: re.Match[str]) -> Step:
    if found["each"]:
        return Step(each=True)
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
        return _element_sql(column, kind[: kind.rindex("[")], step, rest)
    if step.wanted is not None:
        same = _same_sql(column, kind, step)
        return field_sql(f"CASE WHEN {same} THEN {column} END", kind, rest) if same else None
    if kind.startswith(("STRUCT", "MAP")) and step.name:
        parts = dict(duckdb.sqltype(kind).children)
        if kind.startswith("MAP"):
            return field_sql(f"({column})[{_text(step.name)}]", str(parts["value"]), rest)
        named = next((name for name in (step.name, *_joined(steps)) if name in parts), None)
        if named is None:
            return None
        rest = rest if named == step.name else ()
        return field_sql(f"struct_extract({column}, {_text(named)})", str(parts[named]), rest)
    return None


def _element_sql(column: str, item: str, step: Step, rest: Sequence[Step]) -> tuple[str, str] | None:
    """Return SQL of what stands below one element of a list, and its type."""
    if step.index is not None:
        place = step.index + (step.index >= 0)  # DuckDB counts from 1
        return field_sql(f"({column})[{place}]", item, rest)
    inner = None if step.wanted is None else field_sql("x", item, [Step(name=step.name)])
    if inner is None:
        return None
    # DuckDB computes the names once for all the fields that are taken of them
    names = f"list_transform({column}, lambda x: CAST({inner[0]} AS VARCHAR))"
    return field_sql(f"({column})[list_position({names}, {_text(step.wanted or '')})]", item, rest)


def _same_sql(value: str, kind: str, step: Step) -> str | None:
    """Return a condition for a value whose field is as the step wants it."""
    inner = field_sql(value, kind, [Step(name=step.name)])
    return f"CAST({inner[0]} AS VARCHAR) = {_text(step.wanted or '')}" if inner else None


def list_sql(column: str, kind: str, steps: Sequence[Step]) -> tuple[str, str] | None:
    """Return SQL of the list that steps lead to and the type of its elements; None where there is none.

    Args:
        column: SQL of the column.
        kind: its DuckDB type.
        steps: from `parse_path`, up to the list.
    """
    if kind in ("VARCHAR", "JSON"):
        value, path = _json_parts(column, steps)
        return f"CAST(json_extract({value}, {_text(path + '[*]')}) AS JSON[])", "JSON"
    found = field_sql(column, kind, steps)
    if found is None:
        return None
    if found[1] in ("VARCHAR", "JSON"):
        return list_sql(*found, ())
    return (found[0], found[1][: found[1].rindex("[")]) if found[1].endswith("]") else None


def _joined(steps: Sequence[Step]) -> Iterator[str]:
    """A struct may have fields whose names contain dots, as converters from maps write them."""
    if all(step.name and step.wanted is None for step in steps):
        yield ".".join(step.name for step in steps)


def fields_of(kind: str) -> list[str]:
    """Return the names of the fields of a DuckDB struct type; none of another."""
    return [str(name) for name, _ in duckdb.sqltype(kind).children] if kind.startswith("STRUCT") else []


def _json_sql(text: str, steps: Sequence[Step]) -> str:
    """Return SQL of a field of JSON text, NULL where the text is none."""
    value, path = _json_parts(text, steps)
    return f"json_extract_string({value}, {_text(path)})"


def _json_parts(text: str, steps: Sequence[Step]) -> tuple[str, str]:
    """Return SQL of a JSON value and the path in it to which steps lead."""
    value = f"CASE WHEN json_valid({text}) THEN {text} END"
    path = "$"
    for step in steps:
        if step.wanted is not None:
            # an object counts as a list of itself
            items = f"json_extract({value}, {_text(path + '[*]')})"
            items = (
                f"CASE WHEN json_type({value}, {_text(path)}) = 'OBJECT' THEN [json_extract({value}, "
                f"{_text(path)})] ELSE {items} END"
            )
            own = f"json_extract_string(x, {_text('$.' + json.dumps(step.name))})"
            value, path = f"list_filter({items}, lambda x: {own} = {_text(step.wanted)})[1]", "$"
        elif step.index is not None:
            path += f"[{step.index}]" if step.index >= 0 else f"[#{step.index}]"
        else:
            path += "." + json.dumps(step.name, ensure_ascii=False)
    return value, path


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def values_at(row: Any, text: str) -> list[Any]:
    """Return what stands at a path in one row of Python objects: one value, or those of every element.

    Objects may be JSON text. What the row does not have is left out; NULL is a value.

    Args:
        row: by column.
        text: a path, or the name of a column.
    """
    own = _own_name(row, text)
    if own is not None:
        return [row[own]]
    path = parse_path(text)
    own = _own_name(row, path[0]) if path else None
    return _inside([row[own]], path[1]) if path and own is not None else []


def _own_name(row: Any, name: str) -> str | None:
    """Return the row's own name of a column, exact spelling first, or None."""
    if name in row:
        return name
    lowered = name.lower()
    return next((own for own in row if isinstance(own, str) and own.lower() == lowered), None)


def _inside(values: list[Any], steps: Sequence[Step]) -> list[Any]:
    for step in steps:
        values = [inner for value in values for inner in _step_into(opened(value), step)]
    return values


def opened(value: Any) -> Any:
    """Return a Python object for JSON text of one."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _step_into(value: Any, step: Step) -> list[Any]:
    if isinstance(value, (list, tuple)):
        if step.each:
            return list(value)
        if step.index is not None:
            return [value[step.index]] if -len(value) <= step.index < len(value) else []
        named = [item for item in value if isinstance(item, dict) and str(item.get(step.name)) == step.wanted]
        return named[:1] if step.wanted is not None else []
    if not isinstance(value, dict) or step.each:
        return []
    if step.wanted is not None:
        return [value] if str(value.get(step.name)) == step.wanted else []
    return [value[step.name]] if step.name in value else []
