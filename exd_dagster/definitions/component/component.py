"""The same audit in YAML: `FlagAuditComponent`, for projects made with `dg`."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from exd_dagster.alerts.policy.routes import Route
from exd_dagster.config import AnyEvent, ConfigModel, Duration, FlagAudit, Instant, Mode, Thresholds, Timing
from exd_dagster.config.calendar import Holidays, Zone
from exd_dagster.definitions.alerting.destinations import (
    DESTINATIONS,
    AlertDestination,
    CallbackAlerts,
    WebhookAlerts,
)
from exd_dagster.definitions.alerting.monitoring import Monitoring
from exd_dagster.definitions.assets import STORE_POOL, Grain, bins_asset_keys
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.catalog import GroupBy
from exd_dagster.definitions.component.scaffold import component_yaml, example
from exd_dagster.definitions.component.stores import AnyStore
from exd_dagster.definitions.component.vendor_flags import VendorFlags
from exd_dagster.definitions.component.yaml import Kinds, Rendering, file_of, with_lines, yaml_schema
from exd_dagster.definitions.fleet.clash import Claim, clash
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET
from exd_dagster.definitions.internals import project_components
from exd_dagster.definitions.publish.warehouse import Warehouse
from exd_dagster.definitions.reports.reconcile import Reconcile
from exd_dagster.definitions.store import place_of
from exd_dagster.errors import ConfigError, did_you_mean
from exd_dagster.telemetry.manifest.read import flags_from_manifest
from exd_dagster.telemetry.manifest.thresholds import read_thresholds
from exd_dagster.telemetry.sources import RECORDS, Records, as_records

HOOKS = {name: resource for name, resource in DESTINATIONS.items() if resource.kind.can_suspend}
"""What can suspend the assignment of a flag."""

_NAMED = 5
"""Flags by which another component is recognised."""

DEFAULTS = tuple(name for name in FlagAudit.model_fields if name != "key")
"""What `defaults` may give to every flag."""


def _thresholds(value: object) -> object:
    return read_thresholds(value) if isinstance(value, str) else value


AnyRecords: TypeAlias = Annotated[Records, Kinds(RECORDS, Records, as_records)]
AnyAlerts: TypeAlias = Annotated[AlertDestination, Kinds(DESTINATIONS, tuple(DESTINATIONS.values()))]
AnyHook: TypeAlias = Annotated[WebhookAlerts | CallbackAlerts, Kinds(HOOKS, tuple(HOOKS.values()))]
AnyThresholds: TypeAlias = Annotated[
    Thresholds, BeforeValidator(_thresholds, json_schema_input_type=Thresholds | str)
]


class ManifestFlags(ConfigModel):
    """Every flag of a manifest, with the split its buckets declare."""

    path: str | dict[str | date | datetime, str | Path] = Field(
        description="A namespace directory, a folder of them, or an archive; several versions are written as "
        "{instant it took effect: path}."
    )
    environment: str = Field(min_length=1, description="Slug of the environment audited.")
    start: Instant | None = Field(
        default=None,
        description="First instant counted (UTC); left out: when the first version that has the flag took "
        "effect, with one version when its files last changed.",
    )
    end: Instant | None = Field(default=None, description="First instant no longer counted (UTC).")


class FlagAuditScaffolder(Scaffolder):
    """Writes a commented defs.yaml in mode observe."""

    def scaffold(self, request: ScaffoldRequest[Any]) -> None:
        """Write the file `dg scaffold defs exd_dagster.FlagAuditComponent NAME` leaves."""
        if request.scaffold_format == "python":
            dg.scaffold_component(request, {})
            return
        text = component_yaml(request.type_name, example(_fleet_for(request)))
        if request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def _fleet_for(request: ScaffoldRequest[Any]) -> str:
    """Return a name for a further fleet of a project, its folder's; the first one needs none."""
    place = request.target_path
    root = next((folder for folder in place.parents if folder.name == "defs"), place.parent)
    written = any(request.type_name in file.read_text(encoding="utf-8") for file in root.rglob("*.yaml"))
    folder = place.parent if place.suffix else place
    return re.sub(r"[^A-Za-z0-9_]", "_", folder.name) if written else ""


