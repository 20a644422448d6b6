"""The project a command speaks of is found as Dagster finds it."""

import sys
from pathlib import Path

import pytest

from exd_dagster.cli.project import load_fleets
from exd_dagster.definitions.fleet import plan as audit_plan
from exd_dagster.errors import ConfigError

AUDIT = """
import exd_dagster as exd
from dagster_duckdb import DuckDBResource

defs = exd.build_flag_audit_defs(
    flags=[exd.FlagAudit(key="{key}", start="2026-03-01")],
    records="log/*.parquet",
    store=DuckDBResource(database="bins.duckdb"),
    name="{key}",
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_plan, "_PLANS", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def found(module: str | None = None) -> list[str]:
    return [plan.flags[0].key for plan in load_fleets(module)]


def test_a_module_and_a_file_may_be_named(folder):
    (folder / "one_audit.py").write_text(AUDIT.format(key="one"))
    (folder / "other").mkdir()
    (folder / "other" / "two_audit.py").write_text(AUDIT.format(key="two"))
    assert found("one_audit") == ["one"]
    assert found("other/two_audit.py") == ["one", "two"]


def test_every_location_of_workspace_yaml_is_loaded_but_those_served_elsewhere(folder):
    (folder / "src").mkdir()
    (folder / "src" / "three_audit.py").write_text(AUDIT.format(key="three"))
    (folder / "four_audit.py").write_text(AUDIT.format(key="four"))
    (folder / "five_audit.py").write_text(AUDIT.format(key="five"))
    (folder / "workspace.yaml").write_text("""
load_from:
  - python_module: {module_name: three_audit, working_directory: src}
  - python_module: four_audit
  - python_file: {relative_path: five_audit.py}
  - grpc_server: {host: elsewhere, port: 4266}
""")
    assert found() == ["three", "four", "five"]


def test_the_module_of_pyproject_toml_is_loaded(folder):
    (folder / "six_audit.py").write_text(AUDIT.format(key="six"))
    (folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "six_audit"\n')
    assert found() == ["six"]


def test_definitions_that_dagster_builds_lazily_are_built(folder):
    text = "from dagster import definitions\n\n@definitions\ndef lazily():\n"
    indented = AUDIT.format(key="seven").replace("\n", "\n    ").replace("defs =", "return")
    (folder / "seven_audit.py").write_text(text + indented)
    assert found("seven_audit") == ["seven"]


def test_a_fault_of_ours_within_the_project_is_reported_as_it_is(folder):
    (folder / "eight_audit.py").write_text(AUDIT.format(key="eight").replace("start=", "strt="))
    with pytest.raises(ConfigError) as caught:
        found("eight_audit")
    assert "strt: is not a known key. Did you mean 'start'?" in caught.value.faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [("import nothing_of_this_name", "ModuleNotFoundError: No module named"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_project_that_fails_says_how(folder, text, fault):
    (folder / "nine_audit.py").write_text(text)
    with pytest.raises(ConfigError, match=fault):
        found("nine_audit")


def test_a_project_without_an_audit_says_what_to_call(folder):
    (folder / "ten_audit.py").write_text("")
    with pytest.raises(ConfigError, match="call build_flag_audit_defs"):
        found("ten_audit")


def test_a_folder_without_a_project_says_what_to_give(folder):
    with pytest.raises(ConfigError, match="give -m MODULE or -f FILE"):
        found()
