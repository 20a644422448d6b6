"""The YAML component: the same audit as in Python, with faults that say line, key and fix."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from jsonschema import Draft202012Validator

from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.definitions.alerting.destinations import SlackAlerts
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.component.component import FlagAuditComponent, FlagAuditScaffolder
from exd_dagster.definitions.component.yaml import SECRETS
from exd_dagster.definitions.reports.reconcile import reconcile_checks
from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.sources.duckdb import FileRecords, ParquetRecords, TableRecords
from exd_dagster.telemetry.sources.lakehouse import DeltaRecords, IcebergRecords
from tests.telemetry.manifests import rollout

ROOT = Path(__file__).parents[2]

MINIMAL = """
records: logs/*.parquet
store: bins.duckdb
flags:
  - {key: checkout, start: 2026-03-01, split: {control: .5, treatment: .5}}
"""


def component(text: str = "", **scope: object) -> FlagAuditComponent:
    return FlagAuditComponent.resolve_from_yaml(MINIMAL + text, scope=scope)


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        FlagAuditComponent.resolve_from_yaml(text)
    return caught.value.faults


def complaints(text: str) -> list[str]:
    """Return what `dg check yaml` says: the schema's complaints with their places."""
    from dagster_shared.yaml_utils import parse_yaml_with_source_position

    schema = FlagAuditComponent.get_model_cls().model_json_schema()
    value = parse_yaml_with_source_position(text).value
    errors = Draft202012Validator(schema).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def asset_keys(defs: dg.Definitions) -> set[str]:
    dg.Definitions.validate_loadable(defs)
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


def test_a_minimal_file_builds_what_the_python_door_builds():
    defs = dg.component_defs(component=component())
    assert "experiments/checkout_bins" in asset_keys(defs)
    assert defs.resolve_job_def("exd_audit")
    assert defs.resolve_schedule_def("exd_nightly_audit")
    assert defs.resolve_sensor_def("exd_check_alerts")


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("logs/*.parquet", ParquetRecords),
        ("logs/*.csv", FileRecords),
        ("{type: parquet, path: a.parquet, columns: {unit_id_hash: user_id}}", ParquetRecords),
        ("{type: files, path: a.log, format: ndjson, constants: {flag_key: x}}", FileRecords),
        ("{type: table, table: raw.evaluations, database: log.duckdb}", TableRecords),
        ("{type: delta, path: s3://lake/evaluations}", DeltaRecords),
        ("{type: iceberg, table: raw.evaluations, catalog: prod}", IcebergRecords),
    ],
)
def test_records_are_a_path_or_a_mapping_with_a_type(written, kind):
    text = MINIMAL.replace("logs/*.parquet", written)
    assert type(FlagAuditComponent.resolve_from_yaml(text).records) is kind
    assert not complaints(text)


def test_reports_are_reconciled():
    text = """
reconcile:
  - asset: revenue
    flag: FLAG
    units_by_arm: SELECT arm, count(*) FROM revenue WHERE exposed_at < {until} GROUP BY arm
    expects: all
"""
    found = component(text.replace("FLAG", component().flags[0].key))
    assert not complaints(MINIMAL + text)
    checks, _ = reconcile_checks(found.reconcile, found.audits())
    assert [key.to_user_string() for key in checks] == [
        f"revenue:reconcile_{found.flags[0].key.replace('-', '_')}"
    ]


def test_an_unquoted_date_is_midnight_utc():
    assert component().flags[0].start.isoformat() == "2026-03-01T00:00:00+00:00"


def test_defaults_fill_what_a_flag_does_not_say():
    found = FlagAuditComponent.resolve_from_yaml("""
records: a.parquet
store: b.duckdb
defaults: {start: 2026-03-01, mode: observe, owners: [team:growth]}
flags:
  - {key: a}
  - {key: b, mode: block, start: 2026-04-01}
""")
    first, second = found.flags
    assert (first.mode, first.owners, first.start.month) == ("observe", ("team:growth",), 3)
    assert (second.mode, second.owners, second.start.month) == ("block", ("team:growth",), 4)


def test_a_manifest_gives_the_flags_and_the_defaults_hold_for_them(tmp_path):
    (flag,) = FlagAuditComponent.resolve_from_yaml(from_manifest(tmp_path)).audits()
    assert (flag.namespace, flag.key, flag.split) == ("shop", "new-checkout", {"on": 0.1, "off": 0.9})
    assert (flag.mode, flag.owners) == ("observe", ("team:growth",))


def test_a_listed_flag_replaces_the_one_of_the_manifest(tmp_path):
    listed = """
flags:
  - {key: new-checkout, namespace: shop, environment: production, start: 2026-04-01}
"""
    (flag,) = FlagAuditComponent.resolve_from_yaml(from_manifest(tmp_path) + listed).audits()
    assert (flag.start.month, flag.split) == (4, None)


def from_manifest(folder: Path) -> str:
    return f"""
records: a.parquet
store: b.duckdb
defaults: {{mode: observe, owners: [team:growth]}}
manifest: {{path: "{rollout(folder / "shop")}", environment: production, start: 2026-03-01}}
"""


def test_a_secret_is_read_from_the_environment_when_a_message_is_sent(monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    found = component('alerts: [{type: slack, token: "{{ env.MY_TOKEN }}", channel: "#growth"}]')
    (slack,) = found.alerts
    assert isinstance(slack, SlackAlerts)
    monkeypatch.setenv("MY_TOKEN", "xoxb-later")
    assert slack.open().token == "xoxb-later"


@pytest.mark.parametrize("field", sorted(SECRETS))
def test_a_secret_written_down_is_a_fault_that_does_not_repeat_it(field):
    written = MINIMAL + f"alerts:\n  - {{type: webhook, url: 'https://x.example', {field}: hush-hush}}\n"
    faults = faults_of(written)
    assert f'write "{{{{ env.{field.upper()} }}}}"' in "".join(faults)
    assert "hush" not in "".join(faults)


def test_an_unknown_destination_does_not_repeat_its_secrets():
    faults = faults_of(MINIMAL + "alerts:\n  - {type: slak, token: '{{ env.T }}', url: 'https://hush'}\n")
    assert faults == ("line 7: alerts.0.type: 'slak' is not known. Did you mean 'slack'?",)


def test_text_that_looks_like_a_number_stays_text():
    text = MINIMAL.replace("checkout", '"0123"')
    assert FlagAuditComponent.resolve_from_yaml(text).flags[0].key == "0123"


def test_a_template_may_stand_for_any_object():
    records = TableRecords(table="raw.evaluations")
    text = MINIMAL.replace("logs/*.parquet", '"{{ ours }}"')
    assert FlagAuditComponent.resolve_from_yaml(text, scope={"ours": records}).records is records


def test_attributes_of_the_assets_may_be_dagster_objects():
    condition = '{automation_condition: "{{ dg.AutomationCondition.eager() }}", tags: {tier: gold}}'
    defs = dg.component_defs(component=component(f"asset_attributes: {condition}"))
    spec = defs.resolve_asset_graph().get(dg.AssetKey(["experiments", "checkout_bins"]))
    assert spec.automation_condition == dg.AutomationCondition.eager()
    assert spec.tags["tier"] == "gold"
    assert not complaints(f"{MINIMAL}asset_attributes: {condition}")


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("DAGSTER_URL", raising=False)
    (fault,) = faults_of(MINIMAL + 'base_url: "{{ env.DAGSTER_URL }}"')
    assert fault == (
        "line 6: base_url: environment variable DAGSTER_URL is not set; "
        "set it, or write {{ env('DAGSTER_URL', 'a default') }}"
    )


TYPOS = """
records: {type: parket, path: logs/*.parquet}
store: bins.duckdb
defaults: {mod: observe}
flags:
  - key: checkout
    start: 2026-03-01
    splt: {a: .5, b: .5}
timing: {latenes: 2h}
thresholds: {srm: {significance_levl: .01}}
alerts:
  - {type: slack, token: "{{ env.TOK }}", chanel: "#a", channel: "#b"}
nam: ours
"""


def test_every_typo_is_reported_at_once_with_its_line_and_the_nearest_name():
    assert faults_of(TYPOS) == (
        "line 2: records.type: 'parket' is not known. Did you mean 'parquet'?",
        "line 4: defaults.mod: is not a known key. Did you mean 'mode'?",
        "line 8: flags.0.splt: is not a known key. Did you mean 'split'?",
        "line 9: timing.latenes: is not a known key. Did you mean 'lateness'?",
        "line 10: thresholds.srm.significance_levl: is not a known key. Did you mean 'significance_level'?",
        "line 12: alerts.0.chanel: is not a known key. Did you mean 'channel'?",
        "line 13: nam: is not a known key. Did you mean 'name'?",
    )


def test_the_schema_tells_every_typo_at_its_own_place():
    places = {complaint.partition(":")[0] for complaint in complaints(TYPOS)}
    assert places == {"", "records.type", "defaults", "flags.0", "timing", "thresholds.srm", "alerts.0"}


def test_a_name_that_yaml_reads_as_a_switch_is_reported():
    faults = faults_of(MINIMAL.replace("control: .5", "on: .5"))
    assert "YAML reads on, yes and true as True, which is not text; put the name in quotes" in faults[0]
    assert complaints(MINIMAL.replace("control: .5", "on: .5"))


def test_a_name_that_yaml_reads_as_a_number_is_reported():
    faults = faults_of(MINIMAL.replace("control: .5", "1: .5"))
    assert "YAML reads this name as 1, which is not text" in faults[0]


def test_objects_may_be_given_in_python():
    slack = SlackAlerts(webhook_url="https://hooks.slack.com/services/x")
    flag = FlagAudit(key="checkout", start="2026-03-01")
    found = FlagAuditComponent(records="a.parquet", store="b.duckdb", flags=[flag], alerts=[slack])
    assert (found.flags, found.alerts) == ((flag,), (slack,))


def test_durations_may_be_written_as_people_write_them():
    timing = component("timing: {lateness: 2h, lookback: 3d}").timing
    assert (timing.lateness.total_seconds(), timing.lookback.days) == (7200, 3)


def test_thresholds_may_be_a_file(tmp_path):
    (tmp_path / "thresholds.toml").write_text("[srm]\nmin_sample_size = 7\n")
    found = component(f'thresholds: "{tmp_path}/thresholds.toml"').thresholds
    assert isinstance(found, Thresholds)
    assert found.srm.min_sample_size == 7


def test_a_file_without_any_flag_is_a_fault():
    (fault,) = faults_of("records: a.parquet\nstore: b.duckdb\n")
    assert "flags: is empty" in fault


def test_every_field_is_described():
    found = dict(described(FlagAuditComponent.get_model_cls().model_json_schema()))
    assert not [path for path, description in found.items() if not description and path[-1] != "type"]
    last = {path[-1] for path in found}
    assert {"split", "significance_level", "lateness", "webhook_url", "time_zone", "to"} <= last


def described(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and description of every field of a schema."""
    if isinstance(node, list):
        for item in node:
            yield from described(item, path)
    elif isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            yield (*path, name), field.get("description", "")
        for key, inner in node.items():
            if key != "if":
                yield from described(inner, (*path, key))


def test_the_schema_refers_to_nothing_outside_itself():
    assert "$ref" not in json.dumps(FlagAuditComponent.get_model_cls().model_json_schema())


def test_every_argument_of_the_python_door_is_a_field():
    arguments = set(inspect.signature(build_flag_audit_defs).parameters)
    assert arguments - set(FlagAuditComponent.model_fields) == {"schedule_status", "sensor_status"}


def test_every_flag_field_may_be_given_in_yaml():
    schema = FlagAuditComponent.get_model_cls().model_json_schema()
    assert set(schema["properties"]["flags"]["items"]["properties"]) == set(FlagAudit.model_fields)


def test_dagster_loads_the_file_that_it_scaffolds():
    with dg.components.testing.create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=FlagAuditComponent)
        assert not complaints(attributes_of(path / "defs.yaml"))
        with sandbox.load_component_and_build_defs(defs_path=path) as (loaded, defs):
            assert isinstance(loaded, FlagAuditComponent)
            assert "experiments/new_checkout_flow_bins" in asset_keys(defs)
            assert loaded.mode == "observe"


def test_the_scaffold_may_be_python_or_a_further_document(tmp_path):
    request = {"type_name": "exd_dagster.FlagAuditComponent", "project_root": tmp_path, "params": None}
    scaffold = FlagAuditScaffolder().scaffold
    scaffold(dg.ScaffoldRequest(**request, target_path=tmp_path, scaffold_format="python"))
    assert "-> FlagAuditComponent" in (tmp_path / "component.py").read_text()
    (tmp_path / "defs.yaml").write_text("type: other\n")
    further = {"target_path": tmp_path / "defs.yaml", "scaffold_format": "yaml", "append": True}
    scaffold(dg.ScaffoldRequest(**request, **further))
    documents = list(yaml.safe_load_all((tmp_path / "defs.yaml").read_text()))
    assert [document["type"] for document in documents] == ["other", "exd_dagster.FlagAuditComponent"]


class TestTwoFolders:
    """Two components of one project are two fleets."""

    @pytest.fixture
    def folders(self) -> Iterator[Any]:
        with dg.components.testing.create_defs_folder_sandbox() as sandbox:
            for name in ("checkout", "search"):
                sandbox.scaffold_component(component_cls=FlagAuditComponent, defs_path=name)
            yield sandbox

    def rewrite(self, sandbox: Any, before: str, after: str) -> None:
        file = sandbox.defs_folder_path / "search" / "defs.yaml"
        file.write_text(file.read_text().replace(before, after))

    def refused(self, sandbox: Any) -> str:
        with pytest.raises(Exception, match="search") as caught, sandbox.build_all_defs():
            pass
        return str(caught.value.__cause__)

    def test_the_second_is_scaffolded_with_a_name_and_both_load(self, folders):
        with folders.build_all_defs() as defs:
            keys = asset_keys(defs)
        assert {"experiments/new_checkout_flow_bins", "flag_trust"} <= keys
        assert {"experiments/new_search_flow_bins", "search_flag_trust"} <= keys

    def test_of_one_name_they_are_reported_how_to_go_on(self, folders):
        self.rewrite(folders, "name: search", "name: exd")
        said = self.refused(folders)
        assert "name: 'exd' is that of another component too, which audits new-" in said
        assert "give the newer one a `name`" in said

    def test_with_the_same_flag_they_are_reported_how_to_go_on(self, folders):
        self.rewrite(folders, "new-search-flow", "new-checkout-flow")
        assert "both build experiments/new_checkout_flow_bins; audit the flag in one of them" in self.refused(
            folders
        )


def attributes_of(file: Path) -> str:
    """Return the attributes of a defs.yaml as a document of their own."""
    return yaml.safe_dump(yaml.safe_load(file.read_text())["attributes"])


PROJECT = """
[project]
name = "my_project"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "my_project"
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as `create-dagster` lays it out."""
    package = tmp_path / "src" / "my_project"
    (package / "defs").mkdir(parents=True)
    for file in (package / "__init__.py", package / "defs" / "__init__.py"):
        file.touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def dg_command(folder: Path, *arguments: str, code: int = 0, package: Path = ROOT) -> str:
    """Run the real `dg` with the package as it lies in a folder, and return what it printed."""
    tool = shutil.which("dg", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("dg is not installed beside this Python")
    done = subprocess.run(
        [tool, *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "160", "NO_COLOR": "1", "TOK": "t"},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


@pytest.mark.e2e
def test_dg_lists_scaffolds_and_checks_the_component(project):
    assert "exd_dagster.FlagAuditComponent" in dg_command(project, "list", "components")
    for folder in ("experiments", "search"):
        dg_command(project, "scaffold", "defs", "exd_dagster.FlagAuditComponent", folder)
    assert "validated successfully" in dg_command(project, "check", "yaml")
    assert "All definitions loaded" in dg_command(project, "check", "defs")


@pytest.mark.e2e
def test_dg_finds_the_component_of_the_built_wheel(project, tmp_path):
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = ["wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run([*build, *wheels], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    subprocess.run([*build, "install", "--no-deps", "--target", str(tmp_path / "site"), wheel], check=True)
    site = tmp_path / "site"
    assert "exd_dagster.FlagAuditComponent" in dg_command(project, "list", "components", package=site)
    dg_command(project, "scaffold", "defs", "exd_dagster.FlagAuditComponent", "a", package=site)
    assert "validated successfully" in dg_command(project, "check", "yaml", package=site)
    assert "All definitions loaded" in dg_command(project, "check", "defs", package=site)


@pytest.mark.e2e
def test_dg_tells_the_line_and_the_nearest_name_of_a_typo(project):
    folder = project / "src" / "my_project" / "defs" / "experiments"
    folder.mkdir()
    indented = TYPOS.strip().replace("\n", "\n  ")
    (folder / "defs.yaml").write_text(f"type: exd_dagster.FlagAuditComponent\nattributes:\n  {indented}\n")
    assert "defs.yaml:9 - exd_dagster.FlagAuditComponent attributes.flags.0.splt" in dg_command(
        project, "check", "yaml", code=1
    )
    said = dg_command(project, "check", "defs", "--no-check-yaml", code=1)
    assert "line 9: flags.0.splt: is not a known key. Did you mean 'split'?" in said