@dg.scaffold_with(FlagAuditScaffolder)
class FlagAuditComponent(dg.Component, ConfigModel, dg.Resolvable):
    """Hourly variant bins, blocking checks, a nightly audit and alerts for feature flags.

    The same as `build_flag_audit_defs`, under the same names. Relative paths are those of Dagster's working
    directory; `{{ context.project_root }}` names the project's own folder.
    """

    records: AnyRecords = Field(
        description="Where the evaluation records are: a path or glob, or a mapping whose type is parquet, "
        "files or table."
    )
    store: AnyStore = Field(
        description="Where the bins are: a DuckDB file, md:DATABASE, or a mapping with type: ducklake."
    )
    flags: tuple[FlagAudit, ...] = Field(
        default=(), description="The flags to audit; one that the manifest has too replaces it."
    )
    defaults: dict[str, Any] = Field(
        default={}, description="Values for every flag that does not give its own."
    )
    manifest: ManifestFlags | None = Field(
        default=None, description="A manifest whose flags are audited, with the splits it declares."
    )
    flags_from: tuple[VendorFlags, ...] = Field(
        default=(),
        description="Exports of vendors whose flags are audited; `flags` replaces one that it names.",
    )
    alerts: tuple[AnyAlerts, ...] = Field(
        default=(), description="Alert destinations; none: nothing is sent, the checks still block."
    )
    routes: tuple[Route, ...] | None = Field(
        default=None,
        description="Which alert goes where: the first match wins, the last one has only `to`; "
        "left out: every alert to every destination.",
    )
    digest: bool | tuple[str, ...] = Field(
        default=True,
        description="The digest after each audit: true sends it to the default destinations for people, "
        "false turns it off, names send it to these.",
    )
    reconcile: tuple[Reconcile, ...] = Field(
        default=(),
        description="Reports whose units per arm are compared with those exposed, as a check of their asset.",
    )
    on_shutoff: AnyHook | None = Field(
        default=None,
        description="Called once when the split of a blocking flag is wrong: webhook or callback.",
    )
    thresholds: AnyThresholds | None = Field(
        default=None, description="Levels of the checks, or the path of exd's thresholds.toml."
    )
    timing: Timing | None = Field(
        default=None, description="When an hour is closed, and how far back each run reads."
    )
    grain: Grain | None = Field(
        default=None, description="One partition per hour or day; left out: hours up to 50 flags."
    )
    name: str = Field(
        default=DEFAULT_FLEET,
        min_length=1,
        description="Of the fleet; each component of a project has its own.",
    )
    key_prefix: tuple[str, ...] = Field(
        default=("experiments",), description="First parts of every asset key."
    )
    group_name: str = Field(default="experiments", min_length=1, description="Asset group.")
    group_by: GroupBy | None = Field(
        default=None,
        description="A group of bins for each owner, namespace or environment; left out: one for all.",
    )
    records_asset: str | None = Field(
        default=None, description="Asset that loads the records, as a/b, where the same project has it."
    )
    mode: Mode | None = Field(
        default=None, description="What a failure does for every flag that names no mode of its own."
    )
    timezone: Zone | None = Field(
        default=None, description="Of the audience of every flag that names none of its own; left out: UTC."
    )
    holidays: Holidays = Field(
        default=(), description='Left out of the traffic test of flags that name none: "US", "DE-BY", ...'
    )
    events: tuple[AnyEvent, ...] = Field(
        default=(), description="Periods known to be different; those of a flag are added."
    )
    asset_attributes: dict[str, Any] = Field(
        default={}, description="Further attributes of every bins asset: tags, automation_condition, ..."
    )
    pool: str = Field(
        default=STORE_POOL, min_length=1, description="Concurrency pool of every op that writes the store."
    )
    op_tags: dict[str, Any] = Field(
        default={}, description="Tags of the ops that build bins and run checks, for executor or launcher."
    )
    audit_every: Literal["day", "hour"] = Field(
        default="day",
        description="Audit the last whole UTC day every night, or the last closed hours every hour.",
    )
    cron: str | None = Field(
        default="", description="When the audit runs; empty: at 03:30, or ten past each hour; null: never."
    )
    cron_timezone: str = Field(default="UTC", description="Time zone of `cron`.")
    max_age: Duration | None = Field(
        default=None,
        description="A flag whose newest audited hour is older than this is not trusted, for example 2d.",
    )
    _urls_allowed: ClassVar[bool] = False

    publish: Warehouse | None = Field(default=None, description="Where the tables are published.")
    base_url: str | None = Field(default=None, description="Address of the Dagster UI, for links in alerts.")
    monitoring: Monitoring | None = Field(
        default=None, description="Where metrics of audits and deliveries go, and the heartbeat."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        """Give each flag the defaults it does not set itself."""
        defaults, flags = values.get("defaults"), values.get("flags")
        if isinstance(defaults, Mapping) and isinstance(flags, (list, tuple)):
            known = {key: value for key, value in defaults.items() if key in DEFAULTS}
            flags = [{**known, **flag} if isinstance(flag, Mapping) else flag for flag in flags]
            return {**values, "flags": flags}
        return values

    @field_validator("defaults")
    @classmethod
    def _known_defaults(cls, defaults: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in defaults if name not in DEFAULTS]
        if unknown:
            faults = [f"{name}: is not a known key.{did_you_mean(name, DEFAULTS)}" for name in unknown]
            raise ConfigError("defaults", faults)
        return defaults

    @model_validator(mode="after")
    def _some_flags(self) -> Self:
        if not self.flags and self.manifest is None and not self.flags_from:
            raise ValueError("flags: is empty; list the flags to audit, or name a manifest or flags_from")
        if not self._urls_allowed and any(source.url for source in self.flags_from):
            fix = "write type: exd_dagster.StateBackedFlagAuditComponent, which keeps the answer as state"
            raise ValueError(f"flags_from: url is asked for by no plain component; {fix}")
        return self

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return what Dagster reads the YAML into; the values are checked here, with instructive faults."""

        class Written(_Written):
            component: ClassVar[type[BaseModel]] = cls

        return Written

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> "FlagAuditComponent":
        """Render the templates of `model` and check every value.

        Raises:
            ConfigError: with every fault of the file and its line.
        """
        rendering = Rendering(context)
        values = {name: rendering.value(value, (name,)) for name, value in model.model_dump().items()}
        faults = rendering.faults
        try:
            component = cls(**values)
        except ConfigError as error:
            faults += error.faults
        if faults:
            raise ConfigError(f"{cls.__name__}{file_of(context)}", with_lines(faults, context))
        return component

    def audits(self) -> list[FlagAudit]:
        """Return the flags of the manifest, of vendors and those listed; a later one replaces an earlier.

        Raises:
            ConfigError: when the manifest or an export cannot be read.
        """
        read = [*self._manifest_flags(), *self.vendor_flags()]
        with_defaults = [
            FlagAudit(**{**self.defaults, **flag.model_dump(exclude_defaults=True)}) for flag in read
        ]
        return list({flag.id: flag for flag in [*with_defaults, *self.flags]}.values())

    def vendor_flags(self) -> list[FlagAudit]:
        """Return the flags of the exports.

        Raises:
            ConfigError: when an export cannot be read.
        """
        return [flag for source in self.flags_from for flag in source.of_path()]

    def _manifest_flags(self) -> list[FlagAudit]:
        if self.manifest is None:
            return []
        source = self.manifest
        return flags_from_manifest(
            source.path, environment=source.environment, start=source.start, end=source.end
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build what `build_flag_audit_defs` builds.

        Raises:
            ConfigError: when another component of the project has the same name or builds the same bins.
        """
        others = [each for each in project_components(context, FlagAuditComponent) if each is not self]
        if faults := self._clashes(others):
            raise ConfigError(f"{type(self).__name__} of {context.path}", faults)
        known = signature(build_flag_audit_defs).parameters
        given = {name: getattr(self, name) for name in type(self).model_fields if name in known}
        loader = dg.AssetKey.from_user_string(self.records_asset) if self.records_asset else None
        return build_flag_audit_defs(**{**given, "flags": self.audits(), "records_asset": loader})

    def _clashes(self, others: Sequence["FlagAuditComponent"]) -> list[str]:
        """Return why this component cannot be combined with the others of the project."""
        faults = []
        for other in others:
            if other.name == self.name:
                flags = ", ".join(str(flag.id) for flag in other.audits()[:_NAMED])
                said = f"name: '{self.name}' is that of another component too, which audits {flags}"
                faults.append(f"{said}; give the newer one a `name`, for example that of its folder")
                continue
            faults += clash(other.claim(), self.claim())
        return faults

    def claim(self) -> Claim:
        """Return what the fleet of this component takes for itself."""
        return Claim(self.name, bins_asset_keys(self.audits(), self.key_prefix), place_of(self.store).address)


class _Written(BaseModel):
    """The attributes as written in the file; the component's own schema describes them to editors."""

    model_config = ConfigDict(extra="allow")

    component: ClassVar[type[BaseModel]] = FlagAuditComponent

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the schema that `dg check yaml` validates a file against."""
        schema = yaml_schema(cls.component)
        flag = schema["properties"]["flags"]["items"]
        flag["required"] = ["key"]  # start may come from defaults
        schema["properties"]["defaults"] = {
            "type": "object",
            "description": schema["properties"]["defaults"]["description"],
            "properties": {name: flag["properties"][name] for name in DEFAULTS},
            "additionalProperties": False,
            "propertyNames": {"enum": list(DEFAULTS)},
        }
        return schema
