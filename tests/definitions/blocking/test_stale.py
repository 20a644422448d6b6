"""`max_age`: a schedule or a loader that stopped leaves no report green, whichever way it is built."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.freshness import FreshnessDaemon

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.audit.freshness import fresh_until
from exd_dagster.config import FlagAudit
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import run_alert_sensor
from exd_dagster.definitions.checks import trust_key
from exd_dagster.definitions.flag_trust import trust
from exd_dagster.definitions.gate import blocked_by, gated_job
from exd_dagster.definitions.internals import latest_checks
from tests.fleet import Fleet, built
from tests.logs import HOUR, START, healthy

HOURS = 6
DAY_AND_A_HALF = timedelta(hours=36)
AUDITED = START + 30 * HOUR
"""When the audit runs: 24 h after the newest hour of the log."""
LATER = AUDITED + timedelta(hours=20)
"""A day without an audit on: the newest hour is 44 h old."""


class Shop:
    """One healthy flag that goes on, its log that stopped, and a report behind it."""

    def __init__(
        self,
        folder: Path,
        instance: dg.DagsterInstance,
        *,
        max_age: timedelta | None = DAY_AND_A_HALF,
        ended: bool = False,
        **more: Any,
    ) -> None:
        self.reported: list[Notification] = []
        options = {"max_age": max_age, "alerts": [CallbackAlerts(self.reported.append)]}
        self.fleet = Fleet(folder, {"good": healthy(HOURS)}, options=options, ended=ended, **more)
        self.instance = instance

    def tick(self) -> None:
        run_alert_sensor(self.fleet.defs.get_sensor_def("exd_check_alerts"), self.instance, self.fleet.defs)

    def everything(self) -> set[str]:
        """Audit and build the report in one run."""
        return built(self.fleet.run(self.instance))

    def gated(self) -> set[str]:
        """Build the report with a gated job."""
        job = gated_job("gated", self.fleet.only_reports, bins=list(self.fleet.keys.values()))
        defs = dg.Definitions.merge(self.fleet.defs, dg.Definitions(jobs=[job]))
        return built(
            defs.resolve_job_def("gated").execute_in_process(instance=self.instance, raise_on_error=False)
        )

    def by_hand(self) -> set[str]:
        return built(self.fleet.run(self.instance, self.fleet.only_reports, hours=False))


@pytest.fixture
def shop(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Shop]:
    """Audited in time; then the clock stands at LATER."""
    made = Shop(tmp_path, instance, guard=blocked_by)
    with time_machine.travel(AUDITED, tick=False):
        assert made.everything() == {"good_bins", "good_report"}
    with time_machine.travel(LATER, tick=False):
        yield made


def test_a_guard_refuses_although_the_check_once_passed(shop: Shop) -> None:
    assert shop.by_hand() == set()


def test_a_gated_job_refuses_although_it_repeats_the_checks(shop: Shop) -> None:
    assert shop.gated() == set()


def test_an_audit_of_a_log_that_stopped_blocks_in_its_own_run(shop: Shop) -> None:
    assert shop.everything() == {"good_bins"}


def test_checks_repeated_on_old_bins_do_not_make_them_fresh(shop: Shop) -> None:
    shop.fleet.run(shop.instance, dg.AssetSelection.checks_for_assets(*shop.fleet.keys.values()), hours=False)
    assert shop.by_hand() == set()


def test_the_answer_says_how_old_it_is_and_what_to_look_at(shop: Shop) -> None:
    shop.gated()
    said = (
        "Not trusted. Stale: audited through 2026-03-01 06:00 UTC, to be used until 2026-03-02 18:00 UTC; "
        "is the schedule running, and do records arrive?"
    )
    assert trust("good", shop.fleet.folder / "bins.duckdb").sentence == said


def test_people_are_reported_once_that_nothing_was_audited(shop: Shop) -> None:
    """The alert sensor sees it without any run: it is the schedule that stopped."""
    for _ in range(2):
        shop.tick()
    (reported,) = [note for note in shop.reported if note.reason == "not_checked"]
    assert (reported.alerts[0].check, reported.alerts[0].flag.key) == ("trust", "good")
    assert reported.alerts[0].sentence.startswith("Stale: audited through 2026-03-01 06:00 UTC")


def test_while_it_is_fresh_nobody_is_reported(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    made = Shop(tmp_path, instance)
    with time_machine.travel(AUDITED, tick=False):
        made.everything()
        made.tick()
    assert [note for note in made.reported if note.reason == "not_checked"] == []


def test_a_flag_that_has_ended_keeps_its_answer(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    made = Shop(tmp_path, instance, ended=True, guard=blocked_by)
    with time_machine.travel(AUDITED, tick=False):
        made.everything()
    with time_machine.travel(LATER, tick=False):
        assert (made.by_hand(), made.gated()) == ({"good_report"}, {"good_report"})


@pytest.mark.parametrize("mode", ["observe", "warn"])
def test_outside_mode_block_old_answers_block_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, mode: str
) -> None:
    made = Shop(tmp_path, instance, mode=mode, guard=blocked_by)
    with time_machine.travel(AUDITED, tick=False):
        made.everything()
    with time_machine.travel(LATER, tick=False):
        assert (made.by_hand(), made.gated()) == ({"good_report"}, {"good_report"})
        (record,), _ = latest_checks(instance, [trust_key(made.fleet.keys["good"])])
    assert record.description.startswith(f"Would have blocked (mode {mode}). Stale: ")


def test_without_a_limit_an_answer_is_never_too_old() -> None:
    assert fresh_until(FlagAudit(key="good", start=START), START, None) is None


def test_the_limit_of_a_guard_counts_the_age_of_the_data(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Without a limit of the fleet, checks repeated on old bins pass, and the guard is not fooled by them."""
    made = Shop(tmp_path, instance, max_age=None, guard=partial(blocked_by, max_age=DAY_AND_A_HALF))
    with time_machine.travel(AUDITED, tick=False):
        made.everything()
        assert made.by_hand() == {"good_report"}
    with time_machine.travel(LATER, tick=False):
        assert made.gated() == set()
        assert latest_checks(instance, [trust_key(made.fleet.keys["good"])])[0][0].passed


@pytest.mark.e2e
@pytest.mark.parametrize(("hours", "state"), [(20, "PASS"), (40, "FAIL")])
def test_dagsters_freshness_daemon_finds_bins_that_were_built_too_long_ago(hours: int, state: str) -> None:
    """Its verdict is what the asset's page shows and what the gate listens to."""
    bins = dg.AssetKey(["experiments", "a_bins"])
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name="tests.definitions.blocking.project",
            attribute="aged",
            working_directory=str(Path(__file__).parents[3]),
        ),
        location_name="project",
    )
    target = InProcessWorkspaceLoadTarget(origin)
    with (
        dg.instance_for_test() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        with time_machine.travel(AUDITED, tick=False):
            built_now = dg.AssetMaterialization(bins, partition=f"{START:%Y-%m-%d-%H:%M}")
            instance.report_runless_asset_event(built_now)
        with time_machine.travel(AUDITED + timedelta(hours=hours), tick=False):
            list(FreshnessDaemon().run_iteration(workspace))
        (record,) = instance.get_freshness_state_records([bins]).values()
    assert record.freshness_state.value == state
