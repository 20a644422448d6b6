"""The main entry point: builds Dagster definitions from flags, records, a store and destinations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, Literal, TypeAlias

import dagster as dg
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.policy.routes import Route
from exd_dagster.config import FlagAudit, FlagId, Mode, Thresholds, Timing
from exd_dagster.config.arguments import checked_arguments
from exd_dagster.definitions.alerting.destinations import CallbackAlerts, WebhookAlerts
from exd_dagster.definitions.alerting.health import HEALTH, build_alerting_health
from exd_dagster.definitions.alerting.monitoring import Monitoring, build_monitoring_sensor
from exd_dagster.definitions.alerting.sensor import AlertDestination, build_check_alert_sensor
from exd_dagster.definitions.assets import (
    BINS_BUILT,
    STORE_POOL,
    AssetAttributes,
    Grain,
    attributes_of,
    bins_asset_keys,
    bins_partitions,
    build_variant_bins_assets,
    records_asset_key,
)
from exd_dagster.definitions.catalog import GroupBy, group_of, records_kinds, records_metadata
from exd_dagster.definitions.checks import check_keys, flag_checks, trust_key
from exd_dagster.definitions.decisions.asset import build_flag_decisions
from exd_dagster.definitions.decisions.sensor import build_decision_sensor
from exd_dagster.definitions.flag_trust import build_flag_trust
from exd_dagster.definitions.fleet.dagster_values import TRIED, check_dagster_values, check_types, key_of
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET, FleetNames
from exd_dagster.definitions.fleet.plan import AuditPlan, remember, running
from exd_dagster.definitions.ledger import build_incident_ledger, ledger_news
from exd_dagster.definitions.publish.asset import build_publication
from exd_dagster.definitions.publish.warehouse import Warehouse
from exd_dagster.definitions.reports.reconcile import Reconcile, reconcile_checks
from exd_dagster.definitions.run_tags import AUDIT_TAG
from exd_dagster.definitions.schedules import (
    HOURLY,
    NIGHTLY,
    build_nightly_audit_schedule,
    build_records_sensor,
)
from exd_dagster.definitions.store import BinStoreResource
from exd_dagster.errors import ConfigError
from exd_dagster.stats.checks.assignment_collision import ASSIGNMENT_COLLISION
from exd_dagster.telemetry.sources.duckdb import Records, as_records


@checked_arguments(*TRIED, "flags", "store", "alerts", "holidays")
def build_flag_audit_defs(  # noqa: PLR0913 - the entry point has every option
    flags: Sequence[FlagAudit],
    records: Records | str | Any,
    store: DuckDBResource,
    *,
    alerts: Sequence[AlertDestination] = (),
    routes: Sequence[Route | Mapping[str, Any]] | None = None,
    digest: bool | Sequence[str] = True,
    reconcile: Sequence[Reconcile | Mapping[str, Any]] = (),
    on_shutoff: WebhookAlerts | CallbackAlerts | None = None,
    thresholds: Thresholds | None = None,
    timing: Timing | None = None,
    grain: Grain | None = None,
    name: str = DEFAULT_FLEET,
    key_prefix: Sequence[str] = ("experiments",),
    group_name: str = "experiments",
    group_by: GroupBy | None = None,
    records_asset: dg.AssetKey | str | None = None,
    mode: Mode | None = None,
    timezone: str | None = None,
    holidays: str | Sequence[str] = (),
    events: Sequence[Any] = (),
    asset_attributes: AssetAttributes | None = None,
    pool: str = STORE_POOL,
    op_tags: Mapping[str, Any] | None = None,
    audit_every: Literal["day", "hour"] = "day",
    cron: str | None = "",
    cron_timezone: str = "UTC",
    schedule_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
    sensor_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
    max_age: timedelta | None = None,
    publish: Warehouse | None = None,
    base_url: str | None = None,
    monitoring: Monitoring | None = None,
) -> dg.Definitions:
    """Build assets, blocking checks, nightly schedule and alert sensor for a fleet of flags.

    Args:
        flags: the flags to audit.
        records: where the evaluation records are: a `ParquetRecords`, `FileRecords`, `TableRecords` or
            `IbisRecords`, a path or glob, or a pandas DataFrame.
        store: where the bins are: a DuckDB file, `md:<database>` of MotherDuck, or a `DuckLakeResource`,
            which several workers share.
        alerts: destinations of alerts; none: nothing is sent, the checks still block.
        routes: which alert goes where, first match wins; None: every alert to every destination.
        digest: True sends the digest after each audit to the default destinations, names send it there.
        reconcile: reports whose units per arm are compared with those exposed, as a check of their asset.
        on_shutoff: called once when the split of a blocking flag is wrong.
        thresholds: the levels of the checks.
        timing: when an hour is closed and how far back each run looks for late data.
        grain: "hour" or "day" partitions; None: hours up to 50 flags, days above.
        name: of the fleet, when a code location has several: its jobs, schedule and sensors, its store,
            decisions and `flag_trust` have it in their names.
        key_prefix: first parts of every asset key.
        group_name: asset group.
        group_by: gives bins a group for each owner, namespace or environment, called `group_name` and that;
            None: one for all.
        records_asset: the asset that loads the records; each time it is materialized, an audit runs too.
        mode: what a failure does, for every flag without its own mode: observe (digest only), warn (alert at
            once), or block (alert at once, and reports are blocked).
        timezone: of the audience, for every flag without its own; None: UTC.
        holidays: excluded from the traffic test, for every flag without its own: "US", "DE-BY", ...
        events: periods known to be different, (from, to, note); those of a flag are added.
        asset_attributes: further `AssetSpec` arguments of every bins asset (tags, automation_condition, ...),
            or a function that gives them for one flag.
        pool: concurrency pool of every op that writes the store.
        op_tags: tags of the ops that build bins and run checks, for an executor or a launcher.
        audit_every: "day" audits whole UTC days each night, "hour" every hour that has closed.
        cron: when the audit runs, by default 03:30 or ten past each hour; None: no schedule.
        cron_timezone: time zone of `cron`.
        schedule_status: whether the schedule starts automatically; running by default.
        sensor_status: whether the alert sensor starts automatically; running by default.
        max_age: a flag whose newest audited hour is older than this is not trusted, and bins of a blocking
            flag that were built longer ago fail their freshness policy; None: a result is valid until the
            next.
        publish: the warehouse that bins, trust and verdicts are written to after each audit.
        base_url: address of the Dagster UI, for links in alerts.
        monitoring: where metrics and the heartbeat go; None: nowhere.

    Returns:
        Definitions to use directly or to merge into a project's own.

    Raises:
        ConfigError: for a flag listed twice or a destination that cannot work, all faults at once.

    Examples:
        >>> defs = build_flag_audit_defs(
        ...     flags=[FlagAudit(key="new-checkout", split={"on": 0.5, "off": 0.5}, start="2026-03-01")],
        ...     records="logs/*.parquet",
        ...     store=DuckDBResource(database="exd.duckdb"),
        ... )
    """
    check_types(flags, store, alerts)
    check_dagster_values(group_name, key_prefix, pool, cron, cron_timezone, max_age)
    loader = key_of(records_asset)
    fleet = _Fleet(
        _with_defaults(flags, events, mode=mode, timezone=timezone, holidays=holidays),
        as_records(records),
        FleetNames(name),
        tuple(key_prefix),
        group_name,
        grain,
    )
    how: dict[str, Any] = {"pool": pool, "op_tags": op_tags, "fleet": name}
    attributes = partial(_attributes, max_age, asset_attributes, group_name, group_by)
    bins = fleet.bins(attributes, timing=timing, records_asset=loader, **how)
    watched, reports = reconcile_checks(reconcile, fleet.flags, **how)
    sensor = build_check_alert_sensor(
        fleet.monitored | watched,
        alerts,
        routes=routes,
        digest=digest,
        on_shutoff=on_shutoff,
        **fleet.alert_options(base_url, sensor_status),
    )
    defs = dg.Definitions.merge(
        dg.Definitions(
            assets=[bins] if loader else [fleet.records_asset, bins],
            asset_checks=fleet.checks(thresholds, {**how, "max_age": max_age, "timing": timing}) + reports,
            jobs=[fleet.job],
            schedules=fleet.schedules(audit_every == "hour", cron, cron_timezone, schedule_status),
            sensors=[sensor, *fleet.records_sensors(loader, sensor_status)],
            resources={fleet.names.store: BinStoreResource(duckdb=store)},
        ),
        fleet.decisions(watched, sensor_status),
        fleet.trust(base_url or "", sensor_status, pool, thresholds, publish, watched),
        fleet.alerting(monitoring, sensor_status, hourly=audit_every == "hour"),
    )
    remember(fleet.plan(store, defs, thresholds or Thresholds(), timing or Timing(), pool))
    return defs


def _with_defaults(
    flags: Sequence[FlagAudit], events: Sequence[Any], **defaults: Any
) -> tuple[FlagAudit, ...]:
    """Give every flag the fleet's values where it names none of its own, and the fleet's events."""
    given = {name: value for name, value in defaults.items() if value}
    if not given and not events:
        return tuple(flags)
    faults: list[str] = []
    found = []
    for flag in flags:
        own = {name: value for name, value in dict(flag).items() if name in flag.model_fields_set}
        try:
            found.append(FlagAudit(**{**given, **own, "events": (*events, *flag.events)}))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError("build_flag_audit_defs", list(dict.fromkeys(faults)))
    return tuple(found)


def _attributes(
    max_age: timedelta | None,
    given: AssetAttributes | None,
    group_name: str,
    group_by: GroupBy | None,
    flag: FlagAudit,
) -> Mapping[str, Any]:
    """Return the attributes of a bins asset: its group, its freshness policy, and those given, which win."""
    attributes = {"group_name": group_of(flag, group_name, group_by), **attributes_of(flag, given)}
    if max_age is None or flag.mode != "block":
        return attributes
    return {"freshness_policy": dg.FreshnessPolicy.time_window(fail_window=max_age), **attributes}


_Checks: TypeAlias = dict[dg.AssetCheckKey, FlagAudit]


@dataclass(frozen=True)
class _Fleet:
    """The flags of one call, and the names that everything built for them shares."""

    flags: tuple[FlagAudit, ...]
    records: Records
    names: FleetNames
    key_prefix: tuple[str, ...]
    group_name: str
    grain: Grain | None

    @cached_property
    def keys(self) -> dict[FlagId, dg.AssetKey]:
        return bins_asset_keys(self.flags, self.key_prefix)

    @cached_property
    def partitions(self) -> dg.TimeWindowPartitionsDefinition:
        return bins_partitions(self.flags, self.grain)

    def alert_options(self, base_url: str | None, status: dg.DefaultSensorStatus) -> dict[str, Any]:
        daily = isinstance(self.partitions, dg.DailyPartitionsDefinition)
        return {
            "name": self.names.alert_sensor,
            "fleet": self.names.fleet,
            "grain": "day" if daily else "hour",
            "collisions": dg.AssetCheckKey(self.names.trust, ASSIGNMENT_COLLISION.name),
            "base_url": base_url,
            "default_status": status,
        }

    def plan(
        self, store: DuckDBResource, defs: dg.Definitions, thresholds: Thresholds, timing: Timing, pool: str
    ) -> AuditPlan:
        return AuditPlan(
            name=self.names.fleet,
            bins=self.keys,
            flags=self.flags,
            records=self.records,
            store=store,
            thresholds=thresholds,
            timing=timing,
            pool=pool,
            running=running(defs),
        )

    @cached_property
    def job(self) -> Any:
        return dg.define_asset_job(
            self.names.audit_job,
            selection=dg.AssetSelection.assets(*self.keys.values()),
            executor_def=dg.in_process_executor,
            description="Builds the bins of every flag and runs their checks.",
            tags={AUDIT_TAG: "true"},
        )

    @property
    def judging(self) -> _Checks:
        """Every check of a flag, without `bins_built`."""
        return {check: flag for flag in self.flags for check in check_keys(self.keys[flag.id], flag).values()}

    @property
    def trust_checks(self) -> dict[FlagId, dg.AssetCheckKey]:
        """The check `trust` of each flag."""
        return {flag: trust_key(key) for flag, key in self.keys.items()}

    @property
    def monitored(self) -> _Checks:
        """Every check, including `bins_built`."""
        built = {dg.AssetCheckKey(self.keys[flag.id], BINS_BUILT): flag for flag in self.flags}
        return {**self.judging, **built}

    @property
    def records_asset(self) -> dg.AssetSpec:
        """The external asset that represents the records."""
        return dg.AssetSpec(
            records_asset_key(self.records, self.names.fleet),
            description=f"Evaluation records, read in place: {self.records.place}.",
            group_name=self.group_name,
            kinds=records_kinds(self.records),
            metadata=records_metadata(self.records),
        )

    def bins(self, attributes: AssetAttributes, **options: Any) -> dg.AssetsDefinition:
        return build_variant_bins_assets(
            self.flags,
            self.records,
            name=self.names.bins_op,
            grain=self.grain,
            key_prefix=self.key_prefix,
            group_name=self.group_name,
            asset_attributes=attributes,
            **options,
        )

    def checks(self, thresholds: Thresholds | None, how: Mapping[str, Any]) -> list[dg.AssetChecksDefinition]:
        how = {**how, "partitions": self.partitions, "thresholds": thresholds, "records": self.records}
        return [flag_checks(flag, self.keys[flag.id], **how) for flag in self.flags]

    def schedules(
        self, hourly: bool, cron: str | None, cron_timezone: str, status: dg.DefaultScheduleStatus
    ) -> list[dg.ScheduleDefinition]:
        if cron is None:
            return []
        return [
            build_nightly_audit_schedule(
                self.job,
                self.partitions,
                bins=list(self.keys.values()),
                name=self.names.schedule(hourly=hourly),
                cron=cron or (HOURLY if hourly else NIGHTLY),
                cron_timezone=cron_timezone,
                hourly=hourly,
                default_status=status,
            )
        ]

    def records_sensors(
        self, asset: dg.AssetKey | None, status: dg.DefaultSensorStatus
    ) -> list[dg.SensorDefinition]:
        if asset is None:
            return []
        name, bins = self.names.records_sensor, list(self.keys.values())
        return [
            build_records_sensor(
                self.job, self.partitions, asset, bins=bins, name=name, default_status=status
            )
        ]

    def decisions(self, reports: _Checks, status: dg.DefaultSensorStatus) -> dg.Definitions:
        fleet, checks = self.names.fleet, self.monitored | reports
        asset, job = build_flag_decisions(checks, group_name=self.group_name, fleet=fleet)
        sensor, again = build_decision_sensor(self.judging, fleet=fleet, default_status=status)
        return dg.Definitions(assets=[asset], jobs=[job, again], sensors=[sensor])

    def trust(
        self,
        base_url: str,
        status: dg.DefaultSensorStatus,
        pool: str,
        thresholds: Thresholds | None,
        warehouse: Warehouse | None,
        reports: _Checks,
    ) -> dg.Definitions:
        fleet, group = self.names.fleet, self.group_name
        ledger = build_incident_ledger(self.flags, thresholds, fleet=fleet, group_name=group, pool=pool)
        further = [ledger]
        if warehouse:
            published = self.judging | reports
            further.append(build_publication(warehouse, published, fleet=fleet, group_name=group, pool=pool))
        asset, job, sensor = build_flag_trust(
            self.flags,
            self.trust_checks,
            fleet=fleet,
            group_name=group,
            base_url=base_url,
            sensor_status=status,
            pool=pool,
            also=[dg.AssetCheckKey(self.names.alerting, HEALTH)],
            also_assets=[each.key for each in further],
            reports=reports,
            news=partial(ledger_news, fleet=fleet),
        )
        return dg.Definitions(assets=[asset, *further], jobs=[job], sensors=[sensor])

    def alerting(
        self, monitoring: Monitoring | None, status: dg.DefaultSensorStatus, *, hourly: bool
    ) -> dg.Definitions:
        asset, health = build_alerting_health(self.names.fleet, group_name=self.group_name)
        sensors = []
        if monitoring is not None:
            sensor = build_monitoring_sensor(
                monitoring, self.trust_checks, self.names, hourly=hourly, default_status=status
            )
            sensors.append(sensor)
        return dg.Definitions(assets=[asset], asset_checks=[health], sensors=sensors)
