"""`exd-dagster init`: a first audit project for one's own records."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import duckdb

from exd_dagster.cli.init.export import location, recognised_export
from exd_dagster.cli.init.split_look import SplitLook, left_out, look_at_split, remarks, why_left_out
from exd_dagster.cli.progress import scanning
from exd_dagster.cli.sources import read_pairs, read_sources
from exd_dagster.cli.survey import SeenFlag, hourly_units, survey
from exd_dagster.config.instants import utc_now
from exd_dagster.config.toml import parse_toml
from exd_dagster.definitions.component import scaffold
from exd_dagster.definitions.component.scaffold import Draft, FlagDraft
from exd_dagster.errors import RecordsError, did_you_mean
from exd_dagster.telemetry.records import EARLIEST, from_ms
from exd_dagster.telemetry.sources.duckdb import FileRecords, ParquetRecords, Records, TableRecords

LISTED = 3
"""Maximum number of flags written by default: those with the most units."""

OVER = timedelta(days=7)
"""A flag whose last record is older than this gets an end: nothing of it is left to audit."""

LONG = timedelta(days=7)
"""A history longer than this gets a partition a day instead of one an hour."""

TYPE_NAME = "exd_dagster.FlagAuditComponent"
DATED = timedelta(days=30)
"""Of a log whose path names days, this much is looked at."""

_KINDS = {ParquetRecords: "parquet", FileRecords: "files", TableRecords: "table"}


@click.command(short_help="Write a first audit project for your own records.")
@click.argument("log", required=False)
@click.option("--preset", metavar="NAME", help="The vendor or SDK of the export; default: by its fields.")
@click.option("--unit", metavar="NAME", help="Which of the preset's units is randomized.")
@click.option("--column", multiple=True, metavar="NAME=OWN", help="The log's own name of a column of exd's.")
@click.option("--constant", multiple=True, metavar="NAME=VALUE", help="A column that the log does not have.")
@click.option(
    "--flag",
    "keys",
    multiple=True,
    help=f"Flags to list; default: the {LISTED} with the most units. In a log without that column: its flag.",
)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to write."
)
@click.option("--yaml", "as_yaml", is_flag=True, help="Write a component (defs.yaml) instead of Python.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
def init(
    log: str | None,
    preset: str | None,
    unit: str | None,
    column: tuple[str, ...],
    constant: tuple[str, ...],
    keys: tuple[str, ...],
    folder: Path,
    as_yaml: bool,
    force: bool,
) -> None:
    """Inspect the records in LOG and write a project that audits its flags.

    LOG is a path, glob, folder or URL of Parquet, CSV or NDJSON files, or a DuckDB file:table.

    The project starts in mode observe: no report is blocked before you set mode="block", and no split is
    declared before you confirm it.
    """
    place = log or click.prompt(
        "Where are your evaluation records (path, glob, folder or DuckDB file:table)?"
    )
    columns, constants = read_pairs(column, "--column"), read_pairs(constant, "--constant")
    if len(keys) == 1:
        constants = {"flag_key": keys[0], **constants}
    now = utc_now()
    span = (now - DATED if "%" in place else from_ms(EARLIEST)), now
    with duckdb.connect() as connection:
        source = read_sources([place])
        records, recognised = recognised_export(connection, source, span, columns, constants, preset, unit)
        with scanning(connection, "looking at the records"):
            seen = survey(connection, records, *span)
            usable = [flag for flag in seen if flag.total]
            flags = chosen(usable, keys) if usable else []
            looks = [look_at_split(*hourly_units(connection, records, flag, *span)) for flag in flags]
    if not flags:
        raise RecordsError(f"{place}: no row has a flag, a variant and a unit; correct --column")
    draft = make_draft(anchored(records, folder), flags, looks, len(usable), now)
    files = component_files(draft, folder) if as_yaml else python_files(draft)
    said = [*remarks(flags, looks), *([] if keys else left_out(seen, flags))]
    for line in (
        *_found(records, recognised, usable),
        *said,
        *write(files, folder, force=force),
        *_next(draft, folder),
    ):
        click.echo(line)


def anchored(records: Records, folder: Path) -> Records:
    """Return the records with a path valid in `folder`: as given there, absolute from elsewhere."""
    if folder.resolve() == Path.cwd():
        return records
    place = location(records)
    moved: dict[str, Any] = {name: _absolute(place[name]) for name in ("path", "database") if name in place}
    return records.model_copy(update=moved)


def _absolute(path: str | list[str]) -> str | tuple[str, ...]:
    if isinstance(path, list):
        return tuple(str(_absolute(one)) for one in path)
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 - Path does not resolve ".."


def chosen(seen: Sequence[SeenFlag], keys: Sequence[str]) -> list[SeenFlag]:
    """Return the flags to list, each in the environment where it has the most units.

    Raises:
        RecordsError: for a name that no flag has.
    """
    best: dict[tuple[str, str], SeenFlag] = {}
    for flag in seen:
        best.setdefault((flag.namespace, flag.key), flag)
    known = {flag.key for flag in seen}
    for key in keys:
        if key not in known:
            raise RecordsError(f"--flag '{key}' is not in the log.{did_you_mean(key, known)}")
    flags = list(best.values())
    if keys:
        return [flag for flag in flags if flag.key in keys]
    return [flag for flag in flags if why_left_out(flag) == ""][:LISTED] or flags[:1]


def make_draft(
    records: Records, flags: Sequence[SeenFlag], looks: Sequence[SplitLook], known: int, now: datetime
) -> Draft:
    """Return the contents of the project.

    Args:
        records: the log, its columns mapped.
        flags: the flags to list.
        looks: the observed split of each.
        known: how many the log has.
        now: the clock (UTC).
    """
    said = {
        **location(records),
        **{name: getattr(records, name) for name in ("preset", "unit", "columns", "constants", "where")},
    }
    others = f"{known - len(flags)} more were seen; list the ones you own" if known > len(flags) else ""
    ends = [now if now - flag.last < OVER else flag.last for flag in flags]
    return Draft(
        kind=_KINDS[type(records)],
        records={name: value for name, value in said.items() if value},
        flags=[_flag_draft(flag, look, now) for flag, look in zip(flags, looks, strict=True)],
        daily=max(ends) - min(flag.first for flag in flags) > LONG,
        note=others,
    )


def _flag_draft(flag: SeenFlag, look: SplitLook, now: datetime) -> FlagDraft:
    scope = {"namespace": flag.namespace, "environment": flag.environment}
    return FlagDraft(
        fields={
            "key": flag.key,
            **{name: value for name, value in scope.items() if value},
            "start": f"{flag.first:%Y-%m-%d}",
            **({"end": f"{flag.last + timedelta(days=1):%Y-%m-%d}"} if now - flag.last > OVER else {}),
        },
        split=look.split,
        seen=f"{look.seen}: confirm, uncomment",
    )


def percents(shares: Mapping[str, float]) -> str:
    """Return shares as text, the first six."""
    shown = [f"{variant} {100 * share:.1f} %" for variant, share in list(shares.items())[:6]]
    return ", ".join(shown) + (", ..." if len(shares) > 6 else "")


def python_files(draft: Draft) -> dict[Path, str]:
    """Return the files of a Python project and what is in them."""
    return {
        Path("definitions.py"): scaffold.python_project(draft),
        Path("workspace.yaml"): scaffold.workspace_yaml("definitions"),
        Path("dagster.yaml"): scaffold.DAGSTER_YAML,
    }


def component_files(draft: Draft, folder: Path) -> dict[Path, str]:
    """Return defs.yaml for the `dg` project in `folder`; where there is none, a small one around it."""
    text = scaffold.component_yaml(TYPE_NAME, draft)
    own = _dg_module(folder)
    if own is not None:
        home = Path("src", own) if (folder / "src" / own).is_dir() else Path(own)
        return {home / "defs" / "flag_audit" / "defs.yaml": text}
    package = Path("flag_audit")  # not in src: dg and dagster then find it without an installation
    return {
        package / "defs" / "flag_audit" / "defs.yaml": text,
        package / "defs" / "__init__.py": "",
        package / "definitions.py": scaffold.COMPONENT_DEFINITIONS,
        package / "__init__.py": "",
        Path("pyproject.toml"): scaffold.PYPROJECT_TOML,
        Path("workspace.yaml"): scaffold.workspace_yaml("flag_audit.definitions"),
        Path("dagster.yaml"): scaffold.DAGSTER_YAML,
    }


def _dg_module(folder: Path) -> str | None:
    """Return the root module of the `dg` project in a folder, None where there is no project at all."""
    for name, tables in (("dg.toml", ("project",)), ("pyproject.toml", ("tool", "dg", "project"))):
        if (folder / name).exists():
            found = parse_toml((folder / name).read_text(encoding="utf-8"))
            for table in tables:
                found = found.get(table, {})
            if "root_module" in found:
                return str(found["root_module"])
    if (folder / "pyproject.toml").exists():
        raise click.UsageError(
            f"{folder.resolve()} is no dg project; give --folder, or add [tool.dg.project]."
        )
    return None


def write(files: Mapping[Path, str], folder: Path, *, force: bool) -> list[str]:
    """Write the files and return one line for each; an instance that exists already is left alone.

    Raises:
        click.UsageError: when a file exists and `force` was not given; then nothing is written.
    """
    kept = [path for path in files if path.name == "dagster.yaml" and (folder / path).exists()]
    there = [str(path) for path in files if path not in kept and (folder / path).exists()]
    if there and not force:
        raise click.UsageError(
            f"{', '.join(there)} exists in {folder.resolve()}; give --force to replace, or --folder."
        )
    for path, text in files.items():
        if path not in kept:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    return [f"{'kept ' if path in kept else 'wrote'} {folder / path}" for path, text in files.items() if text]


def _found(records: Records, recognised: Sequence[str], seen: Sequence[SeenFlag]) -> list[str]:
    usual = "those of the preset" if records.preset else "exd's own names"
    mapped = ", ".join(f"{name} = {own}" for name, own in records.columns.items()) or usual
    lines = [f"Read {records.place}", *recognised, f"  columns: {mapped}"]
    if records.where:
        lines.append(
            f"  exposures: {', '.join(f'{path} = {value}' for path, value in records.where.items())}"
        )
    if "flag_key" in records.constants:
        lines.append(
            f"  no column names the flag: every row is of '{records.constants['flag_key']}' (--flag names it)"
        )
    shown = [
        f"  {flag}: "
        f"{flag.total:,} units, {percents(flag.shares)}, {flag.first:%Y-%m-%d} to {flag.last:%Y-%m-%d}"
        for flag in seen[:20]
    ]
    return [*lines, *shown, *([f"  and {len(seen) - 20} more"] if len(seen) > 20 else []), ""]


def _next(draft: Draft, folder: Path) -> list[str]:
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    key = draft.flags[0].fields["key"]
    return [
        "",
        "Next:",
        "  1. Confirm the split of each flag: a line to uncomment. Without it the SRM checks are skipped.",
        f"  2. {there}exd-dagster doctor",
        f"  3. exd-dagster drill --flag {key} --fault dead_arm   what the checks would have said of a fault",
        "  4. dagster dev   then materialize all partitions of the bins: one run audits the whole history",
    ]
