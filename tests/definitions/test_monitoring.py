"""The monitoring sensor: metrics, the heartbeat, and what `alerting_health` says when no audit ends."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from prometheus_client.parser import text_string_to_metric_families

from exd_dagster.alerts.model import AlertState, OutboxEntry
from exd_dagster.alerts.state import StateStore
from exd_dagster.definitions.alerting.monitoring import Monitoring
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.definitions.internals import cursor_storage
from exd_dagster.errors import ConfigError
from tests.fleet import Fleet
from tests.logs import healthy
from tests.monitoring.test_metrics import points
from tests.servers.http import HttpServer, Reply

HOUR = timedelta(hours=1)
LOCAL = ("127.0.0.1",)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def heartbeat() -> Iterator[HttpServer]:
    with HttpServer(default=Reply(body="OK")) as server:
        yield server


BROKEN = [{"control": 190, "treatment": 10}] * 30


class Watched:
    """A fleet of one good and one broken flag, its monitoring sensor, and the cursor between ticks."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **settings: Any) -> None:
        settings = {"allow_hosts": LOCAL, **settings}
        self.fleet = Fleet(
            folder, {"good": healthy(30), "bad": BROKEN}, options={"monitoring": Monitoring(**settings)}
        )
        self.instance = instance
        self.sensor = self.fleet.defs.resolve_sensor_def("exd_monitoring")
        self.cursor: str | None = None

    def tick(self, after: timedelta = timedelta()) -> Any:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, sensor_name="exd_monitoring"
        )
        with time_machine.travel(datetime.now(timezone.utc) + after, tick=True):
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        for event in data.asset_events:  # as the daemon does
            self.instance.report_runless_asset_event(event)
        return data

    def audit(self) -> None:
        self.fleet.run(self.instance, self.fleet.bins)


def values(path: Path) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def health(instance: dg.DagsterInstance) -> tuple[bool, str]:
    """Return the latest answer of `alerting_health`."""
    key = dg.AssetCheckKey(dg.AssetKey("alerting"), "alerting_health")
    storage = instance.event_log_storage
    evaluation = storage.get_latest_asset_check_execution_by_key([key])[key].evaluation
    return evaluation.passed, str(evaluation.description)


def test_after_an_audit_both_receivers_know_which_flags_block(tmp_path: Path, instance) -> None:
    with HttpServer() as otlp:
        watched = Watched(
            tmp_path, instance, otlp_endpoint=otlp.url, prometheus_file=str(tmp_path / "exd.prom")
        )
        watched.audit()
        said = watched.tick().skip_message
    assert said == "audits end in time, messages are delivered"
    written, sent = values(tmp_path / "exd.prom"), points(otlp.received[0])
    assert written["exd_flags", "exd", "blocked"] == sent["exd.flags"]["blocked",] == 1
    assert written["exd_flags", "exd", "trusted"] == sent["exd.flags"]["trusted",] == 1
    assert 0 <= written["exd_audit_age_seconds", "exd"] < 60
    assert written["exd_newest_hour_age_seconds", "exd"] > 0


def test_the_heartbeat_is_called_while_all_is_well(tmp_path: Path, instance, heartbeat) -> None:
    watched = Watched(tmp_path, instance, heartbeat_url=f"{heartbeat.url}/5e3c7e71")
    watched.audit()
    watched.tick()
    watched.tick()
    assert [request.path for request in heartbeat.received] == ["/5e3c7e71", "/5e3c7e71"]


def test_without_an_audit_in_time_the_heartbeat_fails_with_the_reason(
    tmp_path: Path, instance, heartbeat
) -> None:
    watched = Watched(tmp_path, instance, heartbeat_url=f"{heartbeat.url}/5e3c7e71", audit_within=26 * HOUR)
    watched.audit()
    watched.tick(25 * HOUR)
    watched.tick(27 * HOUR)
    assert [request.path for request in heartbeat.received] == ["/5e3c7e71", "/5e3c7e71/fail"]
    assert heartbeat.received[1].body.decode().startswith("No audit has ended for 27 hours")


def test_alerting_health_says_that_no_audit_ended_and_when_one_does_again(tmp_path: Path, instance) -> None:
    watched = Watched(tmp_path, instance)
    watched.audit()
    watched.tick(27 * HOUR)
    passed, said = health(instance)
    assert not passed
    assert said.startswith("No audit has ended for 27 hours")
    assert watched.tick(28 * HOUR).asset_events == []
    watched.tick()
    assert health(instance) == (True, "Every alert was delivered.")


def test_a_fleet_never_audited_is_overdue_from_the_first_tick_on(tmp_path: Path, instance, heartbeat) -> None:
    watched = Watched(tmp_path, instance, heartbeat_url=heartbeat.url, audit_within=2 * HOUR)
    watched.tick()
    watched.tick(3 * HOUR)
    assert [request.path for request in heartbeat.received] == ["/", "/fail"]


