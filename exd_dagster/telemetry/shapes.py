"""The DuckDB type that holds just the fields that paths name, so that an object is read once and whole."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from exd_dagster.telemetry.paths import Step, lists_of, parse_path
from exd_dagster.telemetry.records import ident, literal


@dataclass(slots=True)
class Shape:
    """What is read of one value: text, some fields of an object, or the same of every element of a list.

    A value of which paths disagree (whole and in parts, an object and a list) is read as the text of its
    JSON, in which the paths then look.

    Attributes:
        fields: what is read of each field.
        item: what is read of each element.
        whole: whether the value itself is asked for.
        either: whether it may be an object or a list.
    """

    fields: dict[str, "Shape"] = field(default_factory=dict)
    item: "Shape | None" = None
    whole: bool = False
    either: bool = False

    @property
    def is_text(self) -> bool:
        """True for a value that is read as text."""
        alike = len({name.lower() for name in self.fields}) < len(self.fields)
        doubtful = self.either or alike or (bool(self.fields) and self.item is not None)
        return self.whole or doubtful or not (self.fields or self.item)

    @property
    def type(self) -> str:
        """Its DuckDB type."""
        if self.is_text:
            return "VARCHAR"
        if self.item is not None:
            return f"{self.item.type}[]"
        return f"STRUCT({', '.join(f'{ident(name)} {inner.type}' for name, inner in self.fields.items())})"

    @property
    def structure(self) -> Any:
        """The same as `json_transform` takes it."""
        if self.is_text:
            return "VARCHAR"
        if self.item is not None:
            return [self.item.structure]
        return {name: inner.structure for name, inner in self.fields.items()}

    def transformed(self, text: str) -> str:
        """Return SQL for JSON text as a value of this shape, NULL where it is none."""
        if self.is_text:
            return text
        structure = json.dumps(self.structure, ensure_ascii=False).replace("'", "''")
        return f"json_transform(CASE WHEN json_valid({text}) THEN {text} END, '{structure}')"

    def empty(self, column: str) -> str:
        """Return a condition for a value none of whose fields was there, or that is no object at all."""
        parts = [f"struct_extract({column}, {literal(name)}) IS NULL" for name in self.fields]
        return " AND ".join(parts) if parts and self.item is None else f"{column} IS NULL"

    def add(self, steps: Iterable[Step]) -> None:
        """Read what these steps lead to."""
        at = self
        for step in steps:
            if step.name and step.wanted is None:
                at = at.fields.setdefault(step.name, Shape())
                continue
            at.item = at.item or Shape()
            if step.wanted is not None:
                at.item.fields.setdefault(step.name, Shape()).whole = True
            at = at.item
        at.whole = True


def shapes(names: Iterable[str]) -> dict[str, Shape]:
    """Return what to read of each column.

    Args:
        names: of columns, or paths. A path may be the name of a column, too, unless it goes through a list.
    """
    found: dict[str, Shape] = {}
    for name in names:
        if not lists_of(name):
            found.setdefault(name, Shape()).whole = True
        if path := parse_path(name):
            found.setdefault(path[0], Shape()).add(path[1])
    return found
