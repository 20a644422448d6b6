"""Which of a log's columns, or fields of them, stand for exd's, and which of its rows are records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exd_dagster.config import Scalar
from exd_dagster.config.reasons import NOT_ASSIGNED, is_reason
from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.canonical import TEXTS, Columns, is_nested, reason_sql, text_sql, unit_sql
from exd_dagster.telemetry.instants import time_sql
from exd_dagster.telemetry.paths import (
    base_of,
    below,
    field_sql,
    list_chains,
    list_sql,
    lists_of,
    parse_path,
    steps_to,
)
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, Scan, as_text, ident, literal
from exd_dagster.telemetry.unit_hash import NATIVE

ANY = "*"
"""In a condition on rows: any value."""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """How the rows of a log become records.

    Attributes:
        columns: exd's name to the log's own names or paths (see `paths`); of several a row's first.
        constants: exd's name to one value for every row, for columns that the log does not have.
        time_zone: of timestamps without an offset.
        time_format: strptime pattern of timestamps written as text.
        where: which rows are records: exd's name, an own name or a path to values, separated by "|"; ""
            stands for a missing value, "*" for any.
        not_assigned: exd's name to values that say that the unit was given no variant.
        extract: exd's name to a pattern; its first group is the value.
        preset: what names all this in a message, "" for nothing.
    """

    columns: Mapping[str, str | Sequence[str]]
    constants: Mapping[str, Scalar]
    time_zone: str = "UTC"
    time_format: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    not_assigned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extract: Mapping[str, str] = field(default_factory=dict)
    preset: str = ""

    def paths(self, name: str) -> tuple[str, ...]:
        """Return the log's own names, or paths, of one of exd's; the name itself where none is mapped."""
        own = self.columns.get(name, name)
        return (own,) if isinstance(own, str) else tuple(own)

    def raw(self, extras: Sequence[str] | None = None) -> list[str]:
        """Return the log's own names, or paths, of what is read; without `extras`, of what must be there."""
        names = REQUIRED if extras is None else (*REQUIRED, *OPTIONAL, *extras)
        asked = [self.paths(name) for name in names if name not in self.constants]
        if extras is None:
            return list(dict.fromkeys(own[0] for own in asked if len(own) == 1))
        asked += [self.paths(name) for name in (*self.not_assigned, *self.where)]
        return list(dict.fromkeys(path for own in asked for path in own))

    def resolve(self, scan: Scan, extras: Sequence[str] = (), hash_function: str = NATIVE) -> Columns:
        """Find every column in the scan.

        Args:
            scan: the open source.
            extras: further columns wanted (filters, dimensions); those not found are left out.
            hash_function: of units that are text; the store's own when its units are reused.

        Raises:
            RecordsError: naming every required column that is missing or of a wrong type, with the fix.
        """
        scan = _expanded(scan, self.raw(extras))
        faults = list(self._faults(scan))
        if faults:
            raise RecordsError("\n  - ".join([f"{scan.place} cannot be read{self._by}:", *faults]))
        if kept := self.kept(scan):
            scan = replace(scan, relation=f"(SELECT * FROM {scan.relation} WHERE {kept})")
        names = dict.fromkeys([*REQUIRED, *OPTIONAL, *extras])
        found = {name: value for name in names if (value := self.find(name, scan)) is not None}
        if self.not_assigned:
            found["evaluation_reason"] = self._reason(scan, found.get("evaluation_reason")), "VARCHAR"
        raw_time, kind = found["timestamp"]
        return Columns(
            scan,
            self._expressions(scan, found, hash_function),
            extras={name: found[name][0] for name in extras if name in found},
            values=found,
            absent=tuple(name for name in OPTIONAL if name not in found),
            raw_time=raw_time,
            time_type=kind,
            time_zone=self.time_zone,
            unit_type=found["unit_id_hash"][1],
            hash_function=hash_function,
        )

    def _expressions(
        self, scan: Scan, found: Mapping[str, tuple[str, str]], hash_function: str
    ) -> dict[str, str]:
        unit, has_unit = unit_sql(*found["unit_id_hash"], hash_function)
        expressions = {
            "us": self._time("timestamp", scan, found),
            "unit": unit,
            "has_unit": has_unit,
            **{name: text_sql(*found[source]) if source in found else "''" for name, source in TEXTS.items()},
        }
        if "evaluation_reason" in found:
            expressions["reason"] = reason_sql(*found["evaluation_reason"])
        if "evaluation_id" in found:
            text = text_sql(*found["evaluation_id"])
            expressions["id"] = f"CASE WHEN {text} <> '' THEN hash({text}) END"
        if "ingested_at" in found:
            expressions["ingested"] = self._time("ingested_at", scan, found)
        return expressions

    def find(self, name: str, scan: Scan) -> tuple[str, str] | None:
        """Return SQL and DuckDB type of a column by exd's name or the log's own, None without it."""
        if name in self.constants:
            return literal(as_text(self.constants[name])), "VARCHAR"
        found = _first_of(self._values(name, scan))
        if found is None or name not in self.extract:
            return found
        return f"regexp_extract({text_sql(*found)}, {literal(self.extract[name])}, 1)", "VARCHAR"

    def _time(self, name: str, scan: Scan, found: Mapping[str, tuple[str, str]]) -> str:
        try:
            return time_sql(*found[name], self.time_zone, self.time_format)
        except RecordsError as error:
            raise RecordsError(f"{scan.place}: column '{either(self.paths(name))}' {error}") from None

    def kept(self, scan: Scan, *, flat: bool = False) -> str:
        """Return the condition for the rows that are records, "" for all; without what it cannot test.

        Args:
            scan: where the columns are.
            flat: leave out what stands inside objects.
        """
        tests = []
        for name, values in self.where.items():
            if flat and any(parse_path(path) for path in self.paths(name)):
                continue
            lists = {lists_of(path)[-1:] for path in self.paths(name)} - {()}
            if not lists or any(outer in scan.types for (outer,) in lists):
                tests.append(_passes(_first_of(self._values(name, scan)), values))
        return " AND ".join(tests)

    def _values(self, name: str, scan: Scan) -> list[tuple[str, str]]:
        return [value for path in self.paths(name) for value in _values(path, scan)]

    def _reason(self, scan: Scan, own: tuple[str, str] | None) -> str:
        """Return SQL for the evaluation reason; that of a row without an assignment says so."""
        tests = []
        for name, values in self.not_assigned.items():
            if (found := self.find(name, scan)) is None:
                continue
            if name == "evaluation_reason":
                tests.append(is_reason(reason_sql(*found), values))
            else:
                listed = ", ".join(map(literal, values))
                tests.append(f"coalesce({text_sql(*found)}, '') IN ({listed})")
        reason = reason_sql(*own) if own else "''"
        cases = f"WHEN {' OR '.join(tests)} THEN {literal(NOT_ASSIGNED)} " if tests else ""
        return f"CASE {cases}ELSE {reason} END" if cases else reason

    @property
    def _by(self) -> str:
        return f" with preset '{self.preset}'" if self.preset else ""

    def _faults(self, scan: Scan) -> Iterator[str]:
        for name, values in self.where.items():
            if "" not in values.split("|") and not self._values(name, scan):
                path = "' or '".join(self.paths(name))
                yield f"it has no field '{path}', which identifies exposures.{scan.hint(path)}"
        for name in (*REQUIRED, *OPTIONAL):
            if name in self.constants:
                continue
            own = self.paths(name)
            wanted = either(own)
            alike = [raw for raw in scan.types if raw.lower() == own[0].lower()] if len(own) == 1 else []
            value = self.find(name, scan)
            if len(alike) > 1 and wanted not in alike:
                yield (
                    f"it has the columns {', '.join(alike)}, of which any could be {name}; name one with "
                    f"columns={{'{name}': ...}}"
                )
            elif value is None and name in REQUIRED:
                yield (
                    f"it has no column '{wanted}' for {name}.{scan.hint(own[0])} Map it with "
                    f"columns={{'{name}': ...}}, "
                    f"or give constants={{'{name}': ...}} when every row has the same."
                )
            elif value is not None and is_nested(value[1]) and name in REQUIRED:
                yield (
                    f"column '{wanted}' for {name} has type {value[1]}; map a single value, for example "
                    f"columns={{'{name}': '{wanted}.key'}}"
                )


