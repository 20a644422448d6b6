"""The files of examples/production agree with each other, their page, and the programs they start."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.load import location_origins_from_yaml_paths

from exd_dagster.definitions.store import DuckLakeResource

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "production"
PAGE = (ROOT / "docs" / "production.md").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((FILES / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
VALUES: dict[str, Any] = yaml.safe_load((FILES / "values.yaml").read_text())
ENVIRONMENT = dict(re.findall(r'^([A-Z0-9_]+)="?(.*?)"?$', (FILES / ".env.example").read_text(), re.M))
DAGSTER = [name for name in SERVICES if name != "postgres"]


def filled(text: str) -> str:
    """Return a value of the compose file with its variables from .env.example, or `secret`."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: ENVIRONMENT[found[1]] or "secret", text)


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the code location."""
    for name, value in SERVICES["code"]["environment"].items():
        monkeypatch.setenv(name, filled(value))
    monkeypatch.setenv("DAGSTER_LOG_DIR", "/opt/dagster/logs")


def test_the_example_environment_has_exactly_the_variables_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", (FILES / "compose.yaml").read_text()))
    assert used == set(ENVIRONMENT)


def test_the_page_explains_every_variable() -> None:
    assert [name for name in ENVIRONMENT if f"`{name}`" not in PAGE] == []


def test_the_page_names_every_file() -> None:
    assert [file.name for file in FILES.iterdir() if file.is_file() and f"`{file.name}`" not in PAGE] == []


def test_a_secret_is_never_written_down() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|HEARTBEAT")
    assert {name: value for name, value in ENVIRONMENT.items() if secret.search(name) and value} == {}
    literals = {
        (service, name)
        for service, parts in SERVICES.items()
        for name, value in parts["environment"].items()
        if secret.search(name) and "${" not in value
    }
    assert literals == set()


def test_every_variable_the_files_read_is_given_to_their_process() -> None:
    given = {name: set(SERVICES[name]["environment"]) | {"DAGSTER_LOG_DIR"} for name in DAGSTER}
    instance = set(re.findall(r"env: (\w+)", (FILES / "dagster.yaml").read_text()))
    workspace = set(re.findall(r"env: (\w+)", (FILES / "workspace.yaml").read_text()))
    code = set(re.findall(r'(?:EnvVar\(|environ\[)"(\w+)"', (FILES / "definitions.py").read_text()))
    assert code
    assert all(instance <= given[name] for name in DAGSTER)
    assert workspace <= given["webserver"] & given["daemon"]
    assert code <= given["code"]
    assert not code & given["webserver"]  # secrets of the audit stay where they are used


def test_each_volume_is_declared_and_each_dependency_has_the_health_check_it_waits_for() -> None:
    named = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", ()) if v[0] != "."}
    assert named == set(COMPOSE["volumes"])
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] == "service_completed_successfully" or SERVICES[other]["healthcheck"]


def test_ports_of_commands_health_checks_and_workspace_agree() -> None:
    (server,) = yaml.safe_load((FILES / "workspace.yaml").read_text())["load_from"]
    code, webserver = SERVICES["code"], SERVICES["webserver"]
    port = code["command"][code["command"].index("-p") + 1]
    assert port == code["healthcheck"]["test"][-1] == str(server["grpc_server"]["port"])
    assert SERVICES["daemon"]["environment"]["CODE_HOST"] == "code"
    port = webserver["command"][webserver["command"].index("-p") + 1]
    assert f"127.0.0.1:{port}/server_info" in webserver["healthcheck"]["test"][-1]
    assert webserver["ports"] == [f"127.0.0.1:{port}:{port}"]
    exposed = re.search(r"^EXPOSE (.*)$", (FILES / "Dockerfile").read_text(), re.M)
    assert exposed is not None
    assert exposed[1].split() == [port, str(server["grpc_server"]["port"])]
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["port"] == server["grpc_server"]["port"]


@pytest.mark.parametrize(
    "words",
    [SERVICES[name]["command"] for name in DAGSTER]
    + [SERVICES[name]["healthcheck"]["test"][1:] for name in ("code", "daemon")],
    ids=" ".join,
)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    program = {
        "dagster": "dagster",
        "dagster-webserver": "dagster_webserver",
        "dagster-daemon": "dagster._daemon",
    }
    cut = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if words[0] == "dagster-webserver":
        cut = 1
    start = [sys.executable, "-m", program[words[0]], *words[1:cut], "--help"]
    said = subprocess.run(start, capture_output=True, text=True, check=True).stdout
    options = [word for word in words[cut:] if re.fullmatch(r"--?[a-z-]+", word)]
    assert [option for option in options if not re.search(rf"(^|[\s,]){option}[\s,]", said)] == []


def test_dagster_accepts_the_instance_and_doctor_has_no_wish_left(deployed: None) -> None:
    config, custom = dagster_instance_config(str(FILES))
    assert custom is None
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_DATABASE_URL"}}}
    assert config["run_monitoring"]["enabled"]
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert config["concurrency"]["pools"]["default_limit"] == 1
    address = SERVICES["code"]["environment"]["DAGSTER_DATABASE_URL"]
    assert address.startswith("postgresql+psycopg2://dagster:")


def test_dagster_accepts_the_workspace(deployed: None) -> None:
    (origin,) = location_origins_from_yaml_paths([str(FILES / "workspace.yaml")])
    assert (origin.location_name, origin.host, origin.port) == ("exd", "code", 4000)


def test_the_definitions_load_with_the_environment_set(
    deployed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "examples.production.definitions", raising=False)
    project = importlib.import_module("examples.production.definitions")
    dg.Definitions.validate_loadable(project.defs)
    assert {job.name for job in project.defs.resolve_all_job_defs()} >= {"exd_audit"}
    stores = [r for r in (project.defs.resources or {}).values() if hasattr(r, "duckdb")]
    assert [type(store.duckdb) for store in stores] == [DuckLakeResource] * len(stores) != []


def test_the_image_has_the_proven_versions() -> None:
    """Dagster of constraints.txt; the DuckDB and extensions that the tests of the lake run with."""
    wanted = (FILES / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in wanted if "==" in line)
    lake = (ROOT / "tests" / "lake" / "requirements.txt").read_text().splitlines()
    lake_pins = dict(line.split("==") for line in lake if "==" in line)
    assert f"dagster=={pins['dagster']}" in (ROOT / "constraints.txt").read_text().splitlines()
    duckdb = {name: pins[name] for name in pins if name.startswith("duckdb")}
    assert set(duckdb.values()) == {lake_pins["duckdb"]}
    others = {"avro", "delta", "iceberg", "sqlite-scanner"}  # of other records, of a lake in files
    left_out = {name for name in lake_pins if name.startswith("duckdb")} - set(duckdb)
    assert left_out == {f"duckdb-extension-{name}" for name in others}
    assert pins["dagster-postgres"] == lake_pins["dagster-postgres"]
    assert f"--version {pins['dagster']}" in (FILES / "values.yaml").read_text()


def test_helm_and_compose_give_the_instance_the_same_settings() -> None:
    config, _ = dagster_instance_config(str(FILES))
    daemon = VALUES["dagsterDaemon"]
    limits, wanted = VALUES["concurrency"], config["concurrency"]
    assert limits["enabled"]
    assert limits["runs"]["maxConcurrentRuns"] == wanted["runs"]["max_concurrent_runs"]
    assert limits["pools"]["defaultLimit"] == wanted["pools"]["default_limit"]
    assert limits["pools"]["granularity"] == wanted["pools"]["granularity"]
    assert "runCoordinator" not in daemon  # Dagster refuses limits in both places
    assert daemon["runRetries"]["maxRetries"] == config["run_retries"]["max_retries"]
    assert daemon["runRetries"]["retryOnAssetOrOpFailure"] is False
    assert daemon["livenessProbe"]["exec"]["command"] == SERVICES["daemon"]["healthcheck"]["test"][1:]
    for kind in ("sensor", "schedule"):
        kept = {**VALUES["retention"][kind]["purgeAfterDays"]}
        assert kept.pop("started") == -1
        assert kept == config["retention"][kind]["purge_after_days"]
    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"][-1].endswith("/app/definitions.py")
    images = [json.dumps(part["image"]) for part in (deployment, daemon, VALUES["dagsterWebserver"])]
    assert len(set(images)) == 1