def test_repeated_checks_after_a_decision_are_no_audit(tmp_path: Path, instance) -> None:
    """They judge old bins again: a loader that stopped must not hide behind them."""
    watched = Watched(tmp_path, instance, prometheus_file=str(tmp_path / "exd.prom"))
    with time_machine.travel(datetime.now(timezone.utc) - 30 * HOUR, tick=True):
        watched.audit()
    watched.fleet.defs.resolve_job_def("exd_decision_checks").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert watched.tick().skip_message.startswith("No audit has ended for 30 hours")
    assert values(tmp_path / "exd.prom")["exd_audit_overdue", "exd"] == 1


def test_messages_that_are_late_fail_the_heartbeat(tmp_path: Path, instance, heartbeat) -> None:
    watched = Watched(tmp_path, instance, heartbeat_url=heartbeat.url)
    watched.audit()
    at = datetime.now(timezone.utc) - 3 * HOUR
    late = OutboxEntry(
        id="p", destination="ops", channel="slack", reason="fire", created_at=at, next_attempt_at=at
    )
    StateStore(cursor_storage(instance), "exd_check_alerts").save(AlertState(outbox=(late,)))
    watched.tick()
    assert heartbeat.received[0].path == "/fail"


def test_a_damaged_alerting_state_fails_the_heartbeat_and_metrics_still_go_out(
    tmp_path: Path, instance, heartbeat
) -> None:
    watched = Watched(
        tmp_path, instance, heartbeat_url=heartbeat.url, prometheus_file=str(tmp_path / "exd.prom")
    )
    watched.audit()
    cursor_storage(instance).set_cursor_values({"exd_dagster/alerts/exd_check_alerts": "{"})
    watched.tick()
    assert heartbeat.received[0].path == "/fail"
    assert values(tmp_path / "exd.prom")["exd_alerting_healthy", "exd"] == 0


REFUSALS: dict[str, Callable[[HttpServer], dict[str, Any]]] = {
    "otlp": lambda server: {"otlp_endpoint": server.url},
    "heartbeat": lambda server: {"heartbeat_url": f"{server.url}/5e3c7e71"},
    "file": lambda server: {"prometheus_file": "/proc/none/exd.prom"},
    "unset": lambda server: {"otlp_endpoint": dg.EnvVar("NO_SUCH_RECEIVER")},
}


@pytest.mark.parametrize("which", REFUSALS)
@pytest.mark.parametrize(
    "reply", [Reply(500), Reply(stall=True), Reply(reset=True)], ids=["500", "stall", "reset"]
)
def test_a_receiver_that_fails_stops_neither_the_tick_nor_the_other(
    tmp_path: Path, instance, which: str, reply: Reply
) -> None:
    path = tmp_path / "exd.prom"
    with HttpServer(default=reply) as server, HttpServer(default=Reply(body="OK")) as good:
        settings = REFUSALS[which](server)
        other = (
            {"heartbeat_url": good.url} if "prometheus_file" in settings else {"prometheus_file": str(path)}
        )
        watched = Watched(tmp_path, instance, timeout=0.5, **settings, **other)
        watched.audit()
        said = watched.tick().skip_message
    assert next(iter(settings)) in said
    assert "5e3c7e71" not in said
    assert good.received or values(path)["exd_flags", "exd", "blocked"] == 1
    assert watched.cursor


def test_a_cursor_of_another_version_begins_anew(tmp_path: Path, instance) -> None:
    watched = Watched(tmp_path, instance)
    watched.cursor = json.dumps({"other": 1})
    watched.audit()
    assert watched.tick().skip_message == "audits end in time, messages are delivered"


def test_without_monitoring_there_is_no_sensor(tmp_path: Path) -> None:
    names = {sensor.name for sensor in Fleet(tmp_path, {"good": healthy(1)}).defs.sensors or ()}
    assert "exd_monitoring" not in names


YAML = """
records: logs/*.parquet
store: bins.duckdb
flags:
  - {key: checkout, start: 2026-03-01, split: {control: .5, treatment: .5}}
monitoring:
"""


def test_yaml_takes_the_same_settings_and_the_heartbeat_from_the_environment(monkeypatch) -> None:
    text = YAML + '  {audit_within: 30h, heartbeat_url: "{{ env.BEAT }}", prometheus_file: exd.prom}'
    component = FlagAuditComponent.resolve_from_yaml(text)
    assert component.monitoring.audit_within == 30 * HOUR
    monkeypatch.setenv("BEAT", "https://hc.example.com/1")
    assert component.monitoring.heartbeat_url.get_value() == "https://hc.example.com/1"
    assert dg.component_defs(component=component).resolve_sensor_def("exd_monitoring")


def test_yaml_refuses_a_heartbeat_address_written_down() -> None:
    with pytest.raises(ConfigError, match="a secret must not be written in this file"):
        FlagAuditComponent.resolve_from_yaml(YAML + "  {heartbeat_url: https://hc.example.com/1}")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"heartbeat_url": "http://hc.example.com/5e3c7e71"}, "scheme 'http' is not allowed"),
        ({"prometheus_file": "exd.txt"}, "prometheus_file"),
        ({"audit_within": timedelta(0)}, "audit_within"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, fault) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        Monitoring(**settings)
    assert "5e3c7e71" not in str(caught.value)
