"""`exd-dagster demo` does the whole job, and a second run sends nothing again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
HEALTHY = {"new-checkout-flow", "search-ranking", "dark-mode"}
FAULTS = {
    "homepage-banner": {"SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"},
    "recommendations": {"SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"},
    "payment-retry": {"TRAFFIC_DROP_ANOMALY"},
}
CHANNELS = {"slack", "email", "webhook"}


def run(home: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", "from exd_dagster.cli import main; main()", "demo"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary: dict[str, Any] = json.loads((home / ".demo" / "summary.json").read_text())
    return {**summary, "shown": done.stdout}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    home = tmp_path_factory.mktemp("demo")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, home / name)
    return run(home), run(home), home


def test_exactly_the_planted_faults_are_found(runs: Any) -> None:
    flags = runs[0]["flags"]
    assert {key for key, told in flags.items() if "fail" in told.values()} == set(FAULTS)
    assert flags["payment-retry"]["traffic_drop"] == "fail"
    assert flags["payment-retry"]["srm"] == "pass"
    for key in ("homepage-banner", "recommendations"):
        assert (flags[key]["srm"], flags[key]["sequential_srm"], flags[key]["traffic_drop"]) == (
            "fail",
            "fail",
            "pass",
        )


def test_reports_are_built_for_healthy_flags_only(runs: Any) -> None:
    reports = {key: told["report"] for key, told in runs[0]["flags"].items()}
    assert reports == {**dict.fromkeys(HEALTHY, "built"), **dict.fromkeys(FAULTS, "blocked")}
    assert {path.stem for path in (runs[2] / ".demo" / "reports").glob("*.csv")} == HEALTHY


def test_each_fault_is_delivered_once_on_each_channel(runs: Any) -> None:
    told = [(row["channel"], row["flag"], row["alert_type"], row["status"]) for row in runs[0]["deliveries"]]
    wanted = {
        (channel, flag, alert, "sent")
        for channel in CHANNELS
        for flag, alerts in FAULTS.items()
        for alert in alerts
    }
    assert sorted(told) == sorted(wanted)


def test_a_second_run_gives_the_same_verdicts_and_sends_nothing_again(runs: Any) -> None:
    first, second, home = runs
    assert second["flags"] == first["flags"]
    assert {row["status"] for row in second["deliveries"]} == {"already_sent"}
    incidents = [path for path in (home / ".demo" / "inbox" / "webhook").iterdir() if path.suffix == ".json"]
    assert len(incidents) == sum(len(alerts) for alerts in FAULTS.values())


def test_it_shows_a_row_per_flag_and_where_to_look_next(runs: Any) -> None:
    for key in (*HEALTHY, *FAULTS):
        assert key in runs[0]["shown"]
    assert "make ui" in runs[0]["shown"]
