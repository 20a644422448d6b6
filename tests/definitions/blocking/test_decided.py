"""A person's decision, from the launchpad to the report, and back when it ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest
import time_machine

from exd_dagster.definitions.gate import blocked_by
from exd_dagster.definitions.run_tags import AUDIT_TAG
from tests.fleet import Fleet, built
from tests.logs import broken

HOURS = 4
LATER = datetime.now(timezone.utc) + timedelta(days=2)


@dataclass
class Office:
    """Two failing flags with guarded reports, and a person who decides about one."""

    fleet: Fleet
    instance: dg.DagsterInstance
    cursor: str | None = None

    def decide(self, kind: str, flags: str) -> bool:
        """Run the job `flag_decision` as from the launchpad."""
        until = datetime.now(timezone.utc) + timedelta(days=1)
        config = {"kind": kind, "flags": flags, "reason": "known", "by": "ana", "until": until.isoformat()}
        job = self.fleet.defs.resolve_job_def("flag_decision")
        run_config = {"ops": {"flag_decisions": {"config": config}}}
        ran = job.execute_in_process(run_config=run_config, instance=self.instance, raise_on_error=False)
        return ran.success

    def tick(self) -> dg.RunRequest | None:
        """Let the sensor look once, and run what it asks for."""
        repository = self.fleet.defs.get_repository_def()
        sensor = repository.get_sensor_def("exd_decision_checks")
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=repository, cursor=self.cursor, sensor_name=sensor.name
        )
        asked = sensor.evaluate_tick(context).run_requests
        self.cursor = context.cursor
        if not asked:
            return None
        (request,) = asked
        job = self.fleet.defs.resolve_job_def("exd_decision_checks")
        part = job.get_subset(asset_check_selection=set(request.asset_check_keys or ()))
        part.execute_in_process(instance=self.instance, raise_on_error=False)
        return request

    def reports(self) -> set[str]:
        """Build every report by hand; return those that ran."""
        return built(self.fleet.run(self.instance, self.fleet.only_reports, hours=False))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    fleet = Fleet(folder, {"bad": broken(HOURS), "other": broken(HOURS)}, guard=blocked_by)
    with dg.DagsterInstance.ephemeral() as instance:
        fleet.run(instance, fleet.bins)
        yield Office(fleet, instance)


@pytest.fixture(scope="module")
def story(office: Office) -> dict[str, object]:
    """What happened, step by step."""
    reported: dict[str, object] = {"before": office.reports(), "quiet": office.tick()}
    reported["mistyped"] = office.decide("waive", "bda")
    reported["recorded"] = office.decide("waive", "bad")
    reported["undone yet"] = office.reports()
    reported["asked"] = office.tick()
    reported["waived"] = office.reports()
    reported["asked twice"] = office.tick()
    with time_machine.travel(LATER):
        reported["after its end"] = office.reports()
        reported["asked at its end"] = office.tick()
        reported["asked at its end twice"] = office.tick()
        reported["judged again"] = office.reports()
        reported["audited again"] = built(office.fleet.run(office.instance))
    return reported


def test_before_anyone_decides_both_reports_are_refused(story: dict[str, object]) -> None:
    assert (story["before"], story["quiet"]) == (set(), None)


def test_a_decision_about_an_unknown_flag_is_not_recorded(story: dict[str, object]) -> None:
    assert story["mistyped"] is False


def test_a_decision_alone_runs_no_report(story: dict[str, object]) -> None:
    assert (story["recorded"], story["undone yet"]) == (True, set())


def test_the_sensor_repeats_the_checks_of_that_flag_only(story: dict[str, object]) -> None:
    asked = story["asked"]
    assert isinstance(asked, dg.RunRequest)
    keys = asked.asset_check_keys or ()
    assert {key.asset_key.path[-1] for key in keys} == {"bad_bins"}
    assert {"srm", "sequential_srm", "traffic_drop", "trust"} <= {key.name for key in keys}


def test_a_waiver_lets_the_report_of_that_flag_run(story: dict[str, object]) -> None:
    assert story["waived"] == {"bad_report"}


def test_one_decision_repeats_the_checks_once(story: dict[str, object]) -> None:
    assert story["asked twice"] is None


def test_the_guard_refuses_from_the_minute_a_waiver_ends(story: dict[str, object]) -> None:
    assert story["after its end"] == set()


def test_the_sensor_repeats_the_checks_once_when_a_waiver_ends(story: dict[str, object]) -> None:
    asked = story["asked at its end"]
    assert isinstance(asked, dg.RunRequest)
    assert {key.asset_key.path[-1] for key in asked.asset_check_keys or ()} == {"bad_bins"}
    assert story["asked at its end twice"] is None


def test_the_next_audit_blocks_again(story: dict[str, object]) -> None:
    assert (story["judged again"], story["audited again"]) == (set(), {"bad_bins", "other_bins"})


@pytest.mark.parametrize("name", ["exd_audit", "exd_decision_checks"])
def test_every_run_of_the_audit_carries_its_tag(office: Office, name: str) -> None:
    assert office.fleet.defs.resolve_job_def(name).tags[AUDIT_TAG] == "true"
