"""`exd-dagster demo` does the whole job, and a second run sends nothing again."""

import shutil

import pytest

from tests.e2e.conftest import Demo, run_demo

pytestmark = pytest.mark.e2e

BUILT = {"new-checkout-flow", "search-ranking", "dark-mode", "address-lookup"}
FAULTS = {
    "homepage-banner": {"SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"},
    "recommendations": {"SRM_SHUTOFF_TRIGGERED", "SEQUENTIAL_SRM_TRIGGERED"},
    "payment-retry": {"TRAFFIC_DROP_ANOMALY"},
}
OF_A_SEGMENT = {"homepage-banner": "sdk_version = 0.4.9", "address-lookup": "browser = Safari"}
CHANNELS = {"slack", "email", "webhook"}


@pytest.fixture(scope="module")
def again(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A second run in the same place."""
    return run_demo(shutil.copytree(demo.home, tmp_path_factory.mktemp("again"), dirs_exist_ok=True))


def test_exactly_the_planted_faults_are_found(demo: Demo) -> None:
    flags = demo.summary["flags"]
    assert {key for key, reported in flags.items() if "fail" in reported.values()} == {*FAULTS, *OF_A_SEGMENT}
    assert flags["payment-retry"]["traffic_drop"] == "fail"
    assert flags["payment-retry"]["srm"] == "pass"
    for key in ("homepage-banner", "recommendations"):
        assert (flags[key]["srm"], flags[key]["sequential_srm"], flags[key]["traffic_drop"]) == (
            "fail",
            "fail",
            "pass",
        )


def test_a_fault_of_a_segment_is_told_as_that_and_blocks_nothing_alone(demo: Demo) -> None:
    flags = demo.summary["flags"]
    found = {key: reported["usable_without"] for key, reported in flags.items() if reported["usable_without"]}
    assert found == OF_A_SEGMENT
    whole = [
        flags["address-lookup"][name] for name in ("srm", "sequential_srm", "traffic_drop", "segment_srm")
    ]
    assert whole == ["pass", "pass", "pass", "fail"]
    assert "browser = Safari" in demo.shown


def test_reports_are_built_for_flags_that_are_not_blocked_only(demo: Demo) -> None:
    reports = {key: reported["report"] for key, reported in demo.summary["flags"].items()}
    assert reports == {**dict.fromkeys(BUILT, "built"), **dict.fromkeys(FAULTS, "blocked")}
    assert {path.stem for path in (demo.home / ".demo" / "reports").glob("*.csv")} == BUILT


def test_each_fault_is_delivered_once_on_each_channel(demo: Demo) -> None:
    reported = [
        (row["channel"], row["flag"], row["alert_type"], row["status"]) for row in demo.summary["deliveries"]
    ]
    wanted = {
        (channel, flag, alert, "sent")
        for channel in CHANNELS
        for flag, alerts in FAULTS.items()
        for alert in alerts
    }
    assert sorted(reported) == sorted(wanted)


def test_a_second_run_gives_the_same_verdicts_and_sends_nothing_again(demo: Demo, again: Demo) -> None:
    assert again.summary["flags"] == demo.summary["flags"]
    assert {row["status"] for row in again.summary["deliveries"]} == {"already_sent"}
    sent = [path for path in (again.home / ".demo" / "inbox" / "webhook").iterdir() if path.suffix == ".json"]
    assert len(sent) == sum(len(alerts) for alerts in FAULTS.values())


def test_it_shows_a_row_per_flag_and_where_to_look_next(demo: Demo) -> None:
    for key in (*BUILT, *FAULTS):
        assert key in demo.shown
    assert "dagster dev -m exd_dagster.demo.project, then http://127.0.0.1:3000/assets" in demo.shown
