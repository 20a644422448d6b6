"""`exd-dagster init`: a first project from one's own log, which observes until a person says otherwise."""

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result
from dagster import DagsterInstance, DailyPartitionsDefinition, Definitions

from exd_dagster.cli.init.command import init
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ExdError
from tests.definitions.test_component import dg_command
from tests.logs import HOUR, healthy, rows, write

ROOT = Path(__file__).parents[2]
SPLIT = 'split={"control": 0.5, "treatment": 0.5}'
LANDING = ROOT.parent / "shared" / "data" / "ab_exposures_raw.csv"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a log beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    flags = [rows(f"flag-{i}", [{"control": 10 + i, "treatment": 10 + i}]) for i in range(6)]
    write(tmp_path / "log", *flags, rows("flag-5", [{"control": 1}], environment="staging"))
    return folder


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(init, list(arguments), input=stdin, catch_exceptions=False)


def definitions(folder: Path) -> dict:
    """Execute definitions.py and return its names."""
    names: dict = {}
    exec(compile((folder / "definitions.py").read_text(), "definitions.py", "exec"), names)
    return names


def modes(defs: Definitions) -> set[str]:
    """Return the modes in which the flags of a project are audited."""
    specs = [node.metadata.get("mode") for node in defs.resolve_asset_graph().asset_nodes]
    return {str(getattr(mode, "value", mode)) for mode in specs if mode is not None}


def test_the_project_audits_the_flags_of_the_log_and_only_observes(home):
    run("../log/*.parquet")
    names = definitions(home)
    flags = names["FLAGS"]
    assert [flag.key for flag in flags] == ["flag-5", "flag-4", "flag-3"]
    assert modes(names["defs"]) == {"observe"}
    assert {flag.environment for flag in flags} == {"production"}
    assert {f"{flag.start:%Y-%m-%d}" for flag in flags} == {"2026-03-01"}


def test_the_project_is_under_40_lines_also_where_columns_are_renamed(home):
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT * RENAME (unit_id_hash AS user_id) FROM '../log/*.parquet') TO 'renamed.parquet'"
        )
    run("renamed.parquet")
    assert "user_id" in (home / "definitions.py").read_text()
    assert (home / "definitions.py").read_text().count("\n") < 40


def test_a_flag_without_recent_records_gets_an_end(home):
    run("../log/*.parquet", "--flag", "flag-1")
    assert f"{definitions(home)['FLAGS'][0].end:%Y-%m-%d}" == "2026-03-02"


def test_a_flag_that_goes_on_has_none_and_a_long_history_has_a_partition_a_day(home):
    hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    frames = [
        rows("running", healthy(1), start=hour - timedelta(days=9)),
        rows("running", healthy(1), start=hour),
    ]
    write(home / "recent", *frames)
    run("recent/*.parquet")
    names = definitions(home)
    assert names["FLAGS"][0].end is None
    assert isinstance(names["defs"].resolve_job_def("exd_audit").partitions_def, DailyPartitionsDefinition)


def test_no_split_is_declared_before_a_person_uncomments_it(home):
    run("../log/*.parquet", "--flag", "flag-1")
    text = (home / "definitions.py").read_text()
    assert definitions(home)["FLAGS"][0].split is None
    split = 'split={"control": 0.5, "treatment": 0.5},'
    line = f"# {split}  # seen 50.0 / 50.0 % of 22 units: confirm, uncomment"
    assert line in text
    (home / "definitions.py").write_text(text.replace(line, line.removeprefix("# ")))
    assert definitions(home)["FLAGS"][0].split == {"control": 0.5, "treatment": 0.5}


