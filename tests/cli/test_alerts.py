"""The commands test-alert, alerts and decide, on a project of their own."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from exd_dagster.alerts.model import AlertState, Incident
from exd_dagster.alerts.past import PastIncident
from exd_dagster.alerts.policy.ledger import ledger_rows
from exd_dagster.alerts.state import StateStore
from exd_dagster.cli import main
from exd_dagster.config import FlagId
from exd_dagster.definitions.alerting.sensor import deliveries, run_alert_sensor
from exd_dagster.definitions.decisions.asset import load_decisions, remembered_incidents
from exd_dagster.definitions.internals import cursor_storage
from tests.alerts.make import NOW
from tests.definitions.test_sensors import FAILED, evaluate
from tests.servers.http import HttpServer, Reply

PROJECT = """
import dagster as dg
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import SlackAlerts, WebhookAlerts
from exd_dagster.definitions.alerting.sensor import build_check_alert_sensor

FLAG = FlagAudit(key="checkout", split={{"off": 0.5, "on": 0.5}}, start="2026-01-01", owners=("team:growth",))
KEYS = [dg.AssetCheckKey(dg.AssetKey(["experiments", "checkout_bins"]), name) for name in ("srm", "trust")]
sensor = build_check_alert_sensor(
    dict.fromkeys(KEYS, FLAG),
    [
        WebhookAlerts(url="{url}", allow_hosts=["127.0.0.1"]),
        SlackAlerts(name="slack-growth", token=dg.EnvVar("NO_SUCH_TOKEN"), channel="#growth"),
    ],
    routes=[{{"owner": "team:growth", "to": ["webhook", "slack-growth"]}}, {{"to": ["webhook"]}}],
    digest=False,
)
defs = dg.Definitions(sensors=[sensor])
"""


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: HttpServer
) -> Iterator[dg.DagsterInstance]:
    """An instance and a project in a folder of their own; the project module has a fresh name each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    monkeypatch.setattr("exd_dagster.definitions.alerting.sensor._PLANS", {})
    name = project_name(tmp_path)
    (tmp_path / f"{name}.py").write_text(PROJECT.format(url=server.url))
    (tmp_path / "workspace.yaml").write_text(f"load_from:\n  - python_module: {name}\n")
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        yield instance


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def tick(instance: dg.DagsterInstance) -> None:
    """Do one tick of the project's alert sensor."""
    run_alert_sensor(import_module(project_name(Path.cwd())).sensor, instance)


def project_name(folder: Path) -> str:
    return "project_" + folder.name.replace("-", "_")


def test_test_alert_shows_who_is_reported_why_and_the_answer(instance, server):
    done = run("test-alert", "--flag", "checkout")
    assert done.exit_code == 0, done.output
    assert "slack-growth: skipped, environment variable NO_SUCH_TOKEN is not set (token)" in done.output
    assert "webhook (webhook), by routes[0]: owner=team:growth" in done.output
    assert "sent: HTTP 200" in done.output
    (request,) = server.received
    assert request.json["alert_type"] == "TEST_ALERT"
    assert "nothing is wrong with this flag" in request.json["message"]
    assert deliveries(instance) == []


def test_test_alert_fails_when_a_destination_refuses(instance, server):
    server.default = Reply(404)
    done = run("test-alert", "--flag", "checkout", "--to", "webhook")
    assert done.exit_code == 1
    assert "dead: HTTP 404" in done.output


def test_a_dry_run_shows_the_message_and_sends_nothing(instance, server):
    done = run("test-alert", "--flag", "checkout", "--dry-run")
    assert "Test alert: checkout, srm" in done.output
    assert server.received == []


