"""What Dagster's backfill daemon launches when thirty days are filled from the assets' page."""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

pytestmark = pytest.mark.e2e

Backfill = tuple[dg.DagsterInstance, list[dg.DagsterRun]]
ROOT = Path(__file__).parents[3]
QUEUED = {
    "run_coordinator": {
        "module": "dagster._core.run_coordinator.queued_run_coordinator",
        "class": "QueuedRunCoordinator",
    }
}
BINS = [dg.AssetKey(["experiments", f"{flag}_bins"]) for flag in ("a", "b")]


@pytest.fixture(scope="module")
def backfill() -> Iterator[Backfill]:
    """The instance, and the runs that one backfill of 720 hours of two flags leaves in the queue."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(
            executable_path=sys.executable,
            module_name="tests.definitions.blocking.project",
            attribute="month",
            working_directory=str(ROOT),
        ),
        location_name="project",
    )
    with (
        dg.instance_for_test(overrides=QUEUED) as instance,
        create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), instance) as workspace,
    ):
        graph = workspace.create_request_context().asset_graph
        instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id="month",
                asset_graph=graph,
                partition_names=None,
                asset_selection=BINS,
                backfill_timestamp=time.time(),
                tags={},
                dynamic_partitions_store=instance,
                all_partitions=True,
                title=None,
                description=None,
                run_config=None,
            )
        )
        list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
        yield instance, instance.get_runs()


def test_it_is_one_run(backfill: Backfill) -> None:
    assert len(backfill[1]) == 1


def test_the_run_covers_every_hour_of_every_flag(backfill: Backfill) -> None:
    (run,) = backfill[1]
    assert run.tags["dagster/asset_partition_range_start"] == "2026-03-01-00:00"
    assert run.tags["dagster/asset_partition_range_end"] == "2026-03-30-23:00"
    assert run.asset_selection == set(BINS)


def test_the_run_includes_the_checks_of_every_flag(
    backfill: Backfill,
) -> None:
    instance, (run,) = backfill
    planned = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    checks = [entry.get_dagster_event().event_specific_data for entry in planned]
    trust = [check.asset_key for check in checks if check.check_name == "trust"]
    assert sorted(trust) == BINS
