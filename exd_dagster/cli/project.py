"""Find the project and the Dagster instance of a command."""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import dagster as dg
from dagster.components.definitions import LazyDefinitions

from exd_dagster.config.toml import parse_toml
from exd_dagster.definitions.alerting.plan import AlertPlan
from exd_dagster.definitions.alerting.sensor import alert_plans
from exd_dagster.definitions.fleet.plan import AuditPlan, audit_plans
from exd_dagster.errors import ConfigError, ExdError, did_you_mean

module_option = click.option(
    "-m",
    "--module",
    "-f",
    "--python-file",
    "module",
    metavar="MODULE|FILE.py",
    default=None,
    help="Dagster project to load; default: what workspace.yaml or pyproject.toml names.",
)
fleet_option = click.option("--fleet", default=None, help="Name of one fleet, where the project has several.")


def open_instance() -> dg.DagsterInstance:
    """Return the Dagster instance of DAGSTER_HOME, or of the dagster.yaml in this folder.

    Raises:
        ConfigError: when there is neither.
    """
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    if Path("dagster.yaml").exists():
        return dg.DagsterInstance.from_config(str(Path.cwd()))
    raise ConfigError(
        "the Dagster instance", ["DAGSTER_HOME is not set and this folder has no dagster.yaml; set one up"]
    )


def load_plans(module: str | None, fleet: str | None = None) -> list[AlertPlan]:
    """Import the project and return the plan of each of its alert sensors, or of those of one fleet.

    Raises:
        ConfigError: when there is no project, it has no alert sensor, or no fleet of that name.
    """
    name = load_project(module)
    plans = alert_plans()
    if not plans:
        raise ConfigError("the project", [f"module '{name}' builds no alert sensor; pass alerts=[...]"])
    _known_fleet(fleet, [plan.fleet for plan in plans])
    return [plan for plan in plans if fleet in (None, plan.fleet)]


def load_fleets(module: str | None, fleet: str | None = None) -> list[AuditPlan]:
    """Import the project and return what each of its fleets audits, or one of them.

    Raises:
        ConfigError: when there is no project, it audits nothing, or it has no fleet of that name.
    """
    name = load_project(module)
    plans = audit_plans()
    if not plans:
        raise ConfigError(
            "the project", [f"module '{name}' audits nothing; call build_flag_audit_defs in it"]
        )
    _known_fleet(fleet, [plan.name for plan in plans])
    return [plan for plan in plans if fleet in (None, plan.name)]


def _known_fleet(fleet: str | None, known: list[str]) -> None:
    if fleet is not None and fleet not in known:
        fault = f"--fleet: '{fleet}' is no fleet of the project.{did_you_mean(fleet, known)}"
        raise ConfigError("these options", [fault])


def load_project(module: str | None) -> str:
    """Import the project as Dagster does and build what it defines lazily.

    Args:
        module: a module, or a file that ends in .py; None: every one that workspace.yaml names, else the
            one of pyproject.toml.

    Returns:
        What was imported, as text for messages.

    Raises:
        ConfigError: when nothing is named, or it cannot be imported.
    """
    places = _places(module)
    for target, folder in places:
        _build(target, folder)
    return ", ".join(target for target, _ in places)


def load_definitions(module: str | None) -> list[dg.Definitions]:
    """Import the project and return what each of its code locations defines.

    Raises:
        ConfigError: as `load_project`.
    """
    return [found for target, folder in _places(module) for found in _build(target, folder)]


def _places(module: str | None) -> list[tuple[str, Path]]:
    """Return module or file, and working directory, of each code location."""
    places = [(module, Path())] if module else list(_named_places())
    if not places:
        raise ConfigError(
            "the project",
            ["no module is named in workspace.yaml or pyproject.toml; give -m MODULE or -f FILE"],
        )
    return places


def _build(target: str, folder: Path) -> list[dg.Definitions]:
    """Import one code location, call its `@definitions` functions, and return all that it defines."""
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    try:
        found = _import_file(folder / target) if target.endswith(".py") else import_module(target)
        values = [
            value() if isinstance(value, LazyDefinitions) and not value.has_context_arg else value
            for value in list(vars(found).values())
        ]
    except Exception as error:  # a project may raise anything while it is imported
        raise _own(error) or ConfigError(
            "the project", [f"'{target}' cannot be imported: {type(error).__name__}: {error}; check -m"]
        ) from error
    return [value for value in values if isinstance(value, dg.Definitions)]


def _own(error: BaseException | None) -> ExdError | None:
    """Return our own error where Dagster wrapped it."""
    while error is not None:
        if isinstance(error, ExdError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _import_file(file: Path) -> ModuleType:
    spec = spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    found = module_from_spec(spec)
    sys.modules[file.stem] = found
    spec.loader.exec_module(found)
    return found


def _named_places() -> Iterator[tuple[str, Path]]:
    """Yield module or file, and working directory, of each code location the files in this folder name."""
    if Path("workspace.yaml").exists():
        import yaml

        workspace = yaml.safe_load(Path("workspace.yaml").read_text(encoding="utf-8")) or {}
        for entry in workspace.get("load_from", ()):
            yield from _entry(entry if isinstance(entry, dict) else {})
    elif Path("pyproject.toml").exists():
        tool = parse_toml(Path("pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
        root = tool.get("dg", {}).get("project", {}).get("root_module")
        found = tool.get("dagster", {}).get("module_name") or (f"{root}.definitions" if root else None)
        if found:
            yield str(found), Path("src" if root and Path("src", root).is_dir() else ".")


def _entry(entry: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the place of one entry of workspace.yaml; one that is served elsewhere has none."""
    for kind, field in (("python_module", "module_name"), ("python_file", "relative_path")):
        place = entry.get(kind)
        if isinstance(place, dict):
            yield str(place[field]), Path(place.get("working_directory") or ".")
        elif place:
            yield str(place), Path()
