"""examples/production at work: PostgreSQL, an S3 server, code location, webserver and daemon as processes."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from exd_dagster.definitions.alerting.sensor import deliveries
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.definitions.store import DuckLakeResource
from tests.lake.deployment import FILES, Deployment, deployed, wait_until
from tests.logs import HOUR, START, broken, healthy, rows, write
from tests.servers.http import HttpServer
from tests.servers.postgres import Postgres
from tests.servers.slack import BOT_TOKEN, SlackServer

pytestmark = pytest.mark.lake
HOURS = 6


@pytest.fixture
def settings(tmp_path: Path, postgres: Postgres, s3: str) -> dict[str, str]:
    """Databases made by the script of the compose file, records in the bucket: what goes into .env."""
    pytest.importorskip("dagster_postgres", reason="run `make lake`")
    address = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "POSTGRES_USER": "postgres"}
    secrets = {"DAGSTER_DB_PASSWORD": "one", "EXD_DB_PASSWORD": "two"}
    subprocess.run([FILES / "postgres-init.sh"], env={**os.environ, **address, **secrets}, check=True)
    heartbeat = rows("heartbeat", healthy(1), start=START + (HOURS + 2) * HOUR)
    write(tmp_path / "records", rows("new-checkout", broken(HOURS)), heartbeat)
    boto3.client("s3").upload_file(tmp_path / "records" / "log.parquet", "company", "logs/log.parquet")
    server = f"127.0.0.1:{postgres.port}"
    return {
        "DAGSTER_DATABASE_URL": f"postgresql+psycopg2://dagster:one@{server}/dagster",
        "EXD_CATALOG": f"postgresql://exd:two@{server}/exd",
        "EXD_RECORDS": f"{s3}/logs/*.parquet",
        "EXD_DATA": f"{s3}/production/bins/",
        "DAGSTER_URL": "https://dagster.example.com",
        "SLACK_BOT_TOKEN": BOT_TOKEN,
        "SLACK_CHANNEL": "#experiments",
        "AWS_REGION": "us-east-1",
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
    }


@pytest.fixture
def heartbeat() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def test_killing_each_process_loses_nothing_and_tells_nobody_twice(
    tmp_path: Path, settings: dict[str, str], heartbeat: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit, SIGKILL of webserver, daemon and code location, and the audit again change no answer."""
    with SlackServer() as slack:
        local = {
            'dg.EnvVar("SLACK_CHANNEL")': f'dg.EnvVar("SLACK_CHANNEL"), base_url="{slack.url}"',
            'dg.EnvVar("HEARTBEAT_URL")': 'dg.EnvVar("HEARTBEAT_URL"), allow_hosts=("127.0.0.1",)',
        }
        settings = {**settings, "HEARTBEAT_URL": f"{heartbeat.url}/beat"}
        with deployed(tmp_path, settings, local) as deployment:
            monkeypatch.setenv("DAGSTER_DATABASE_URL", settings["DAGSTER_DATABASE_URL"])
            monkeypatch.setenv("DAGSTER_LOG_DIR", str(deployment.logs))
            with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
                audit(deployment, instance)
                wait_until(lambda: told(slack), "the alert")
                settled(instance)
                before, answers = told(slack), stored(settings)
                assert set(before.values()) == {1}
                assert answers["trust"] == [("new-checkout", False, answers["trust"][0][2])]
                assert "srm" in answers["trust"][0][2]
                for service in ("webserver", "daemon", "code"):
                    deployment.kill(service)
                    deployment.start(service)
                beats = len(heartbeat.received)
                audit(deployment, instance)
                settled(instance)
                wait_until(lambda: len(heartbeat.received) > beats, "a heartbeat")
                assert told(slack) == before
                assert stored(settings) == answers
                assert len(runs(instance)) == 2
                assert {row.status for row in deliveries(instance)} == {"sent"}


def audit(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    """Launch the audit of all hours through the queue; wait for its end and for the trust it gives."""
    began = time.time()
    known = {run.run_id for run in runs(instance)}
    tags = range_tags(f"{START:%Y-%m-%d-%H:%M}", f"{START + (HOURS - 1) * HOUR:%Y-%m-%d-%H:%M}")
    words = ["dagster", "job", "launch", "-w", "workspace.yaml", "-j", "exd_audit", "--tags"]
    launched = deployment.run("daemon", *words, json.dumps(tags))
    assert launched.returncode == 0, launched.stderr

    def ended() -> bool:
        (run,) = (run for run in runs(instance) if run.run_id not in known)
        return run.is_finished

    def written() -> bool:
        event = instance.get_latest_materialization_event(dg.AssetKey("flag_trust"))
        return event is not None and event.timestamp > began

    wait_until(ended, "the audit", 240)
    wait_until(written, "flag_trust", 240)


def runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name="exd_audit")))


def told(slack: SlackServer) -> Counter[str]:
    """How often each message about the flag was posted, by its heading."""
    posted = [body["blocks"][0]["text"]["text"] for body in slack.called("chat.postMessage")]
    return Counter(heading for heading in posted if " on new-checkout" in heading)


def settled(instance: dg.DagsterInstance) -> None:
    """Wait until the alert sensor has ticked twice from now on, and everything it decided is sent."""
    began = time.time()

    def ticked() -> bool:
        (state,) = (s for s in instance.all_instigator_state() if s.instigator_name == "exd_check_alerts")
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=began)
        return len([tick for tick in ticks if tick.is_completed]) >= 2

    wait_until(ticked, "the alert sensor", 240)
    wait_until(lambda: {row.status for row in deliveries(instance)} == {"sent"}, "the outbox to be sent")


def stored(settings: dict[str, str]) -> dict[str, Any]:
    """What reports read from the lake: the bins, and whether the flag may be used."""
    lake = DuckLakeResource(catalog=settings["EXD_CATALOG"], data_path=settings["EXD_DATA"])
    with lake.get_connection() as connection:
        bins = connection.execute("FROM flag_bins ORDER BY ALL").fetchall()
        trust = connection.execute(
            "SELECT flag_key, trusted, failing FROM flag_trust ORDER BY ALL"
        ).fetchall()
    return {"bins": bins, "trust": trust}