def either(paths: Sequence[str]) -> str:
    """Return paths as a quoted choice: a' or 'b."""
    return "' or '".join(paths)


def _passes(found: tuple[str, str] | None, values: str) -> str:
    """Return a condition for the rows whose value is one of these."""
    text = "''" if found is None else f"coalesce({text_sql(*found)}, '')"
    if values == ANY:
        return f"{text} <> ''"
    return f"{text} IN ({', '.join(literal(value) for value in values.split('|'))})"


def _values(path: str, scan: Scan) -> list[tuple[str, str]]:
    """Return SQL and type of the column of that very name, and of the field a path leads to."""
    if path in scan.lacking:
        return []
    raw = _spelled(path, scan)
    found = [] if raw is None else [(scan.sql(raw), scan.types[raw])]
    inner = _inner(path, scan)
    return found if inner is None else [*found, inner]


def _inner(path: str, scan: Scan) -> tuple[str, str] | None:
    """Return SQL and type of the field that a path leads to."""
    if lists := lists_of(path):
        outer = lists[-1]
        kind = scan.types.get(outer)
        return field_sql(ident(outer), kind, below(path, outer)) if kind else None
    parsed = parse_path(path)
    base = _spelled(parsed[0], scan) if parsed else None
    return field_sql(scan.sql(base), scan.types[base], parsed[1]) if parsed and base is not None else None


