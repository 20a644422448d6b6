"""Backfills by Dagster's own daemon, of reports protected with `until="usable"`, before and after a fault.

A real `dagster dev`, asked over GraphQL as its page asks; every run is launched by the daemon.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import dagster as dg
import pytest

from tests.e2e.webserver import ROOT, webserver

pytestmark = pytest.mark.e2e

PROJECT = """
from pathlib import Path

import dagster as dg

import exd_dagster as exd
from tests.fleet import Fleet
from tests.logs import broken, healthy

DAYS = dg.DailyPartitionsDefinition("2026-03-01", end_date="2026-03-03")


class Written(Fleet):
    def write(self) -> None:  # each run imports this file, while another one reads the log
        if not (self.folder / "log" / "log.parquet").exists():
            super().write()


fleet = Written(
    Path(__file__).parent,
    {"checkout": [*healthy(36, 30), *broken(12, 30)]},
    options={"sensor_status": dg.DefaultSensorStatus.STOPPED},
)


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run())
def by_day() -> None: ...


@dg.multi_asset(
    specs=[dg.AssetSpec(name, skippable=True, partitions_def=DAYS) for name in ("conversion", "revenue")],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.multi_run(),
)
def marts(context: dg.AssetExecutionContext):  # stands for a dbt project
    for key in sorted(context.selected_asset_keys):
        yield dg.MaterializeResult(asset_key=key)


defs = exd.protect(
    dg.Definitions.merge(fleet.defs, dg.Definitions(assets=[by_day, marts])),
    {name: ["checkout"] for name in ("by_day", "conversion")},
    until="usable",
)
"""
DAYS = ["2026-03-01", "2026-03-02"]
"""The fault begins at noon of the second."""
HOURS = [f"{day}-{hour:02d}:00" for day in DAYS for hour in range(24)]
BINS = "experiments/checkout_bins"


@dataclass(frozen=True)
class Backfilled:
    """What a backfill came to.

    Attributes:
        status: as Dagster's page shows it.
        built: partitions of each asset that were materialized by its runs.
        said: why steps of its runs failed.
    """

    status: str
    built: dict[str, list[str]]
    said: list[str]


@dataclass(frozen=True)
class Project:
    """A project in a running Dagster."""

    url: str
    instance: dg.DagsterInstance

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            return json.load(answer)["data"]

    def launch(self, days: dict[str, list[str]]) -> str:
        """Launch a backfill of partitions by asset, as "Materialize" does, and return its id."""
        launch = """mutation($params: LaunchBackfillParams!) {
            launchPartitionBackfill(backfillParams: $params) {
                __typename ... on LaunchBackfillSuccess { backfillId } } }"""
        wanted = [
            {
                "assetKey": {"path": asset.split("/")},
                "partitions": {"ranges": [{"start": chosen[0], "end": chosen[-1]}]},
            }
            for asset, chosen in days.items()
        ]
        launched = self.ask(launch, params={"partitionsByAssets": wanted, "tags": []})
        return launched["launchPartitionBackfill"]["backfillId"]

    def ended(self, name: str, seconds: float = 400) -> Backfilled:
        """Wait until the daemon has ended a backfill."""
        status = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
            ... on PartitionBackfill { status } } }"""
        ends = time.monotonic() + seconds
        while True:
            now = self.ask(status, id=name)["partitionBackfillOrError"]["status"]
            if now not in ("REQUESTED", "FAILING", "CANCELING"):
                return self.became(now, name)
            assert time.monotonic() < ends, f"the backfill is still {now}"
            time.sleep(0.5)

    def became(self, status: str, name: str) -> Backfilled:
        built: dict[str, list[str]] = {}
        said = []
        for run in self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": name})):
            for entry in self.instance.all_logs(run.run_id):
                event = entry.dagster_event
                if event and event.is_step_materialization and event.partition:
                    built.setdefault(event.asset_key.to_user_string(), []).append(event.partition)
                if event and event.is_step_failure and event.step_failure_data.user_failure_data:
                    said.append(str(event.step_failure_data.user_failure_data.description))
        return Backfilled(status, {asset: sorted(days) for asset, days in built.items()}, said)


DAEMON = (
    "from dagster._daemon import cli, controller; controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1; cli.main()"
)
"""Dagster's daemon, whose look at backfills comes each second in place of each half minute."""


@contextmanager
def daemon(home: Path) -> Iterator[None]:
    """Run the daemon of a project, and end it on leaving."""
    with (home / "daemon.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, "run", "-f", "project.py"],
            cwd=home,
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    home = tmp_path_factory.mktemp("backfill")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "project.py").write_text(PROJECT)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        webserver(home, "-f", "project.py") as url,
        daemon(home),
    ):
        yield Project(url, instance)


@pytest.fixture(scope="module")
def together(project: Project) -> Backfilled:
    """One backfill of bins and reports, which were never built: the audit fails within it."""
    return project.ended(project.launch({BINS: HOURS, "by_day": DAYS, "conversion": DAYS, "revenue": DAYS}))


def test_the_days_before_the_fault_are_built_and_no_other(together: Backfilled) -> None:
    assert together.built["by_day"] == together.built["conversion"] == DAYS[:1]


def test_what_is_not_protected_in_the_same_step_is_built_on_every_day(together: Backfilled) -> None:
    assert together.built["revenue"] == DAYS


def test_the_page_of_the_backfill_says_that_partitions_are_missing(together: Backfilled) -> None:
    assert together.status == "COMPLETED_FAILED"


def test_the_run_of_the_blocked_day_says_why_and_what_may_be_built(together: Backfilled) -> None:
    (said,) = {text for text in together.said if text.startswith("Blocked by the flag audit.")}
    assert "since about 2026-03-02 12:00 UTC" in said
    assert said.endswith("Partitions that end before the fault may be built.")
