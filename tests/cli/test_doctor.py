"""`exd-dagster doctor` on a project as `init` writes it."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exd_dagster.cli.doctor.command import doctor
from exd_dagster.cli.init.command import init
from exd_dagster.definitions.alerting import sensor as sensors
from exd_dagster.definitions.component.scaffold import DAGSTER_YAML
from exd_dagster.definitions.fleet import plan as audit_plan
from tests.logs import healthy, rows, write


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Path:
    """The folder of an instance as `init` sets it up; making one takes two seconds."""
    folder = tmp_path_factory.mktemp("instance")
    (folder / "dagster.yaml").write_text(DAGSTER_YAML.replace(".dagster", str(folder / "home")))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch, instance) -> Path:
    """A project fresh from `init`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(instance))
    monkeypatch.setattr(audit_plan, "_PLANS", {})
    monkeypatch.setattr(sensors, "_PLANS", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "definitions", raising=False)
    write(tmp_path / "log", rows("checkout", healthy(3)))
    CliRunner().invoke(init, ["log/*.parquet"], catch_exceptions=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor, list(arguments), catch_exceptions=False, standalone_mode=False)


def lines(said: Result) -> dict[str, str]:
    """Return the state of each subject."""
    reported = [line.split() for line in said.output.splitlines() if not line.startswith(" ")]
    return {subject: state for state, subject, *_ in reported}


def test_it_looks_at_everything_an_audit_needs(project):
    subjects = "project records flags store daemon schedule settings alerts base_url dagster"
    assert set(lines(run())) == {*subjects.split()} - {"base_url"}


def test_a_project_without_a_daemon_fails_with_1_and_says_how_to_start_it(project):
    said = run()
    assert said.return_value == 1
    assert "fix: start it: dagster dev here" in said.output


def test_every_line_that_is_not_well_ends_with_its_fix(project):
    reported = json.loads(run("--format", "json").output)
    assert reported["verdict"] == "fail"
    assert [d for d in reported["diagnoses"] if (d["state"] == "ok") == bool(d["fix"])] == []


def test_a_destination_without_its_token_fails_by_name(project, monkeypatch):
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    text = (project / "definitions.py").read_text().replace("# exd.SlackAlerts", "exd.SlackAlerts")
    (project / "definitions.py").write_text(text)
    said = run().output
    assert "fail  alerts    slack: environment variable SLACK_BOT_TOKEN is not set (token)" in said


def test_a_folder_without_a_project_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run()
    assert said.return_value == 1
    assert "fail  project" in said.output
    assert "-m MODULE" in said.output


def test_a_folder_without_an_instance_says_how_to_get_one(project, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME")
    (project / "dagster.yaml").unlink()
    said = run().output
    assert "fail  instance" in said
    assert "DAGSTER_HOME" in said
