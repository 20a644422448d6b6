"""Find the project and the Dagster instance a command speaks of."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dagster as dg
from dagster.components.definitions import LazyDefinitions

from exd_dagster.alert_plan import AlertPlan
from exd_dagster.audit_plan import AuditPlan, audit_plans
from exd_dagster.errors import ConfigError
from exd_dagster.sensors import alert_plans

module_option = click.option(
    "-m",
    "--module",
    default=None,
    help="Python module of the Dagster project; default: the one named in workspace.yaml or pyproject.toml.",
)


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


def load_plans(module: str | None) -> list[AlertPlan]:
    """Import the project and return the plan of each of its alert sensors.

    Raises:
        ConfigError: when there is no project or it has no alert sensor.
    """
    name = load_project(module)
    plans = alert_plans()
    if not plans:
        raise ConfigError("the project", [f"module '{name}' builds no alert sensor; pass alerts=[...]"])
    return plans


def load_fleets(module: str | None) -> list[AuditPlan]:
    """Import the project and return what each of its fleets audits.

    Raises:
        ConfigError: when there is no project or it audits nothing.
    """
    name = load_project(module)
    plans = audit_plans()
    if not plans:
        raise ConfigError(
            "the project", [f"module '{name}' audits nothing; call build_flag_audit_defs in it"]
        )
    return plans


def load_project(module: str | None) -> str:
    """Import the project as Dagster does, build what it defines lazily, and return the name of its module.

    Raises:
        ConfigError: when no module is named, or it cannot be imported.
    """
    name, folder = (module, ".") if module else _named_module()
    if name is None:
        raise ConfigError(
            "the project", ["no module is named in workspace.yaml or pyproject.toml; give -m MODULE"]
        )
    sys.path.insert(0, str(Path(folder).resolve()))
    try:
        found = import_module(name)
    except ImportError as error:
        raise ConfigError(
            "the project", [f"module '{name}' cannot be imported: {error}; check -m"]
        ) from error
    for value in list(vars(found).values()):
        if isinstance(value, LazyDefinitions) and not value.has_context_arg:
            value()
    return name


def _named_module() -> tuple[str | None, str]:
    """Read module and its folder from workspace.yaml, else from the [tool] tables of pyproject.toml."""
    if Path("workspace.yaml").exists():
        yaml: Any = import_module("yaml")  # comes with Dagster
        workspace = yaml.safe_load(Path("workspace.yaml").read_text()) or {}
        for entry in workspace.get("load_from", ()):
            module = entry.get("python_module") if isinstance(entry, dict) else None
            if isinstance(module, dict):
                return str(module["module_name"]), str(module.get("working_directory", "."))
            if module:
                return str(module), "."
    if Path("pyproject.toml").exists():
        tool = _toml(Path("pyproject.toml")).get("tool", {})
        root = tool.get("dg", {}).get("project", {}).get("root_module")
        found = tool.get("dagster", {}).get("module_name") or (f"{root}.definitions" if root else None)
        return (str(found) if found else None), ("src" if root and Path("src", root).is_dir() else ".")
    return None, "."


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(path.read_text())
