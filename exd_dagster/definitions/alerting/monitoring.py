"""Monitoring of the audit itself: a sensor that publishes metrics, and says when audits no longer end."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, ClassVar, TypeAlias

import dagster as dg
from pydantic import Field, TypeAdapter, ValidationError, WrapValidator, model_validator
from typing_extensions import Self

from exd_dagster.alerts.channels.guard import redact, url_faults
from exd_dagster.alerts.channels.settings import is_late, read
from exd_dagster.alerts.deliver import within
from exd_dagster.alerts.model import AlertState
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.alerts.state import StateStore
from exd_dagster.config import ConfigModel, Duration, FlagId
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.alerting.health import HEALTH, health_faults, health_result
from exd_dagster.definitions.assets import BINS_BUILT
from exd_dagster.definitions.fleet.names import FleetNames
from exd_dagster.definitions.internals import cursor_storage, last_run_seconds, latest_checks
from exd_dagster.errors import ConfigError, ExdError
from exd_dagster.monitoring.heartbeat import ping
from exd_dagster.monitoring.metrics import (
    METRICS,
    FlagState,
    Sample,
    deliveries_of,
    flag_state,
    last_ended,
    overdue,
    samples,
)
from exd_dagster.monitoring.otlp import OtlpMetrics
from exd_dagster.monitoring.prometheus import write_prometheus
from exd_dagster.monitoring.totals import Totals, counted

DAILY, HOURLY = timedelta(hours=26), timedelta(hours=3)
"""Within this an audit ends by default: a day or an hour, and time for the run."""

LateText: TypeAlias = Annotated[
    str, WrapValidator(lambda value, check: value if is_late(value) else check(value))
]
"""Text, or an object that gives it when it is needed, such as `dg.EnvVar("NAME")`."""


class Monitoring(ConfigModel):
    """Where metrics of audits and deliveries go, and what says from outside that audits no longer end.

    A receiver that fails is logged; it stops neither an audit nor a delivery.

    Examples:
        >>> Monitoring(heartbeat_url=dg.EnvVar("HEARTBEAT_URL"), prometheus_file="/var/lib/exd.prom").timeout
        5.0
    """

    secrets: ClassVar[frozenset[str]] = frozenset({"heartbeat_url"})
    late: ClassVar[frozenset[str]] = frozenset({"otlp_endpoint"})

    audit_within: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description="An audit must end within this; left out: 26h, or 3h where `audit_every` is hour.",
    )
    heartbeat_url: LateText | None = Field(
        default=None,
        repr=False,
        description="Called each minute while audits end in time and messages are delivered, with /fail and "
        "the reason otherwise: a check of healthchecks.io or its kind.",
    )
    otlp_endpoint: LateText | None = Field(
        default=None,
        description="Address of an OTLP/HTTP receiver, such as http://collector:4318 (extra `otel`). "
        "Headers and certificates: the standard variables OTEL_EXPORTER_OTLP_*.",
    )
    prometheus_file: str | None = Field(
        default=None,
        pattern=r"\.prom$",
        description="File for the textfile collector of Prometheus' node_exporter, one for each fleet; ends "
        "in .prom (extra `prometheus`).",
    )
    timeout: float = Field(default=5.0, gt=0, le=15, description="Seconds one receiver may take.")
    allow_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts of `heartbeat_url` that may be private or plain http."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        url = self.heartbeat_url
        if url is not None and not is_late(url) and (faults := url_faults(url, self.allow_hosts)):
            raise ConfigError("Monitoring", [f"heartbeat_{faults[0]}"])  # its fault quotes no value
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the sensor keeps between two ticks, in its cursor.

    Attributes:
        since: its first tick (UTC).
        totals: deliveries so far.
        healthy: the last result of `alerting_health`.
    """

    since: datetime
    totals: Totals = field(default_factory=Totals)
    healthy: bool = True


_SEEN = TypeAdapter(Seen)


