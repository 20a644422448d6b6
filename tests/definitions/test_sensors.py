"""The alert sensor on a real Dagster instance, with real local servers at the other end."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import (
    CallbackAlerts,
    EmailAlerts,
    SlackAlerts,
    WebhookAlerts,
)
from exd_dagster.definitions.alerting.sensor import build_check_alert_sensor, deliveries, run_alert_sensor
from exd_dagster.demo.inbox import Inbox
from exd_dagster.errors import ConfigError

FAILED = {
    "verdict": "fail",
    "severity": "ERROR",
    "state": "ongoing",
    "reason": "ratio_mismatch",
    "sentence": "53.0 % of the units got on, 50 % were declared.",
    "p_value": 1e-9,
    "n": 10000,
    "threshold": 0.001,
    "expected": {"off": 0.5, "on": 0.5},
    "observed": {"off": 4700, "on": 5300},
    "bad_from": "2026-01-01T00:00:00Z",
    "audited_through": "2026-01-05T00:00:00Z",
}
PASSED = {"verdict": "pass", "sentence": "As declared.", "audited_through": "2026-01-05T00:00:00Z"}
CHECKS = ("srm", "sequential_srm", "traffic_drop", "trust")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(tmp_path / "inbox") as inbox:
        yield inbox


def audit(key: str) -> FlagAudit:
    return FlagAudit(key=key, split={"off": 0.5, "on": 0.5}, start="2026-01-01", owners=("team:growth",))


def monitored(*flags: FlagAudit) -> dict[dg.AssetCheckKey, FlagAudit]:
    return {
        dg.AssetCheckKey(dg.AssetKey(["experiments", f"{flag.key}_bins"]), check): flag
        for flag in flags
        for check in CHECKS
    }


def evaluate(instance: dg.DagsterInstance, flag: str, check: str, metadata: dict[str, object]) -> None:
    """Record one check evaluation as a run would."""
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["experiments", f"{flag}_bins"]),
            check_name=check,
            passed=metadata["verdict"] != "fail",
            severity=dg.AssetCheckSeverity(metadata.get("severity", "ERROR")),
            metadata=metadata,
            description=str(metadata.get("sentence", "")),
        )
    )


def all_channels(inbox: Inbox, reported: list[Notification], monkeypatch: pytest.MonkeyPatch) -> list:
    monkeypatch.setenv("TEST_SLACK_TOKEN", "xoxb-test-token")
    return [
        SlackAlerts(token=dg.EnvVar("TEST_SLACK_TOKEN"), channel="#growth", base_url=inbox.slack_url),
        EmailAlerts(host="127.0.0.1", port=inbox.smtp_port, to=["a@example.com"]),
        WebhookAlerts(url=inbox.webhook_url, allow_hosts=["127.0.0.1"]),
        CallbackAlerts(reported.append),
    ]


def test_a_failure_is_reported_once_on_every_channel(instance, inbox, monkeypatch):
    reported: list[Notification] = []
    flags = monitored(audit("checkout"))
    sensor = build_check_alert_sensor(flags, all_channels(inbox, reported, monkeypatch), digest=False)
    evaluate(instance, "checkout", "srm", FAILED)
    for _ in range(3):
        run_alert_sensor(sensor, instance)
    rows = [(row.channel, row.flag.key, row.alert_type, row.status) for row in deliveries(instance)]
    assert sorted(rows) == [
        (channel, "checkout", "SRM_SHUTOFF_TRIGGERED", "sent")
        for channel in ("callback", "email", "slack", "webhook")
    ]
    for folder in ("slack", "email", "webhook"):
        assert len({path.name[:3] for path in (inbox.folder / folder).iterdir()}) == 1
    assert [notification.message.headline for notification in reported] == [
        "SRM on checkout: on 53% vs 50% expected"
    ]


def test_two_failing_checks_of_a_flag_are_one_message_to_people_and_two_payloads(
    instance, inbox, monkeypatch
):
    sensor = build_check_alert_sensor(
        monitored(audit("checkout")), all_channels(inbox, [], monkeypatch), digest=False
    )
    evaluate(instance, "checkout", "srm", FAILED)
    evaluate(instance, "checkout", "sequential_srm", FAILED)
    run_alert_sensor(sensor, instance)
    assert len(list((inbox.folder / "slack").glob("*.json"))) == 1
    payloads = [json.loads(path.read_text()) for path in (inbox.folder / "webhook").glob("*.json")]
    assert sorted(payload["alert_type"] for payload in payloads) == [
        "SEQUENTIAL_SRM_TRIGGERED",
        "SRM_SHUTOFF_TRIGGERED",
    ]
    assert {(row.channel, row.alert_type) for row in deliveries(instance) if row.channel == "slack"} == {
        ("slack", "SEQUENTIAL_SRM_TRIGGERED"),
        ("slack", "SRM_SHUTOFF_TRIGGERED"),
    }


def test_corrected_bins_are_reported_as_resolved_in_the_same_thread(instance, inbox, monkeypatch):
    sensor = build_check_alert_sensor(
        monitored(audit("checkout")), all_channels(inbox, [], monkeypatch), digest=False
    )
    evaluate(instance, "checkout", "srm", FAILED)
    run_alert_sensor(sensor, instance)
    evaluate(instance, "checkout", "srm", PASSED)
    run_alert_sensor(sensor, instance)
    first, update, answer = [
        json.loads(path.read_text()) for path in sorted((inbox.folder / "slack").glob("*.json"))
    ]
    assert "thread_ts" not in first
    assert update["ts"] == answer["thread_ts"] == "1700000000.000001"
    assert [row.reason for row in deliveries(instance) if row.channel == "slack"] == ["fire", "resolve"]


def test_a_second_run_sends_nothing_and_reads_already_sent(instance, inbox, monkeypatch):
    from datetime import datetime, timezone

    flags = monitored(audit("checkout"))
    sensor = build_check_alert_sensor(flags, all_channels(inbox, [], monkeypatch))
    evaluate(instance, "checkout", "srm", FAILED)
    run_alert_sensor(sensor, instance)
    before = sorted(path for path in inbox.folder.rglob("*") if path.is_file())
    again = datetime.now(timezone.utc)
    evaluate(instance, "checkout", "srm", FAILED)
    run_alert_sensor(sensor, instance)
    assert sorted(path for path in inbox.folder.rglob("*") if path.is_file()) == before
    assert {row.status for row in deliveries(instance, since=again)} == {"already_sent"}


def test_a_channel_without_its_token_is_skipped_and_the_others_are_reported(instance, inbox, monkeypatch):
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    destinations = [
        SlackAlerts(token=dg.EnvVar("NO_SUCH_TOKEN"), channel="#growth", base_url=inbox.slack_url),
        WebhookAlerts(url=inbox.webhook_url, allow_hosts=["127.0.0.1"]),
    ]
    sensor = build_check_alert_sensor(monitored(audit("checkout")), destinations)
    evaluate(instance, "checkout", "srm", FAILED)
    run_alert_sensor(sensor, instance)
    assert [(row.channel, row.status) for row in deliveries(instance)] == [("webhook", "sent")]


def test_warnings_and_trust_page_nobody(instance, inbox, monkeypatch):
    sensor = build_check_alert_sensor(
        monitored(audit("checkout")), all_channels(inbox, [], monkeypatch), digest=False
    )
    evaluate(instance, "checkout", "srm", {**FAILED, "severity": "WARN"})
    evaluate(instance, "checkout", "trust", FAILED)
    run_alert_sensor(sensor, instance)
    assert deliveries(instance) == []


def test_a_check_whose_run_ended_without_an_answer_is_reported_as_not_checked(instance):
    """Scenario 27."""
    reported: list[Notification] = []

    @dg.asset(key=["experiments", "checkout_bins"])
    def bins() -> None: ...

    @dg.asset_check(asset=["experiments", "checkout_bins"], name="srm")
    def srm() -> dg.AssetCheckResult:
        raise RuntimeError("planted")

    dg.materialize([bins, srm], instance=instance, raise_on_error=False)
    sensor = build_check_alert_sensor(
        monitored(audit("checkout")), [CallbackAlerts(reported.append)], digest=False
    )
    run_alert_sensor(sensor, instance)
    run_alert_sensor(sensor, instance)
    assert [(n.reason, n.message.headline) for n in reported] == [("not_checked", "Not checked: checkout")]


def test_a_shutoff_hook_without_its_address_leaves_the_destination_of_the_same_name_at_work(
    instance, inbox, monkeypatch
):
    monkeypatch.delenv("NO_SUCH_URL", raising=False)
    sensor = build_check_alert_sensor(
        monitored(audit("checkout")),
        [WebhookAlerts(url=inbox.webhook_url, allow_hosts=["127.0.0.1"])],
        on_shutoff=WebhookAlerts(url=dg.EnvVar("NO_SUCH_URL")),
    )
    evaluate(instance, "checkout", "srm", FAILED)
    run_alert_sensor(sensor, instance)
    assert [(row.destination, row.status) for row in deliveries(instance)] == [("webhook", "sent")]


def test_every_fault_of_destinations_and_routes_is_listed_at_load():
    with pytest.raises(ConfigError) as caught:
        build_check_alert_sensor(
            {},
            [CallbackAlerts(print, name="one"), CallbackAlerts(print, name="one")],
            routes=[{"to": ["on"]}, {"too": ["one"]}],
            digest=["other"],
        )
    text = str(caught.value)
    assert "name 'one' is used 2 times" in text
    assert "destination 'on' is not defined. Did you mean 'one'?" in text
    assert "too: is not a known key. Did you mean 'to'?" in text
    assert "digest: destination 'other' is not defined" in text
