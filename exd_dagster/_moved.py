"""Former names of modules: an import of one gives the module where it is now, with a DeprecationWarning."""

from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from warnings import warn

MOVED = {
    "alert_plan": "definitions.alerting.plan",
    "assets": "definitions.assets",
    "bin_store": "definitions.store",
    "build": "definitions.build",
    "checks": "definitions.checks",
    "component": "definitions.component.component",
    "decisions": "definitions.decisions.asset",
    "drill": "cli.drill.drill",
    "flag_trust": "definitions.flag_trust",
    "gate": "definitions.gate",
    "monitor": "notebook",
    "resources": "definitions.alerting.destinations",
    "schedules": "definitions.schedules",
    "sensors": "definitions.alerting.sensor",
}
"""Old name to new name, both below `exd_dagster`."""


class MovedModules(MetaPathFinder, Loader):
    """Finds a module under its former name."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return a spec for a former name, None for any other."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "exd_dagster" and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module under its new name."""
        old = spec.name.removeprefix("exd_dagster.")
        warn(f"{spec.name} is now exd_dagster.{MOVED[old]}", DeprecationWarning, stacklevel=2)
        return import_module(f"exd_dagster.{MOVED[old]}")

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module has run under its own name."""
