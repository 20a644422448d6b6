"""Presets: how the export of a vendor or SDK is read, each one short file of data in `presets/`.

A preset says where time, flag, variant and unit stand, which rows are exposures, and by what the export is
recognised. Adding one needs no code; CONTRIBUTING.md has the checklist.

In `where`, `signature.all` and `signature.any` a field (a column or a path, see `paths`) is given the values
that it may have, separated by `|`: "" is a missing value, "*" any value, and in a signature "?" a field that
is there, whatever it holds.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.config import ConfigModel, Scalar
from exd_dagster.config.toml import parse_toml
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.columns import ANY, ColumnMap
from exd_dagster.telemetry.paths import values_at
from exd_dagster.telemetry.records import OPTIONAL, REQUIRED, as_text

Paths: TypeAlias = str | tuple[str, ...]
Row: TypeAlias = Mapping[str, Any]
"""One row of a log as Python objects, by column."""

THERE = "?"
"""In a sign: the field is there, whatever it holds."""

EVERY_KIND = "*"
"""The unit of a preset whose path is that of any kind: `{unit}` in it is replaced by the kind asked for."""


class Signature(ConfigModel):
    """By what a row is recognised: every field of `all`, and one of `any` where there are some."""

    all: dict[str, str] = Field(default={}, description="Field to the values it has.")
    any: dict[str, str] = Field(default={}, description="Field to the values it has; one of them is enough.")


class Preset(ConfigModel):
    """How one export is read.

    Attributes:
        name: what `preset=` takes: the name of its file.
        title: the vendor or SDK.
        export: which of its exports.
        page: where the format is documented: an address, or a Python package and its version.
        read: when that page was read.
        unconfirmed: what the page does not say, or nobody could try.
        caveats: what to know before the numbers are used.
        srm: how the vendor's own check of the split differs, "" where it has none or none is documented.
        signature: by what a row is recognised.
        columns: exd's column to the path, or to several of which a row's first is taken.
        units: name of a unit to its path; the first is the default.
        unit_where: which rows are exposures of a unit that has rows of its own; `{unit}` is its name.
        dimensions: usual name of a dimension to its path.
        where: which rows are exposures.
        not_assigned: exd's column to values that say that the unit was given no variant.
        extract: exd's column to a pattern; its first group is the value.
        constants: exd's column to what every row repeats.
        time_unit: of numbers since 1970, for engines; DuckDB recognises it by their size.
    """

    name: str
    title: str = Field(min_length=1)
    export: str = Field(min_length=1)
    page: str = Field(pattern=r"^(https://|Python package \S+ \d)")
    read: date
    unconfirmed: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    srm: str = ""
    signature: Signature
    columns: dict[str, Paths]
    units: dict[str, Paths] = Field(min_length=1)
    unit_where: dict[str, str] = Field(default={})
    dimensions: dict[str, Paths] = Field(default={})
    where: dict[str, str] = Field(default={})
    not_assigned: dict[str, tuple[str, ...]] = Field(default={})
    extract: dict[str, str] = Field(default={})
    constants: dict[str, Scalar] = Field(default={})
    time_unit: Literal["s", "ms", "us", "ns"] | None = None

    @field_validator("columns", "not_assigned", "extract", "constants")
    @classmethod
    def _known_columns(cls, given: dict[str, Any]) -> dict[str, Any]:
        known = {*REQUIRED, *OPTIONAL} - {"unit_id_hash"}
        for name in given:
            if name not in known:
                raise ValueError(f"'{name}' is no column of exd's (units stand in [units])")
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        lacking = {*REQUIRED} - {"unit_id_hash"} - {*self.columns} - {*self.constants}
        if lacking:
            raise ValueError(f"columns: {', '.join(sorted(lacking))} is missing")
        return self

    def unit_paths(self, unit: str | None) -> tuple[str, ...]:
        """Return the paths of a unit; of the default one for None.

        Raises:
            ConfigError: for a name this export does not have.
        """
        named = [name for name in self.units if name != EVERY_KIND]
        unit = unit or self.usual_unit
        own = self.units.get(unit, self.units.get(EVERY_KIND))
        if own is None:
            raise ConfigError(
                f"preset '{self.name}'", [f"unit: '{unit}' is not one of it.{did_you_mean(unit, named)}"]
            )
        return tuple(path.replace("{unit}", unit) for path in _several(own))

    @property
    def usual_unit(self) -> str:
        """The unit that is taken where none is named."""
        return next(iter(self.units))

    def mapped(self, unit: str | None = None) -> dict[str, tuple[str, ...]]:
        """Return exd's column, or a dimension's name, to the paths where it stands."""
        own = {name: _several(paths) for name, paths in {**self.dimensions, **self.columns}.items()}
        return {**own, "unit_id_hash": self.unit_paths(unit)}

    def column_map(
        self,
        unit: str | None = None,
        columns: Mapping[str, Paths] | None = None,
        constants: Mapping[str, Scalar] | None = None,
        where: Mapping[str, str] | None = None,
        **time: Any,
    ) -> ColumnMap:
        """Return how rows are read; what is given on top goes before the preset's own.

        Raises:
            ConfigError: for a unit this export does not have.
        """
        given, repeated = columns or {}, constants or {}
        fixed = {name: value for name, value in self.constants.items() if name not in given} | {**repeated}
        mapped = {**self.mapped(unit), **given}
        return ColumnMap(
            {name: paths for name, paths in mapped.items() if name not in fixed},
            fixed,
            where={**self.where, **self._of_unit(unit), **(where or {})},
            not_assigned={name: v for name, v in self.not_assigned.items() if name not in repeated},
            extract={name: pattern for name, pattern in self.extract.items() if name not in given},
            preset=self.name,
            **time,
        )

    def _of_unit(self, unit: str | None) -> dict[str, str]:
        return {path: v.replace("{unit}", unit or self.usual_unit) for path, v in self.unit_where.items()}

    def fits(self, row: Row) -> bool:
        """Return True for a row that has the signature of this export."""
        signature = self.signature
        every = all(holds(row, path, values) for path, values in signature.all.items())
        return every and (not signature.any or any(holds(row, path, v) for path, v in signature.any.items()))

    @property
    def weight(self) -> int:
        """How much its signature says: a named value is worth more than a field."""
        signs = [*self.signature.all.values(), *list(self.signature.any.values())[:1]]
        return sum((values != "") + (values not in (ANY, THERE, "")) for values in signs)


def holds(row: Row, path: str, values: str) -> bool:
    """Return True for a row in which a field has one of the values, written as in `where`."""
    found = values_at(row, path)
    if values == THERE:
        return bool(found)
    texts = {_text(value) for value in found} - {""}
    return bool(texts) if values == ANY else bool((texts or {""}) & set(values.split("|")))


def _text(value: Any) -> str:
    """Return a value as records hold it."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    return as_text(value)


