"""Answers in Slack, end to end: a real `dagster dev`, `exd-dagster slack`, and Slack's shapes on loopback.

The alert sensor posts, a person presses, the decision is recorded by Dagster, and the message says so.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.definitions.decisions.asset import load_decisions
from exd_dagster.definitions.decisions.slack_answers import ANSWER_TAG, USER_TAG
from tests.e2e.webserver import ROOT, webserver
from tests.servers.slack import APP_TOKEN, BOT_TOKEN, SlackServer, pressed, submitted

pytestmark = pytest.mark.e2e

ANA, EVE = "U0ANA", "U0EVE"
UNTIL = datetime(2030, 3, 12, 9, tzinfo=timezone.utc)
PROJECT = """
import os
from pathlib import Path

import dagster as dg

import exd_dagster as exd
from tests.fleet import Fleet

slack = exd.SlackAlerts(
    token=dg.EnvVar("SLACK_BOT_TOKEN"),
    app_token=dg.EnvVar("SLACK_APP_TOKEN"),
    channel="#growth",
    base_url=os.environ["SLACK_URL"],
)
broken = [{"control": 190, "treatment": 10}] * 30
fleet = Fleet(
    Path(__file__).parent,
    {"first": broken, "second": broken, "third": broken, "fourth": broken},
    options={"alerts": [slack], "base_url": "http://127.0.0.1:1"},
)
for number, flag in enumerate(fleet.flags):
    object.__setattr__(flag, "owners", (f"team:{number}",))  # a message for each flag
defs = fleet.defs
"""


@dataclass
class Office:
    """The running parts."""

    home: Path
    slack: SlackServer
    instance: dg.DagsterInstance
    dagster: str

    def message(self, flag: str) -> str:
        """Wait for the message about a flag and return its ts."""

        def found() -> list[str]:
            headers = {ts: body["blocks"][0]["text"]["text"] for ts, body in self.slack.messages.items()}
            return [ts for ts, header in headers.items() if f" on {flag}" in header]

        self.slack.wait(found, f"the alert about {flag}; there are {self.slack.calls}", 120)
        return found()[0]

    def decisions(self) -> tuple[Decision, ...]:
        return load_decisions(self.instance)

    def runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(job_name="flag_decision")))

    @property
    def whispers(self) -> list[str]:
        return [body["text"] for body in self.slack.called("chat.postEphemeral")]

    @contextmanager
    def answering(self, url: str) -> Iterator[None]:
        """Run `exd-dagster slack` and end it on leaving."""
        main = "from exd_dagster.cli import main; main()"
        command = [sys.executable, "-c", main, "slack", "--users", "users.yaml", "-f", "project.py"]
        log = self.home / "slack.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--dagster-url", url],
                cwd=self.home,
                env={**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(self.home)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                self.slack.wait(lambda: "connected as app" in log.read_text(), f"{log} to say so", 240)
                yield
            finally:
                process.terminate()
                process.wait(15)  # it ends within ten seconds by itself
        assert process.returncode in (0, 1)  # its connections were closed: it was not killed
        assert BOT_TOKEN not in log.read_text()
        assert APP_TOKEN not in log.read_text()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home = tmp_path_factory.mktemp("office")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "project.py").write_text(PROJECT)
    (home / "users.yaml").write_text(f"{ANA}: ana\n")
    with pytest.MonkeyPatch.context() as patch, SlackServer() as slack:
        patch.setenv("SLACK_BOT_TOKEN", BOT_TOKEN)
        patch.setenv("SLACK_APP_TOKEN", APP_TOKEN)
        patch.setenv("SLACK_URL", slack.url)
        spec = spec_from_file_location("office_project", home / "project.py")
        project = module_from_spec(spec)
        spec.loader.exec_module(project)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            project.fleet.run(instance, project.fleet.bins)
            with webserver(home, "-f", "project.py", daemon=True) as dagster:
                found = Office(home, slack, instance, dagster)
                with found.answering(dagster):
                    yield found


def test_a_press_records_the_decision_as_the_person_and_the_message_says_so(office: Office) -> None:
    ts = office.message("first")
    office.slack.press(ts, "acknowledge", ANA)
    office.slack.wait(lambda: "Acknowledged until" in str(office.slack.messages[ts]), "the edit", 120)
    (decision,) = office.decisions()
    assert (decision.kind, decision.flags, decision.by) == ("acknowledge", "first", f"ana (Slack {ANA})")
    (run,) = office.runs()
    assert run.is_success
    assert run.tags[USER_TAG] == ANA
    assert run.tags[ANSWER_TAG]
    assert "exd:acknowledge" not in str(office.slack.messages[ts])
    assert "exd:waive" in str(office.slack.messages[ts])


def test_a_button_works_once(office: Office) -> None:
    ts = office.message("second")
    before = office.slack.messages[ts]
    office.slack.press(ts, "silence", ANA)
    office.slack.wait(lambda: "Silenced until" in str(office.slack.messages[ts]), "the edit", 120)
    runs, whispers = len(office.runs()), len(office.whispers)
    office.slack.send(pressed(before, ts, "silence", ANA))
    office.slack.wait(lambda: len(office.whispers) > whispers, "the refusal")
    assert office.whispers[-1] == "This was answered already."
    assert len(office.runs()) == runs


def test_a_button_that_was_used_is_void_after_a_restart_too(office: Office) -> None:
    """Dagster's run history remembers it, not the process."""
    ts = office.message("second")
    first = office.slack.called("chat.postMessage")
    (posted,) = [body for body in first if " on second" in body["blocks"][0]["text"]["text"]]
    runs, whispers = len(office.runs()), len(office.whispers)
    office.slack.drop()
    with office.answering(office.dagster):
        office.slack.send(pressed(posted, ts, "silence", ANA))
        office.slack.wait(lambda: len(office.whispers) > whispers, "the refusal")
    assert office.whispers[-1] == "This was answered already."
    assert len(office.runs()) == runs