def _first_of(found: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return SQL and type of the first value that a row has."""
    if len(found) < 2:
        return found[0] if found else None
    kinds = {kind for _, kind in found}
    if len(kinds) == 1 and kinds != {"VARCHAR"}:
        return f"coalesce({', '.join(sql for sql, _ in found)})", kinds.pop()
    return (
        f"coalesce({', '.join(f'nullif({text_sql(*value)}, {literal(str())})' for value in found)})",
        "VARCHAR",
    )


def _expanded(scan: Scan, paths: Sequence[str]) -> Scan:
    """Return the scan with a row for each element of the lists that paths go through."""
    parts = [part for chain in list_chains(paths) if (part := _unnested(scan, chain)) is not None]
    if not parts:
        return scan
    types = {name: kind for part in parts for name, kind in part.types.items()}
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM {part.relation}" for part in parts)
    return replace(scan, relation=parts[0].relation if len(parts) == 1 else f"({union})", types=types)


def _unnested(scan: Scan, chain: Sequence[str]) -> Scan | None:
    """Return the scan with a column for the element of each list, the outermost first; None without them."""
    for outer, inner in zip(("", *chain), chain, strict=False):
        base = outer or _spelled(base_of(inner.removesuffix("[]")), scan)
        if base is None or base not in scan.types:
            return None
        column = ident(outer) if outer else scan.sql(base)
        found = list_sql(column, scan.types[base], steps_to(inner, outer))
        if found is None:
            return None
        relation = f"(SELECT *, unnest({found[0]}) AS {ident(inner)} FROM {scan.relation})"
        scan = replace(scan, relation=relation, types={**scan.types, inner: found[1]})
    return scan


def _spelled(wanted: str, scan: Scan) -> str | None:
    """Return the log's own name of a column, exact spelling first, or None."""
    if wanted in scan.types:
        return wanted
    return next((raw for raw in scan.types if raw.lower() == wanted.lower()), None)
