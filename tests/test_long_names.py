"""Keys of 256 characters with every kind of sign, on the whole path: short where shown, whole as identity."""

import email
import email.policy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from exd_dagster.alerts.channels.email_message import SUBJECT_LIMIT
from exd_dagster.alerts.channels.slack.blocks import BLOCK_LIMIT, HEADER_LIMIT, SECTION_LIMIT
from exd_dagster.alerts.messages.text import clip_name
from exd_dagster.audit.trust_page import by_urgency
from exd_dagster.cli import main
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import EmailAlerts, SlackAlerts, WebhookAlerts
from exd_dagster.definitions.alerting.sensor import run_alert_sensor
from exd_dagster.definitions.assets import bins_asset_keys
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.definitions.decisions.asset import load_decisions
from exd_dagster.definitions.flag_trust import attention, trust
from exd_dagster.definitions.gate import blocked_by, gated_job
from exd_dagster.demo.inbox import Inbox
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.manifest.read import flags_from_manifest
from tests.fleet import Fleet, built, verdicts
from tests.logs import START, broken, healthy
from tests.telemetry.manifests import flag as manifest_flag
from tests.telemetry.manifests import write as write_manifest

SHARED = ("checkout.v2/pay ment: Zahlung [neu] 支付流程 \N{ROCKET} *" + "-step" * 60)[:255]
BROKEN, WELL = SHARED + "A", SHARED + "B"


@dataclass(frozen=True)
class Story:
    """Two flags whose keys share 255 characters, audited once; the first lost its treatment."""

    fleet: Fleet
    instance: dg.DagsterInstance
    result: dg.ExecuteInProcessResult
    inbox: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("long")
    patch = pytest.MonkeyPatch()
    patch.setenv("TEST_SLACK_TOKEN", "xoxb-test")
    with dg.instance_for_test() as instance, Inbox(folder / "inbox") as inbox:
        alerts = [
            SlackAlerts(token=dg.EnvVar("TEST_SLACK_TOKEN"), channel="#a", base_url=inbox.slack_url),
            EmailAlerts(host="127.0.0.1", port=inbox.smtp_port, to=["a@example.com"]),
            WebhookAlerts(url=inbox.webhook_url, allow_hosts=["127.0.0.1"]),
        ]
        counts = {BROKEN: broken(6), WELL: healthy(6)}
        fleet = Fleet(folder, counts, guard=blocked_by, options={"alerts": alerts, "digest": True})
        result = fleet.run(instance, fleet.bins)
        (sensor,) = [each for each in fleet.defs.sensors if each.name == "exd_check_alerts"]
        run_alert_sensor(sensor, instance, fleet.defs)
        yield Story(fleet, instance, result, inbox.folder)
    patch.undo()


def test_each_flag_has_its_own_verdict(story):
    found = {key: verdicts(story.result, story.fleet.keys[key])["srm"] for key in (BROKEN, WELL)}
    assert found == {BROKEN: "fail", WELL: "pass"}


def test_a_guard_and_a_gated_job_stop_the_report_of_the_broken_flag_alone(story):
    fleet, reports = story.fleet, [report.key.path[-1] for report in story.fleet.reports]
    by_hand = fleet.run(story.instance, fleet.only_reports, hours=False)
    job = gated_job("gated", fleet.only_reports, bins=[*fleet.keys.values()])
    defs = dg.Definitions.merge(fleet.defs, dg.Definitions(jobs=[job]))
    gated = defs.resolve_job_def("gated").execute_in_process(instance=story.instance, raise_on_error=False)
    assert [built(by_hand), built(gated)] == [{reports[1]}] * 2


def test_slack_gets_blocks_within_its_limits(story):
    sent = [json.loads(path.read_text()) for path in (story.inbox / "slack").glob("*.json")]
    blocks = [block for message in sent for block in message["blocks"]]
    texts = [block["text"] for block in blocks if "text" in block]
    headers = [block["text"]["text"] for block in blocks if block["type"] == "header"]
    assert blocks
    assert all(len(text["text"]) <= SECTION_LIMIT for text in texts)
    assert all(len(header) <= HEADER_LIMIT for header in headers)
    assert all(len(message["blocks"]) <= BLOCK_LIMIT for message in sent)
    assert any("…" in header and "step" in header for header in headers)


def test_the_subject_of_a_mail_is_short_and_its_text_names_the_whole_flag(story):
    paths = [*(story.inbox / "email").glob("*.eml")]
    mails = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
    assert mails
    assert all(len(mail["Subject"]) <= SUBJECT_LIMIT for mail in mails)
    assert any("…" in mail["Subject"] for mail in mails)
    assert any(BROKEN in "".join(mail.get_body(["plain"]).get_content().splitlines()) for mail in mails)