def test_a_person_who_is_not_named_is_told_so_and_nothing_is_launched(office: Office) -> None:
    ts, runs = office.message("third"), len(office.runs())
    whispers = len(office.whispers)
    office.slack.press(ts, "waive", EVE)
    office.slack.wait(lambda: len(office.whispers) > whispers, "the refusal")
    assert f"{EVE} is not among those who may answer" in office.whispers[-1]
    assert office.slack.called("chat.postEphemeral")[-1]["user"] == EVE
    assert len(office.runs()) == runs


@pytest.mark.parametrize(
    "changes", [{"api_app_id": "A0OTHER"}, {"team": {"id": "T0OTHER"}}, {"container": {"channel_id": "C0"}}]
)
def test_a_foreign_press_launches_nothing_and_is_not_answered(office: Office, changes) -> None:
    ts, runs, whispers = office.message("third"), len(office.runs()), len(office.whispers)
    office.slack.press(ts, "waive", ANA, **changes)
    office.slack.wait(
        lambda: "which is not ours" in (office.home / "slack.log").read_text().splitlines()[-1], "the log"
    )
    assert (len(office.runs()), len(office.whispers)) == (runs, whispers)


def test_where_dagster_does_not_let_the_person_nothing_is_launched(office: Office) -> None:
    ts, runs, whispers = office.message("third"), len(office.runs()), len(office.whispers)
    with webserver(office.home, "-f", "project.py", "--read-only") as server:
        connections = office.slack.connections
        with office.answering(server):
            office.slack.wait(lambda: office.slack.connections > connections, "the connection")
            office.slack.press(ts, "acknowledge", ANA)
            office.slack.wait(lambda: len(office.whispers) > whispers, "the refusal", 120)
    assert office.whispers[-1] == "Dagster does not let you launch flag_decision."
    assert len(office.runs()) == runs
    assert "exd:acknowledge" in str(office.slack.messages[ts])


def test_the_end_of_an_audit_is_recorded_with_the_reason_and_the_time_of_its_form(office: Office) -> None:
    ts = office.message("third")
    office.slack.fill_in(ts, "end", ANA, "rolled back", UNTIL)
    office.slack.wait(lambda: "rolled back" in str(office.slack.messages[ts]), "the edit", 120)
    (decision,) = [each for each in office.decisions() if each.flags == "third"]
    assert (decision.kind, decision.reason, decision.until) == ("end", "rolled back", UNTIL)
    assert decision.by == f"ana (Slack {ANA})"
    assert "Audit ended until 2030-03-12 09:00 UTC by ana: rolled back" in str(office.slack.messages[ts])


def test_a_form_that_was_used_is_void(office: Office) -> None:
    form, runs, whispers = office.slack.views[-1], len(office.runs()), len(office.whispers)
    office.slack.send(submitted(form, ANA, "again", UNTIL))
    office.slack.wait(lambda: len(office.whispers) > whispers, "the refusal")
    assert office.whispers[-1] == "This was answered already."
    assert len(office.runs()) == runs


def test_after_a_lost_connection_a_waiver_unblocks_the_flag(office: Office) -> None:
    ts = office.message("fourth")
    connections = office.slack.connections
    office.slack.drop()
    office.slack.wait(lambda: office.slack.connections > connections, "the new connection", 60)
    office.slack.fill_in(ts, "waive", ANA, "cache bug, arms equal", UNTIL)
    office.slack.wait(
        lambda: any("Waived until" in str(body) for body in office.slack.calls), "the edit", 120
    )
    (decision,) = [each for each in office.decisions() if each.flags == "fourth"]
    assert (decision.kind, decision.reason) == ("waive", "cache bug, arms equal")