def test_a_dry_run_shows_the_message_before_its_secret_is_set(instance):
    done = run("test-alert", "--flag", "checkout", "--to", "slack-growth", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "slack-growth: would be skipped, environment variable NO_SUCH_TOKEN" in done.output
    assert "slack-growth (slack), by name\nTest alert: checkout, srm" in done.output


def test_test_alert_fails_when_nobody_could_be_reported(instance):
    done = run("test-alert", "--flag", "checkout", "--to", "slack-growth")
    assert done.exit_code == 1
    assert done.output.startswith("slack-growth: skipped, ")


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--flag", "chekout"], "Did you mean 'checkout'?"),
        (["--flag", "checkout", "--to", "web"], "Did you mean 'webhook'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(instance, arguments, fix):
    done = run("test-alert", *arguments)
    assert done.exit_code == 2
    assert fix in done.output


def test_status_shows_open_incidents_and_what_was_delivered(instance):
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    done = run("alerts", "status")
    assert "exd_check_alerts: 1 open incident, 0 messages pending" in done.output
    assert "checkout: srm" in done.output
    assert "sent     webhook      fire        checkout srm  HTTP 200" in done.output


def test_status_as_json_holds_every_delivery(instance):
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    (state,) = json.loads(run("alerts", "status", "--format", "json").output).values()
    assert [(row["flag"], row["status"], row["destination"]) for row in state["deliveries"]] == [
        ("checkout", "sent", "webhook")
    ]


def test_status_says_who_answered_each_incident_and_until_when(instance):
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    assert "checkout: srm  (nobody answered)" in run("alerts", "status").output
    told = ("--flag", "checkout", "--reason", "looking", "--by", "ana", "--until", "2030-05-01")
    assert run("decide", "acknowledge", *told).exit_code == 0
    said = "acknowledged by ana until 2030-05-01 00:00 UTC"
    assert f"checkout: srm  ({said})" in run("alerts", "status").output
    (state,) = json.loads(run("alerts", "status", "--format", "json").output).values()
    assert [incident["answer"] for incident in state["incidents"]] == [said]


def test_a_decision_without_an_end_or_a_reason_is_told_what_to_give(instance):
    done = run("decide", "waive", "--flag", "checkout", "--by", "ana")
    assert "reason: is empty" in done.output
    assert "until: is empty; give when it ends, such as 2026-05-01" in done.output


def test_status_before_the_first_tick_says_what_to_look_at(instance):
    assert "Is the daemon running?" in run("alerts", "status").output


def test_retry_sends_again_what_was_given_up(instance, server):
    server.script = [Reply(400)]
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    assert run("alerts", "retry").exit_code == 0
    tick(instance)
    assert [row.status for row in deliveries(instance)] == ["sent"]


def test_reset_forgets_and_what_fails_is_reported_again(instance, server):
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    assert run("alerts", "reset", "--yes").exit_code == 0
    tick(instance)
    assert len(server.received) == 2


def test_decide_records_who_why_and_until_when(instance):
    evaluate(instance, "checkout", "srm", FAILED)
    arguments = ("--flag", "checkout", "--reason", "cache known", "--by", "ana", "--until", "2199-01-01")
    done = run("decide", "waive", *arguments)
    assert done.exit_code == 0, done.output
    assert "waive until 2199-01-01 00:00 UTC for checkout: reports run" in done.output
    (decision,) = load_decisions(instance)
    assert (decision.by, decision.reason) == ("ana", "cache known")
    assert decision.basis["checkout:srm"]["reason"] == "ratio_mismatch"


def test_decide_names_every_fault_at_once(instance):
    done = run("decide", "silence", "--flag", "nope", "--reason", "", "--by", "ana", "--until", "yesterday")
    assert done.exit_code == 2
    for part in ("flags: 'nope' matches no audited flag", "reason: is empty", "until:"):
        assert part in done.output


def test_decide_close_says_what_an_incident_was(instance):
    evaluate(instance, "checkout", "srm", FAILED)
    tick(instance)
    arguments = ("--flag", "checkout", "--verdict", "false", "--cause", "cache", "--by", "ana")
    done = run("decide", "close", *arguments)
    assert done.output == (
        "Closed as false for checkout: nothing was wrong; the check should not have failed.\n"
    )
    (decision,) = load_decisions(instance)
    assert (decision.verdict, decision.cause) == ("false", "cache")
    (row,) = ledger_rows(remembered_incidents(instance), [decision])
    assert (row.check, row.verdict, row.resolved_at) == ("srm", "false", None)


def test_decide_close_names_an_incident_that_is_over_also_of_a_flag_that_left(instance):
    past = PastIncident(id="abc", flag=FlagId("", "", "search"), opened_at=NOW, resolved_at=NOW)
    StateStore(cursor_storage(instance), "exd_check_alerts").save(AlertState(past=(past,)))
    arguments = ("--flag", "search", "--verdict", "real", "--by", "ana")
    misspelt = run("decide", "close", *arguments, "--incident", "abd").output
    assert "'abd' is not known. Did you mean 'abc'?" in misspelt
    assert run("decide", "close", *arguments, "--incident", "abc").exit_code == 0
    assert [decision.incident for decision in load_decisions(instance)] == ["abc"]


def test_decide_close_needs_a_verdict(instance):
    done = run("decide", "close", "--flag", "checkout", "--by", "ana")
    assert done.exit_code == 2
    assert "verdict: '' does not say what it was. Write real, false, expected." in done.output


def test_decide_accepts_a_flag_that_failed_when_it_left_the_project(instance):
    arguments = ("--flag", "search", "--reason", "over", "--by", "ana", "--until", "2199-01-01")
    assert run("decide", "end", *arguments).exit_code == 2
    left = Incident(id="i", flag=FlagId("", "", "search"), opened_at=NOW, notified_at=NOW, unmonitored_at=NOW)
    StateStore(cursor_storage(instance), "exd_check_alerts").save(AlertState(unmonitored={"search": left}))
    done = run("decide", "end", *arguments)
    assert "end until 2199-01-01 00:00 UTC for search: the audit of this flag is over" in done.output
    assert [decision.flags for decision in load_decisions(instance)] == ["search"]