def test_a_webhook_has_the_whole_key(story):
    reported = [json.loads(path.read_text()) for path in (story.inbox / "webhook").glob("*.json")]
    assert {each["details"]["flag"] for each in reported if each["status"] == "firing"} == {BROKEN}


def test_the_trust_table_page_and_function_keep_them_apart(story):
    store = story.fleet.folder / "bins.duckdb"
    assert [trust(key, store).trusted for key in (BROKEN, WELL)] == [False, True]
    job = story.fleet.defs.resolve_job_def("exd_flag_trust")
    assert job.execute_in_process(instance=story.instance).success
    page = (story.fleet.folder / "flag_trust.html").read_text()
    assert page.count("<h3") == 2
    reported = attention(by_urgency([trust(BROKEN, store), trust(WELL, store)]))
    assert len(reported) < 1000
    assert "…" in reported
    assert "stepA" in reported.replace("\\", "") or "A**" in reported


def test_a_decision_by_the_whole_key_touches_that_flag_alone(story, monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    project = tmp_path / "definitions.py"
    flags = [
        {"key": key, "split": {"control": 0.5, "treatment": 0.5}, "start": "2026-03-01"}
        for key in (BROKEN, WELL)
    ]
    project.write_text(
        "from dagster_duckdb import DuckDBResource\nimport exd_dagster as exd\n"
        f"flags = [exd.FlagAudit(**values) for values in {flags!r}]\n"
        "defs = exd.build_flag_audit_defs(flags, 'log.parquet', DuckDBResource(database='b.duckdb'))\n"
    )
    ask = ["decide", "waive", "--flag", BROKEN, "--reason", "known", "--by", "ana", "--until", "2199-01-01"]
    said = CliRunner().invoke(main, [*ask, "-m", str(project)], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    with dg.DagsterInstance.get() as instance:
        (made,) = load_decisions(instance)
    broken_flag, well = (FlagAudit(**values).id for values in flags)
    assert (made.covers(broken_flag), made.covers(well)) == (True, False)


def test_a_table_of_the_command_line_shortens_names_and_json_does_not(story):
    ask = [
        "telemetry",
        "summary",
        "--source",
        f"{story.fleet.folder}/log/*.parquet",
        "--from",
        "2026-03-01T00:00Z",
    ]
    ask += ["--to", "2026-03-02T00:00Z"]
    text = CliRunner().invoke(main, ask, catch_exceptions=False).output
    assert max(map(len, text.splitlines())) < 200
    assert text.count("…") >= 2
    whole = CliRunner().invoke(main, [*ask, "--format", "json"], catch_exceptions=False).output
    assert BROKEN in whole
    assert WELL in whole


def test_the_yaml_component_takes_them():
    flags = [{"key": key, "start": "2026-03-01", "split": {"a": 0.5, "b": 0.5}} for key in (BROKEN, WELL)]
    text = json.dumps(
        {"records": "logs/*.parquet", "store": "bins.duckdb", "flags": flags}, ensure_ascii=False
    )
    component = FlagAuditComponent.resolve_from_yaml(text)
    assert [flag.key for flag in component.flags] == [BROKEN, WELL]


def test_a_manifest_takes_keys_of_any_length_that_its_files_can_bear(tmp_path):
    key = "k" * 250
    write_manifest(
        tmp_path / "shop", {f"flags/{key}.toml": manifest_flag('[flag.environments._]\nvariant = "off"\n')}
    )
    (declared,) = flags_from_manifest(tmp_path / "shop", environment="production", start=START)
    assert declared.key == key


def test_a_name_that_is_cut_keeps_its_start_and_its_end():
    assert clip_name(BROKEN, 60) != clip_name(WELL, 60)
    assert len(clip_name(BROKEN, 60)) <= 60
    assert clip_name(BROKEN, 60).startswith(SHARED[:30])
    assert clip_name("short", 60) == "short"


@pytest.mark.parametrize("other", [{"namespace": "shop"}, {"environment": "shop"}])
def test_two_flags_that_would_be_reported_by_one_name_are_refused(other):
    flags = [FlagAudit(key="shop/checkout", start=START), FlagAudit(key="checkout", start=START, **other)]
    with pytest.raises(ConfigError, match="are both shown as 'shop/checkout'"):
        bins_asset_keys(flags)
