"""`exd-dagster drill` on a project as Dagster finds it."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exd_dagster.cli.drill.command import drill
from exd_dagster.definitions.fleet import plan as audit_plan
from exd_dagster.errors import ConfigError
from tests.logs import healthy, rows, write

PROJECT = """
import exd_dagster as exd
from dagster_duckdb import DuckDBResource

defs = exd.build_flag_audit_defs(
    flags=[
        exd.FlagAudit(
            key="checkout", split={"control": 0.5, "treatment": 0.5}, start="2026-03-01", mode="observe"
        )
    ],
    records="log/*.parquet",
    store=DuckDBResource(database="bins.duckdb"),
)
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with definitions.py, workspace.yaml and a log of three days."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_plan, "_PLANS", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "drilled_project", raising=False)
    (tmp_path / "drilled_project.py").write_text(PROJECT)
    (tmp_path / "workspace.yaml").write_text(
        "load_from:\n  - python_module: {module_name: drilled_project, working_directory: .}\n"
    )
    write(tmp_path / "log", rows("checkout", healthy(72, 40)))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(drill, list(arguments), catch_exceptions=False)


def test_it_tells_what_was_planted_when_each_check_spoke_and_what_it_said(project):
    said = run("--flag", "checkout", "--fault", "dead_arm").output
    assert "100 % of the units of 'treatment' are lost." in said
    line = next(line for line in said.splitlines() if line.startswith("sequential_srm "))
    assert line.split()[1:] == ["pass", "after", "1", "h", "after", "1", "h"]
    assert "sequential_srm: treatment gets no unit since 2026-03-02" in said
    assert 'nothing is blocked until you set mode="block".' in said


def test_a_fault_of_a_segment_shows_the_checks_of_segments_too(project):
    frame = rows("checkout", healthy(72, 40))
    frame["sdk_version"] = ["4.2.0" if i % 4 == 0 else "4.1.0" for i in range(len(frame))]
    write(project / "log", frame)
    said = run("--flag", "checkout", "--fault", "dead_arm", "--where", "sdk_version=4.2.0").output
    assert "'treatment' with sdk_version = 4.2.0 are lost." in said
    assert "segment_srm: Only sdk_version = 4.2.0: treatment 0 %" in said


def test_a_condition_without_a_value_is_a_usage_error(project):
    said = run("--flag", "checkout", "--fault", "drop", "--where", "Safari")
    assert said.exit_code == 2
    assert "browser=Safari" in said.output


def test_a_check_that_failed_before_is_said_to_have_failed_already(project):
    write(project / "log", rows("checkout", [{"control": 60, "treatment": 30}] * 72))
    said = run("--flag", "checkout", "--fault", "srm").output
    line = next(line for line in said.splitlines() if line.startswith("sequential_srm "))
    assert line.split()[1:] == ["fail", "already"]


def test_it_tells_the_same_as_strict_json(project):
    done = json.loads(run("--flag", "checkout", "--fault", "dead_arm", "--format", "json").output)
    assert done["fault"]["kind"] == "dead_arm"
    assert done["checks"]["sequential_srm"]["blocked_after_hours"] == 1


def test_a_flag_that_is_not_audited_gets_the_nearest_name(project):
    with pytest.raises(ConfigError, match="Did you mean 'checkout'"):
        run("--flag", "chekout", "--fault", "drop")


def test_a_bad_instant_is_a_usage_error(project):
    said = run("--flag", "checkout", "--fault", "drop", "--from", "2026-03-02T10:00")
    assert said.exit_code == 2
    assert "2026-03-20T14:00Z" in said.output


def test_the_project_is_left_as_it_was(project):
    before = {path.name for path in project.iterdir()}
    run("--flag", "checkout", "--fault", "dead_arm")
    assert {path.name for path in project.iterdir()} - {"__pycache__"} == before
