"""Which field of an export that no preset knows may be which: by its name, where it stands, and its values.

Every field of some rows is looked at, also those inside objects, lists and JSON text. A name that logs often
give to a column of exd's is a candidate for it; values that cannot be it (instants, one value everywhere, as
many variants as units) count against. What is not certain is shown to a person by `init`, not decided here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exd_dagster.telemetry.field_names import (
    DISTINCTIVE,
    EVENT_NAMES,
    EXPOSURE,
    LATER,
    MAPS,
    NAMES,
    PARTS,
    PERHAPS_A_ROW,
)
from exd_dagster.telemetry.paths import lists_of, opened
from exd_dagster.telemetry.preset import Row
from exd_dagster.telemetry.records import as_text

_DEPTH = 8
_KEYS = 200
"""Fields of one object, and keys of one list, that are looked at."""
_VARIANTS = 20
_INSTANT = re.compile(
    r"^\s*\d{4}[-/]?\d\d[-/]?\d\d([T ]\d|$)|^\s*\w{3},? +\w+ +\w+ |^\d\d?[/-]\w{3}[/-]\d{4}"
    r"|^1[0-9]{9}([0-9]{3}){0,3}(\.\d+)?$"
)
_HELD = re.compile(r"^(.*?)(?:\.|\['|\[(?:key|name)=)([^.\[\]']+)'?\]?(?:\.value.*|\.\w*_value)?$")
_PLAIN = re.compile(r"^[^.\[\]\"'=]+$")


@dataclass(frozen=True, slots=True)
class Guess:
    """What may be which.

    Attributes:
        columns: exd's name to the log's own, or to a path, where the two differ.
        constants: exd's name to what every row repeats.
        where: which rows are exposures.
    """

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """The values of one field.

    Attributes:
        names: what the field may be called: its own name, and that with the names of what it stands in.
        values: by number of row.
    """

    names: tuple[str, ...]
    values: dict[int, str] = field(default_factory=dict)

    @property
    def distinct(self) -> int:
        """How many different values it has."""
        return len(set(self.values.values()))

    @property
    def is_instant(self) -> bool:
        """True where nearly every value can be an instant."""
        some = list(self.values.values())[:200]
        return bool(some) and sum(bool(_INSTANT.match(value)) for value in some) >= 0.9 * len(some)


Fields = Mapping[str, Seen]
"""By path."""


def guess(rows: Sequence[Row], known: Mapping[str, str] | None = None) -> Guess:
    """Return which fields may be time, flag, variant and unit; what cannot be recognised is left out.

    Args:
        rows: a sample.
        known: exd's name to the field that a person named.
    """
    fields = look(rows)
    found = {name: path for name, path in (known or {}).items() if path in fields}
    _take(found, "variant_key", _best_variant(fields, found))
    variant = fields.get(found.get("variant_key", ""))
    _take(found, "flag_key", _best("flag_key", fields, found, variant) or _beside(fields, found))
    constants = {}
    if "flag_key" not in found and (dynamic := _named_by_its_key(fields)) is not None:
        found["variant_key"], constants["flag_key"] = dynamic
    if not constants:
        _take(found, "flag_key", _by_part("flag_key", fields, found))
    inside = fields.get(found.get("flag_key", found.get("variant_key", "")))
    for name in ("timestamp", "unit_id_hash", *_OPTIONAL):
        _take(found, name, _best(name, fields, found, inside))
    _take(found, "unit_id_hash", _by_part("unit_id_hash", fields, found))
    _take(found, "timestamp", _any_instant(fields, found, inside))
    paths = {**_one_list(found), **(known or {})}
    columns = {name: path for name, path in paths.items() if name != path}
    return Guess(columns, constants, _exposures(fields, paths, len(rows)))


_OPTIONAL = ("evaluation_id", "namespace", "environment", "evaluation_reason", "ingested_at")


def _take(found: dict[str, str], name: str, path: str | None) -> None:
    if path is not None and name not in found:
        found[name] = path


def look(rows: Sequence[Row]) -> Fields:
    """Return every field of some rows, those of objects, lists of keys and values, and JSON text too."""
    fields: dict[str, Seen] = {}
    for number, row in enumerate(rows):
        for path, names, value in _leaves(row, "", ()):
            fields.setdefault(path, Seen(_called(names))).values.setdefault(number, value)
    return fields


def _leaves(value: Any, path: str, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    value = opened(value) if path else value
    if isinstance(value, Mapping) and len(names) < _DEPTH:
        for name, inner in list(value.items())[:_KEYS]:
            yield from _leaves(inner, _below(path, str(name)), (*names, str(name)))
    elif isinstance(value, (list, tuple)):
        yield from _elements(value, path, names)
    elif value is not None and value == value and str(value) != "":  # noqa: PLR0124 - NaN
        yield path, names, as_text(value)


def _elements(
    values: Sequence[Any], path: str, names: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """A list of records with a key each is read by key; of another list each element is a row."""
    for item in values[:_KEYS]:
        if not isinstance(item, Mapping):
            return
        key = next((name for name in ("key", "name", "type") if isinstance(item.get(name), str)), None)
        if key is not None and any(name.lower().endswith("value") for name in item):
            rest = {name: inner for name, inner in item.items() if name != key}
            if re.search(r"[\]\[\"']", item[key]) is None:
                yield from _leaves(rest, f"{path}[{key}={item[key]}]", (*names, item[key]))
        else:
            yield from _leaves(item, f"{path}[]", names)


def _below(path: str, name: str) -> str:
    if not path:
        return name
    return f"{path}.{name}" if _PLAIN.match(name) else f"{path}['{name}']"


def _called(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a field may be called: `user.id` is user_id, `flag.key` is flag_key."""
    words = [word for name in names if (word := snake(name)) and word not in _WRAPPERS]
    return tuple(dict.fromkeys(["_".join(words[-2:]), *words[-1:]])) if words else ()