def build_monitoring_sensor(
    monitoring: Monitoring,
    trust_checks: Mapping[FlagId, dg.AssetCheckKey],
    names: FleetNames,
    *,
    hourly: bool = False,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Build the sensor that publishes metrics and calls the heartbeat.

    Args:
        monitoring: where to.
        trust_checks: the `trust` check of each flag.
        names: of the fleet.
        hourly: whether audits run each hour.
        default_status: whether the sensor starts automatically; running by default.
    """
    due = monitoring.audit_within or (HOURLY if hourly else DAILY)

    @dg.sensor(
        name=names.monitoring,
        minimum_interval_seconds=60,
        default_status=default_status,
        description="Publishes metrics of audits and deliveries, and says when no audit has ended in time.",
    )
    def monitor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        begun, now = time.monotonic(), utc_now()
        before = _seen(context.cursor, now)
        flags, state, wrong = _read(context.instance, trust_checks, names, now)
        late = overdue(last_ended(flags), before.since, due, now)
        faults = [*([late] if late else []), *wrong]
        totals = counted(before.totals, state)
        measured = samples(
            flags,
            state,
            totals,
            late=bool(late),
            healthy=not faults,
            audit_seconds=last_run_seconds(context.instance, names.audit_job),
            now=now,
        )
        measured.append(Sample("exd.monitoring.duration", time.monotonic() - begun))
        problems = publish(monitoring, names.fleet, measured, before.totals, faults, context.log)
        after = replace(before, totals=totals, healthy=not faults)
        return dg.SensorResult(
            skip_reason=" ".join([*faults, *problems]) or "audits end in time, messages are delivered",
            cursor=_SEEN.dump_json(after).decode(),
            asset_events=[_evaluation(names, state, faults, now)] if after.healthy != before.healthy else [],
        )

    return monitor


def _read(
    instance: dg.DagsterInstance,
    trust_checks: Mapping[FlagId, dg.AssetCheckKey],
    names: FleetNames,
    now: datetime,
) -> tuple[list[FlagState], AlertState, list[str]]:
    """Return the state of each flag, that of the alerts, and what is wrong with them."""
    built = {key: dg.AssetCheckKey(key.asset_key, BINS_BUILT) for key in trust_checks.values()}
    records, _ = latest_checks(instance, [*built, *built.values()])
    known = {record.key: record for record in records}
    flags = []
    for key, bins_key in built.items():
        record, bins = known.get(key), known.get(bins_key)
        built_at = bins.at if bins is not None and bins.passed else None
        facts, passed = (record.metadata, record.passed) if record is not None else ({}, None)
        flags.append(flag_state(facts, passed, built_at, now))
    try:
        state = StateStore(cursor_storage(instance), names.alert_sensor).load() or AlertState()
    except ExdError as error:
        return flags, AlertState(), [f"{error}."]
    return flags, state, health_faults(state, now)


def _seen(cursor: str | None, now: datetime) -> Seen:
    try:
        return _SEEN.validate_json(cursor) if cursor else Seen(since=now)
    except ValidationError:  # of another version
        return Seen(since=now)


def _evaluation(
    names: FleetNames, state: AlertState, faults: Sequence[str], now: datetime
) -> dg.AssetCheckEvaluation:
    """Return the answer of `alerting_health`, whose own run follows an audit and so does not come now."""
    result = health_result(state, faults, now)
    return dg.AssetCheckEvaluation(
        asset_key=names.alerting,
        check_name=HEALTH,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def publish(
    monitoring: Monitoring,
    fleet: str,
    measured: Sequence[Sample],
    before: Totals,
    faults: Sequence[str],
    log: logging.Logger,
) -> list[str]:
    """Send to every receiver, each at most for its time; return what failed, which is logged too.

    Args:
        monitoring: the receivers.
        fleet: name of the fleet.
        measured: gauges, and totals of counters.
        before: the totals as they were published last.
        faults: what is wrong with audits or deliveries, for the heartbeat.
        log: receives one line per receiver that fails.
    """
    receivers: dict[str, Callable[[], None]] = {}
    if (endpoint := monitoring.otlp_endpoint) is not None:
        receivers["otlp_endpoint"] = lambda: _otlp(
            read(endpoint, "otlp_endpoint"), fleet, monitoring.timeout
        ).export(*_increments(measured, before))
    if (path := monitoring.prometheus_file) is not None:
        receivers["prometheus_file"] = lambda: write_prometheus(path, measured, {"fleet": fleet})
    if (url := monitoring.heartbeat_url) is not None:
        receivers["heartbeat_url"] = lambda: ping(
            read(url, "heartbeat_url"),
            faults,
            timeout=monitoring.timeout,
            allow_hosts=monitoring.allow_hosts,
        )
    return [why for name, send in receivers.items() if (why := _tried(name, send, monitoring.timeout, log))]


def _tried(name: str, send: Callable[[], None], seconds: float, log: logging.Logger) -> str:
    def attempt() -> Outcome:
        send()
        return Outcome(status="sent")

    outcome = within(seconds + 1, attempt)
    if outcome.status == "sent":
        return ""
    log.warning("Monitoring: %s: %s", name, redact(outcome.detail))
    return f"{name}: {outcome.detail}"


@cache
def _otlp(endpoint: str, fleet: str, timeout: float) -> OtlpMetrics:
    """One per process: a counter begins when it is made."""
    return OtlpMetrics(endpoint, {"exd.fleet": fleet}, timeout)


def _increments(measured: Sequence[Sample], before: Totals) -> tuple[list[Sample], list[Sample]]:
    """Return the gauges, and what the counters grew by."""
    gauges = [sample for sample in measured if not METRICS[sample.metric].counter]
    old = {(s.metric, tuple(s.attributes.items())): s.value for s in deliveries_of(before)}
    grown = [
        replace(sample, value=sample.value - old.get((sample.metric, tuple(sample.attributes.items())), 0.0))
        for sample in measured
        if METRICS[sample.metric].counter
    ]
    return gauges, grown