def _several(paths: Paths) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else paths


@cache
def _folder() -> Mapping[str, Any]:
    found = files("exd_dagster.telemetry").joinpath("presets").iterdir()
    return {file.name.removesuffix(".toml"): file for file in found if file.name.endswith(".toml")}


def presets() -> list[str]:
    """Return the name of every preset, sorted."""
    return sorted(_folder())


@cache
def read_preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        ConfigError: for a name there is none of.
    """
    if name not in _folder():
        raise ConfigError("preset", [f"'{name}' is not one.{did_you_mean(name, presets())}"])
    return Preset(name=name, **parse_toml(_folder()[name].read_text(encoding="utf-8")))


def covers(preset: Preset, rows: Sequence[Row]) -> bool:
    """Return True where most rows that have the signature of an export have its required columns, too."""
    own = [row for row in rows if preset.fits(row)]
    asked = [preset.mapped()[name] for name in REQUIRED if name not in preset.constants]
    units = tuple(path for unit in preset.units for path in preset.unit_paths(unit))
    needed = [*(paths for paths in asked if paths != preset.unit_paths(None)), units]
    return all(
        sum(any(values_at(row, path) for path in paths) for row in own) > 0.5 * len(own) for paths in needed
    )


class Match(ConfigModel):
    """An export that rows look like.

    Attributes:
        preset: its name.
        reason: by what it was recognised.
        rows: how many of the rows have its signature.
        of: how many rows were looked at.
    """

    preset: str
    reason: str
    rows: int
    of: int

    def __str__(self) -> str:
        return f"looks like {read_preset(self.preset).title} (preset '{self.preset}'): {self.reason}"


def recognise(rows: Sequence[Row]) -> list[Match]:
    """Return the exports that rows look like, the likeliest first; two of equal weight may both be it.

    Args:
        rows: a sample, each row by column.
    """
    found = []
    for preset in map(read_preset, presets()):
        fitting = sum(preset.fits(row) for row in rows)
        if fitting:
            signs = [*preset.signature.all.items(), *preset.signature.any.items()]
            said = [_said(path, v) for path, v in signs if v and any(holds(row, path, v) for row in rows)]
            match = Match(preset=preset.name, reason=", ".join(said), rows=fitting, of=len(rows))
            found.append((-preset.weight, -fitting, preset.name, match))
    return [match for *_, match in sorted(found, key=lambda one: one[:3])]


def _said(path: str, values: str) -> str:
    return path if values in (ANY, THERE) else f"{path} = {values.replace('|', ' or ')}"


def likeliest(matches: Sequence[Match]) -> list[Match]:
    """Return the match to take, or those between which a person must choose."""
    if not matches:
        return []
    most = read_preset(matches[0].preset).weight
    return [match for match in matches if read_preset(match.preset).weight == most]