_WRAPPERS = {"value", "string_value", "int_value", "stringvalue", "double_value", "bool_value"}


def snake(name: str) -> str:
    """Return a name in lower case, its words separated by one underscore."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _rank(name: str, seen: Seen) -> float:
    """Return how likely the name of a field is that of a column: 1 for the likeliest, 0 for none."""
    order = NAMES[name]
    places = [
        order[called] - 0.5 * (place == 0) for place, called in enumerate(seen.names) if called in order
    ]
    return 1 - (min(places) + 1) / (len(order) + 2) if places else 0.0


def _candidates(name: str, fields: Fields, found: Mapping[str, str]) -> dict[str, float]:
    taken = set(found.values())
    ranked = {path: _rank(name, seen) for path, seen in fields.items() if path not in taken}
    return {path: rank for path, rank in ranked.items() if rank}


def _best(name: str, fields: Fields, found: Mapping[str, str], beside: Seen | None) -> str | None:
    """Return the likeliest field for a column, given one that must be there in the same rows."""
    scores = {}
    for path, rank in _candidates(name, fields, found).items():
        seen = fields[path]
        rows = beside.values if beside else seen.values
        there = sum(number in seen.values for number in rows) / max(len(rows), 1)
        if there >= _LEAST[name] and _can_be(name, seen):
            # a name that fits better goes before one that is there a little more often
            scores[path] = rank + 2 * (there >= 0.9) + there / 10
    return max(scores, key=lambda path: (scores[path], -len(path)), default=None)


def _by_part(name: str, fields: Fields, found: Mapping[str, str]) -> str | None:
    """Return the field whose name has a part that suggests a column, and whose values can be it."""
    fitting = {
        path: seen
        for path, seen in fields.items()
        if path not in found.values() and PARTS[name].search(seen.names[-1] if seen.names else "")
    }
    if name == "variant_key":
        fitting = {path: seen for path, seen in fitting.items() if 2 <= seen.distinct <= _VARIANTS}
    likely = [path for path, seen in fitting.items() if _can_be(name, seen)]
    return max(likely, key=lambda path: (len(fields[path].values), -len(path)), default=None)


_LEAST = defaultdict(lambda: 0.3, flag_key=0.5, variant_key=0.2, timestamp=0.5, unit_id_hash=0.2)


def _can_be(name: str, seen: Seen) -> bool:
    many = len(seen.values)
    if name in ("timestamp", "ingested_at"):
        return seen.is_instant
    if name in ("flag_key", "namespace", "environment", "evaluation_reason"):
        return not seen.is_instant and (many < 20 or seen.distinct <= max(5, many / 4))
    if name == "unit_id_hash":
        plain = not seen.is_instant or bool(DISTINCTIVE & {*seen.names})
        row = PERHAPS_A_ROW.issuperset(seen.names[-1:]) and _rank(name, seen) < 0.2 and seen.distinct == many
        return plain and (many < 20 or (seen.distinct > 5 and not row))
    return many < 20 or seen.distinct > 0.9 * many if name == "evaluation_id" else True


def _best_variant(fields: Fields, found: Mapping[str, str]) -> str | None:
    """Return the likeliest field for the variant: few values, more than one, and a flag in the same rows."""
    scores = {}
    flags = _candidates("flag_key", fields, {})
    for path, rank in _candidates("variant_key", fields, found).items():
        seen = fields[path]
        if seen.is_instant or seen.distinct > max(_VARIANTS, len(seen.values) / 20):
            continue
        near = [flag for flag in flags if set(fields[flag].values) & set(seen.values) and flag != path]
        family = any(_parent(flag) == _parent(path) for flag in near)
        scores[path] = rank + (seen.distinct > 1) + bool(near) + 0.1 * family
    best = max(scores, key=lambda path: (scores[path], -len(path)), default=None)
    if best is None or fields[best].distinct < 2:  # one value everywhere is no variant, where another can be
        return _by_part("variant_key", fields, found) or best
    return best


def _beside(fields: Fields, found: Mapping[str, str]) -> str | None:
    """Return the id, key or name beside the variant in its object, as in `props: {id, variation}`."""
    variant = found.get("variant_key", "")
    if not (home := _parent(variant)):
        return None
    near = {path: seen for path, seen in fields.items() if _parent(path) == home and path != variant}
    fit = [
        path for path, seen in near.items() if seen.names[-1:] in _IDENTITIES and _can_be("flag_key", seen)
    ]
    return min(fit, key=lambda path: _IDENTITIES.index(fields[path].names[-1:]), default=None)


_IDENTITIES = (("key",), ("name",), ("id",))


def _any_instant(fields: Fields, found: Mapping[str, str], beside: Seen | None) -> str | None:
    """Return the first field of instants that stands in the rows of the flag, whatever it is called."""
    rows = beside.values if beside else {}
    likely = [
        path
        for path, seen in fields.items()
        if seen.is_instant
        and path not in found.values()
        and sum(number in seen.values for number in rows) >= 0.9 * len(rows)
    ]
    return min(likely, key=lambda path: bool(LATER.search(snake(path))), default=None)


def _one_list(found: Mapping[str, str]) -> dict[str, str]:
    """Of lists beside that of the variant the first element is taken: only one list makes rows."""
    lists = lists_of(found.get("variant_key", ""))
    paths = {}
    for name, path in found.items():
        own = lists_of(path)
        paths[name] = path if own == lists[: len(own)] else path.replace("[]", "[0]")
    return paths


def _parent(path: str) -> str:
    return re.sub(r"\[[^\]]*\][^\[]*$|\.[^.]*$", "", path) if re.search(r"[.\[]", path) else ""


def _named_by_its_key(fields: Fields) -> tuple[str, str] | None:
    """Return path and name of a flag that is a key of an object, as in `feature_flags: {checkout: true}`."""
    found = []
    for path, seen in fields.items():
        holder = _HELD.match(path)
        if holder is None or not 2 <= seen.distinct <= _VARIANTS or seen.is_instant:
            continue
        inside = {snake(word) for word in re.split(r"[.\[\]'=]+", holder[1])}
        if inside & MAPS or holder[2].startswith("firebase_exp"):
            found.append((len(seen.values), path, holder[2]))
    return max(found)[1:] if found else None


def _exposures(fields: Fields, found: Mapping[str, str], rows: int) -> dict[str, str]:
    """Return which rows are exposures: those of the event that has flag and variant, if others have not."""
    flag = fields.get(found.get("flag_key", found.get("variant_key", "")))
    variant = fields.get(found.get("variant_key", ""))
    if flag is None or variant is None:
        return {}
    both = set(flag.values) & set(variant.values)
    for path, seen in fields.items():
        if EVENT_NAMES.isdisjoint(seen.names[-1:]) or path in found.values():
            continue
        kinds = Counter(seen.values.values())
        inside = Counter(seen.values[number] for number in both if number in seen.values)
        exposures = sorted(kind for kind in inside if EXPOSURE.search(snake(kind))) or sorted(inside)
        if inside and len(kinds) > len(exposures) and len(exposures) <= 3 and "|" not in "".join(exposures):
            return {path: "|".join(exposures)}
    return {} if len(flag.values) == rows else {found.get("flag_key", found["variant_key"]): "*"}