def test_the_project_finds_a_broken_split_once_its_own_is_confirmed(home):
    write(home / "broken", rows("checkout", [{"control": 60, "treatment": 30}] * 12))
    run("broken/*.parquet")
    text = (
        (home / "definitions.py")
        .read_text()
        .replace('# split={"control": 0.6667, "treatment": 0.3333}', SPLIT)
    )
    (home / "definitions.py").write_text(text)
    job = definitions(home)["defs"].resolve_job_def("exd_audit")
    keys = job.partitions_def.get_partition_keys()
    with DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, tags=range_tags(keys[0], keys[-1]))
    srm = next(check for check in done.get_asset_check_evaluations() if check.check_name == "srm")
    trust = next(check for check in done.get_asset_check_evaluations() if check.check_name == "trust")
    assert srm.metadata["verdict"].value == "fail"
    assert trust.passed
    assert trust.description.startswith("Would have blocked")


def test_every_commented_line_of_the_component_can_be_uncommented(home):
    run("../log/*.parquet", "--yaml")
    text = (home / "flag_audit/defs/flag_audit/defs.yaml").read_text()
    lines = [line.replace("# ", "", 1) if marks_a_choice(line) else line for line in text.splitlines()]
    attributes = yaml.safe_load("\n".join(lines))["attributes"]
    found = FlagAuditComponent(**{**attributes, "alerts": ()})
    assert found.flags[0].split == {"control": 0.5, "treatment": 0.5}
    assert attributes["alerts"][0]["token"] == "{{ env.SLACK_BOT_TOKEN }}"


def marks_a_choice(line: str) -> bool:
    words = ("# split:", "# alerts:", "#   - type", "#     token", "#     channel", "# base_url")
    return line.strip().startswith(words)


def test_the_component_says_the_same_as_the_project(home):
    run("../log/*.parquet")
    run("../log/*.parquet", "--yaml", "--force")
    text = (home / "flag_audit/defs/flag_audit/defs.yaml").read_text()
    component = FlagAuditComponent(**yaml.safe_load(text)["attributes"])
    assert list(component.flags) == definitions(home)["FLAGS"]
    assert component.mode == "observe"


def test_a_log_without_a_flag_column_is_of_one_flag(home):
    (home / "log.csv").write_text("user_id,ts,group\n1,2026-03-01T00:00Z,a\n2,2026-03-01T00:01Z,b\n")
    said = run("log.csv", "--flag", "landing").output
    assert "every row is of 'landing'" in said
    assert [flag.key for flag in definitions(home)["FLAGS"]] == ["landing"]


def test_a_column_that_cannot_be_reported_is_asked_for_by_name(home):
    (home / "log.csv").write_text("who,when,what\n1,2026-03-01T00:00Z,a\n")
    with pytest.raises(ExdError, match=r"variant_key and unit_id_hash .* --column variant_key="):
        run("log.csv")
    given = ["timestamp=when", "variant_key=what", "unit_id_hash=who"]
    run("log.csv", *(part for pair in given for part in ("--column", pair)))
    assert definitions(home)["FLAGS"][0].key == "log"


def test_a_table_of_a_duckdb_file_is_a_log(home):
    with duckdb.connect("log.duckdb") as connection:
        connection.execute("CREATE TABLE evaluations AS SELECT * FROM '../log/*.parquet'")
    with pytest.raises(ExdError, match=r"Did you mean \"evaluations\".*write log\.duckdb:TABLE"):
        run("log.duckdb")
    run("log.duckdb:evaluations")
    assert definitions(home)["FLAGS"][0].key == "flag-5"


def test_a_folder_is_a_log(home):
    run("../log")
    assert definitions(home)["FLAGS"][0].key == "flag-5"


def test_what_every_row_repeats_may_be_given(home):
    run("../log/*.parquet", "--constant", "namespace=shop")
    assert {flag.namespace for flag in definitions(home)["FLAGS"]} == {"shop"}


def test_the_log_is_asked_for_when_none_is_given(home):
    assert "wrote definitions.py" in run(stdin="../log/*.parquet\n").output


def test_a_file_that_exists_is_not_replaced_without_being_reported(home):
    (home / "workspace.yaml").write_text("mine")
    said = run("../log/*.parquet")
    assert said.exit_code == 2
    assert "workspace.yaml exists" in said.output
    assert not (home / "definitions.py").exists()
    run("../log/*.parquet", "--force")
    assert (home / "workspace.yaml").read_text() != "mine"


