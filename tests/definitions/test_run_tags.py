"""Which runs are tagged as audits, and with which flags."""

from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.definitions.gate import gated_job
from exd_dagster.definitions.run_tags import LONGEST, joined
from tests.fleet import Fleet
from tests.logs import broken, healthy

HOURS = 4


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A healthy flag and two that fail."""
    return Fleet(tmp_path, {"good": healthy(HOURS), "bad": broken(HOURS), "worse": broken(HOURS)})


def tags(instance: dg.DagsterInstance, ran: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return our tags of a run."""
    run = instance.get_run_by_id(ran.run_id)
    assert run is not None
    return {name: tag for name, tag in run.tags.items() if name.startswith("exd/")}


def test_every_failing_flag_of_an_audit_is_listed(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    found = tags(instance, fleet.run(instance, fleet.bins))
    assert (found["exd/audit"], set(found["exd/failing"].split(", "))) == ("true", {"bad", "worse"})


def test_an_audit_in_which_no_flag_fails_lists_none(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"good": healthy(HOURS)})
    assert tags(instance, fleet.run(instance, fleet.bins)) == {"exd/audit": "true"}


def test_a_flag_that_blocks_nothing_is_not_listed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    fleet = Fleet(tmp_path, {"bad": broken(HOURS)}, mode="warn")
    assert tags(instance, fleet.run(instance, fleet.bins)) == {"exd/audit": "true"}


def test_a_gated_job_lists_the_flags_and_is_no_audit(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    fleet.run(instance, fleet.bins)
    job = gated_job("gated", fleet.only_reports, bins=[fleet.keys["bad"]])
    defs = dg.Definitions.merge(fleet.defs, dg.Definitions(jobs=[job]))
    ran = defs.resolve_job_def("gated").execute_in_process(instance=instance, raise_on_error=False)
    assert tags(instance, ran) == {"exd/failing": "bad"}


def test_checks_run_alone_are_an_audit(fleet: Fleet, instance: dg.DagsterInstance) -> None:
    fleet.run(instance, fleet.bins)
    ran = fleet.run(instance, dg.AssetSelection.checks_for_assets(fleet.keys["good"]), hours=False)
    assert tags(instance, ran) == {"exd/audit": "true"}


def test_the_whole_group_of_a_fleet_is_an_audit(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """What "Materialize all" on the group of a fleet selects."""
    fleet = Fleet(tmp_path, {"good": healthy(HOURS)})
    ran = fleet.run(instance, dg.AssetSelection.groups("experiments").materializable())
    assert tags(instance, ran) == {"exd/audit": "true"}


@pytest.mark.parametrize(
    ("names", "name", "whole"),
    [("", "a", "a"), ("a", "b", "a, b"), ("a, b", "a", "a, b"), ("a, ...", "b", "a, ...")],
)
def test_a_list_of_flags_holds_each_once(names: str, name: str, whole: str) -> None:
    assert joined(names, name) == whole


def test_a_list_of_many_flags_stays_short_enough_for_an_index() -> None:
    names = ""
    for number in range(500):
        names = joined(names, f"flag-{number}")
    assert len(names) <= LONGEST + len(", ...")
    assert names.endswith(", ...")
