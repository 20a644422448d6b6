"""What `init` and the demo write is what this repository itself runs on."""

import os
from pathlib import Path

import yaml

from exd_dagster.cli.project import load_plans
from exd_dagster.definitions.component.scaffold import DAGSTER_YAML, workspace_yaml
from exd_dagster.demo.project import NOBODY_LISTENS, build_demo_defs
from exd_dagster.demo.run import prepare_home

ROOT = Path(__file__).parents[2]


def test_the_instance_that_is_written_is_set_up_as_this_repository_is():
    assert yaml.safe_load(DAGSTER_YAML) == yaml.safe_load((ROOT / "dagster.yaml").read_text())


def test_the_demo_sets_up_an_empty_folder_as_this_repository_is(tmp_path):
    prepare_home(tmp_path)
    for name in ("dagster.yaml", "workspace.yaml"):
        assert yaml.safe_load((tmp_path / name).read_text()) == yaml.safe_load((ROOT / name).read_text())


def test_the_demo_leaves_an_instance_alone(tmp_path):
    (tmp_path / "dagster.yaml").write_text("mine")
    prepare_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "mine"


def test_a_workspace_names_module_folder_and_location():
    (entry,) = yaml.safe_load(workspace_yaml("ours.definitions"))["load_from"]
    assert entry["python_module"] == {
        "module_name": "ours.definitions",
        "working_directory": ".",
        "location_name": "flag_audit",
    }


def test_the_demo_in_the_ui_misses_no_variable(monkeypatch):
    monkeypatch.setattr("os.environ", {k: v for k, v in os.environ.items() if k not in NOBODY_LISTENS})
    monkeypatch.setattr("exd_dagster.definitions.alerting.sensor._PLANS", {})
    build_demo_defs()
    (plan,) = load_plans("exd_dagster.demo.project")
    assert plan.setup().unready == {}
