"""Which export a log is: a preset by its signature, else fields by their names and values."""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb

from exd_dagster.errors import RecordsError
from exd_dagster.telemetry.columns import ANY
from exd_dagster.telemetry.guess import Guess, guess
from exd_dagster.telemetry.preset import (
    EVERY_KIND,
    Match,
    Row,
    covers,
    holds,
    likeliest,
    read_preset,
    recognise,
)
from exd_dagster.telemetry.records import REQUIRED
from exd_dagster.telemetry.sources.duckdb import Records, TableRecords

OWN = "exd"
"""The preset of exd's own table: its names need no mapping."""


def recognised_export(
    connection: duckdb.DuckDBPyConnection,
    log: Records,
    span: tuple[datetime, datetime],
    columns: Mapping[str, str],
    constants: Mapping[str, str],
    preset: str | None = None,
    unit: str | None = None,
) -> tuple[Records, list[str]]:
    """Return the log with its export, or its columns, recognised as far as possible, and lines that say how.

    Args:
        connection: an open connection.
        log: where the records are.
        span: what to read (UTC).
        columns: columns given by the user.
        constants: values without a column; a log without a flag column is one flag.
        preset: the export, where the person said it.
        unit: the preset's unit, where the person said it.

    Raises:
        RecordsError: when the log cannot be read, its export or a column cannot be recognised.
    """
    rows = [row for some in _sample(connection, log, span).values() for row in some]
    found = recognise(rows) if preset is None else []
    matches = likeliest([match for match in found if covers(read_preset(match.preset), rows)])
    if len(matches) > 1 and not {*REQUIRED} <= {*columns, *constants}:
        _refuse_mix(log.place, matches, rows)
        preset = _asked(log.place, matches)
    elif len(matches) == 1 and matches[0].preset != OWN:
        preset = matches[0].preset
    if preset is None:
        return _guessed(log, rows, columns, constants)
    unit = unit or fullest_unit(preset, rows)
    given = {"preset": preset, "unit": unit, "columns": {**columns}, "constants": {**constants}}
    said = [f"  {match}" for match in matches if match.preset == preset]
    said += [f"  caveat: {caveat}" for caveat in read_preset(preset).caveats]
    return _with(log, given), said


def fullest_unit(preset: str, rows: Sequence[Row]) -> str | None:
    """Return the unit that most exposures name, None where that is the usual one.

    Args:
        preset: name of the export.
        rows: a sample.
    """
    export = read_preset(preset)
    own = [row for row in rows if export.fits(row)]
    filled = {
        unit: sum(any(holds(row, path, ANY) for path in export.unit_paths(unit)) for row in own)
        for unit in export.units
        if unit != EVERY_KIND
    }
    usual = export.usual_unit
    best = max(filled, key=lambda unit: (filled[unit], unit == usual), default=usual)
    return best if filled.get(usual, 0) < 0.5 * filled.get(best, 0) else None


def _refuse_mix(place: str, matches: Sequence[Match], rows: Sequence[Row]) -> None:
    """Refuse rows of which each is of one export only."""
    several = [[match for match in matches if read_preset(match.preset).fits(row)] for row in rows]
    if all(len(fitting) < 2 for fitting in several):
        shown = [f"{match.rows} of {match.of} rows looked at: {match}" for match in matches]
        head = "\n  - ".join([f"{place} is a mix of exports:", *shown])
        raise RecordsError(
            f"{head}\nGive each export files, or a table, of its own; "
            "--preset NAME reads one where the other is a part of it."
        )


def _asked(place: str, matches: Sequence[Match]) -> str:
    """Let a person choose between exports that fit equally well."""
    shown = [f"it {match}; give --preset {match.preset}" for match in matches]
    if not sys.stdin.isatty():
        raise RecordsError("\n  - ".join([f"{place} may be one of {len(matches)} exports:", *shown]))
    click.echo("\n".join(shown))
    chosen: str = click.prompt("Which is it?", type=click.Choice([match.preset for match in matches]))
    return chosen


def _guessed(
    log: Records, rows: Sequence[Row], columns: Mapping[str, str], constants: Mapping[str, str]
) -> tuple[Records, list[str]]:
    found = guess(rows, columns)
    columns_of = {**_names(found, rows), **columns}
    repeated = {name: value for name, value in constants.items() if name not in columns_of}
    if "flag_key" not in columns_of:
        own = re.sub(r"[^\w-]+", "", Path(log.place).stem) or "my-flag"
        repeated.setdefault("flag_key", found.constants.get("flag_key", own))
    lacking = [name for name in REQUIRED if name not in columns_of and name not in repeated]
    if lacking:
        ask = " ".join(f"--column {name}=..." for name in lacking)
        which, names = " and ".join(lacking), list(dict.fromkeys(name for row in rows for name in row))
        raise RecordsError(f"{log.place}: cannot recognise the column {which} among {names}; give {ask}")
    renamed = {name: own for name, own in columns_of.items() if name != own}
    where = {} if "flag_key" in constants else found.where
    return _with(log, {"columns": renamed, "constants": repeated, "where": where}), []


def _names(found: Guess, rows: Sequence[Row]) -> dict[str, str]:
    """Return the field of each column that was recognised, also where the log calls it as exd does."""
    same = {name: name for row in rows[:1] for name in REQUIRED if any(name in one for one in rows)}
    return {**same, **found.columns}


def _sample(
    connection: duckdb.DuckDBPyConnection, log: Records, span: tuple[datetime, datetime]
) -> Mapping[str, Sequence[Row]]:
    try:
        sample = log.sample(connection, *span)
    except RecordsError as error:
        if not isinstance(log, TableRecords):
            raise
        said = " ".join(str(error).splitlines()[:2])
        raise RecordsError(f"{said} If it is another table, write {log.database}:TABLE.") from None
    if not any(sample.values()):
        raise RecordsError(f"{log.place}: no row can be read of {', '.join(sample)}; give a log with records")
    return sample


def _with(log: Records, given: Mapping[str, Any]) -> Records:
    return type(log)(**{**location(log), **{name: value for name, value in given.items() if value}})


def location(records: Records) -> dict[str, Any]:
    """Return the fields of the records object; one path as text."""
    fields = ("path", "format", "database", "table")
    found = {name: getattr(records, name) for name in fields if getattr(records, name, None)}
    paths = found.get("path")
    return (
        {**found, "path": paths[0] if len(paths) == 1 else list(paths)} if isinstance(paths, tuple) else found
    )