def test_an_instance_that_exists_is_left_alone(home):
    (home / "dagster.yaml").write_text("mine")
    assert "kept  dagster.yaml" in run("../log/*.parquet").output
    assert (home / "dagster.yaml").read_text() == "mine"


def test_a_project_elsewhere_finds_the_log(home, tmp_path):
    run("../log/*.parquet", "--folder", str(tmp_path / "elsewhere"))
    names = definitions(tmp_path / "elsewhere")
    assert names["defs"].resolve_asset_graph()
    assert str(tmp_path) in (tmp_path / "elsewhere" / "definitions.py").read_text()


def test_a_dg_project_gets_the_component_in_its_defs_folder(home):
    (home / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "ours"\n')
    (home / "src" / "ours").mkdir(parents=True)
    run("../log/*.parquet", "--yaml")
    assert (home / "src/ours/defs/flag_audit/defs.yaml").exists()
    assert not (home / "workspace.yaml").exists()


def test_a_dg_project_may_be_named_in_dg_toml(home):
    (home / "dg.toml").write_text('[project]\nroot_module = "ours"\n')
    run("../log/*.parquet", "--yaml")
    assert (home / "ours/defs/flag_audit/defs.yaml").exists()


def test_a_python_project_of_another_kind_is_left_alone(home):
    (home / "pyproject.toml").write_text("[project]\nname = 'ours'\n")
    said = run("../log/*.parquet", "--yaml", "--force")
    assert said.exit_code == 2
    assert "is no dg project" in said.output
    assert (home / "pyproject.toml").read_text() == "[project]\nname = 'ours'\n"


@pytest.mark.skipif(not LANDING.exists(), reason="ab_exposures_raw.csv is not here")
def test_a_real_log_with_quoted_lines_becomes_a_project(home):
    said = run(str(LANDING), "--flag", "landing-page").output
    assert "landing-page: 57," in said
    flag = definitions(home)["FLAGS"][0]
    assert isinstance(flag, FlagAudit)


@pytest.mark.e2e
def test_dg_lists_what_was_written_without_an_installation(home):
    run("../log/*.parquet", "--yaml")
    assert "experiments/production/flag_4_bins" in dg_command(home, "list", "defs", "--json")


@pytest.mark.e2e
@pytest.mark.parametrize("options", [(), ("--yaml",)], ids=["python", "yaml"])
def test_dagster_validates_what_was_written(home, options):
    run("../log/*.parquet", *options)
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_arm_that_died_is_reported_and_the_split_of_before_is_what_is_suggested_and_then_fails(
    home, tmp_path
):
    died = rows("died", [{"control": 30, "treatment": 30}] * 60 + [{"control": 30}] * 30)
    write(tmp_path / "dead", died, rows("tiny", [{"control": 3, "treatment": 2}]), rows("one", [{"on": 40}]))
    said = run("../dead/*.parquet").output
    assert "died: treatment: no unit since 2026-03-03 12:00 UTC" in said
    assert "cannot disagree with it" in said
    assert "1, fewer than 10 units: production/tiny" in said
    assert "1, one variant only: production/one" in said
    text = (home / "definitions.py").read_text()
    assert f"# {SPLIT},  # seen 50.0 / 50.0 % of 3,600 units from 2026-03-01 00:00 UTC" in text
    (home / "definitions.py").write_text(text.replace(f"# {SPLIT}", SPLIT))
    job = definitions(home)["defs"].resolve_job_def("exd_audit")
    keys = job.partitions_def.get_partition_keys()
    with DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, tags=range_tags(keys[0], keys[-1]))
    srm = next(check for check in done.get_asset_check_evaluations() if check.check_name == "srm")
    assert srm.metadata["verdict"].value == "fail"


def test_a_log_of_many_flags_says_which_are_left_out(home, tmp_path):
    write(tmp_path / "many", *(rows(f"f{i:03d}", [{"a": 10, "b": 10}]) for i in range(40)))
    said = run("../many/*.parquet").output
    assert "37, fewer units than those listed: " in said
    assert ": production/f003, production/f004, " in said  # equal units: in order of name
