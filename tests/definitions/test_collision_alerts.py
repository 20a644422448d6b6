"""A pair of flags that share a salt is one incident: sent, routed, answered by people, and resolved."""

import logging
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from dagster_duckdb import DuckDBResource

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.alerting.destinations import CallbackAlerts
from exd_dagster.definitions.alerting.sensor import alert_plans, load_states
from exd_dagster.definitions.build import build_flag_audit_defs
from exd_dagster.definitions.decisions.asset import make_decision, record_decision
from exd_dagster.definitions.fleet.collisions import collision_result
from exd_dagster.definitions.schedules import range_tags
from exd_dagster.errors import ConfigError
from exd_dagster.stats.collisions import CollisionVerdict, Pair
from tests.definitions.test_collisions import HOURS, SPLIT, USERS, exposures
from tests.logs import HOUR, START, healthy, rows, write

OWNERS = {"checkout": ("team:pay",), "search": ("team:find",), "pricing": ()}
PAIR = "checkout & search"


class Project:
    """Three flags, two of one salt; what is sent is kept by the name of its destination."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **options: object) -> None:
        self.folder, self.instance = folder, instance
        self.sent: dict[str, list[Notification]] = {"all": [], "find": []}
        self.flags = {key: FlagAudit(key=key, split=SPLIT, start=START, owners=OWNERS[key]) for key in OWNERS}
        self.build(**options)

    def build(self, **options: object) -> None:
        alerts = [CallbackAlerts(kept.append, name=name) for name, kept in self.sent.items()]
        self.defs = build_flag_audit_defs(
            [*self.flags.values()],
            self.log(shared=True),
            DuckDBResource(database=str(self.folder / "bins.duckdb")),
            alerts=alerts,
            **{"routes": [{"to": ["all"]}], "digest": False, **options},
        )

    def log(self, *, shared: bool) -> str:
        """Write the log; without a shared salt the flag search has one of its own."""
        random = np.random.default_rng(7)
        one, other, third = (random.permutation(USERS) / USERS for _ in range(3))
        buckets = {"checkout": one, "search": one if shared else third, "pricing": other}
        beat = rows("beat", healthy(1), start=START + (HOURS + 1) * HOUR + HOUR / 2)
        return write(
            self.folder / "log", *(exposures(flag, bucket) for flag, bucket in buckets.items()), beat
        )

    def compared(self, *, shared: bool = True) -> list[Notification]:
        """Record the answers that a night gives, let the sensor tick; return what was sent to everybody."""
        before = len(self.sent["all"])
        pair = Pair(("checkout", "search"), 400, 90.0, ("control", "treatment"), 0, 100.0)
        found = CollisionVerdict(check="assignment_collision", verdict="pass", compared=3, pairs=3)
        if shared:
            found = replace(found, verdict="fail", severity="WARN", collisions=(pair,))
        result = collision_result(found)
        self.record("flag_trust", "assignment_collision", result.passed, result.metadata)
        for flag in self.flags:
            through = {"verdict": "pass", "audited_through": "2026-03-02T00:00:00Z"}
            self.record(["experiments", f"{flag}_bins"], "srm", True, through)
        self.tick()
        return self.sent["all"][before:]

    def record(self, asset: object, check: str, passed: bool, metadata: object) -> None:
        event = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset),
            check_name=check,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )
        self.instance.report_runless_asset_event(event)

    def night(self, *, shared: bool = True) -> list[Notification]:
        """Audit, compare the fleet, let the alert sensor tick; return what was sent to everybody."""
        self.log(shared=shared)
        before = len(self.sent["all"])
        tags = range_tags("2026-03-01-00:00", "2026-03-01-03:00")
        run = {"instance": self.instance, "raise_on_error": False}
        self.defs.resolve_job_def("exd_audit").execute_in_process(tags=tags, **run)
        self.defs.resolve_job_def("exd_flag_trust").execute_in_process(**run)
        self.tick()
        return self.sent["all"][before:]

    def tick(self) -> None:
        plan = next(plan for plan in alert_plans() if plan.name == "exd_check_alerts")
        plan.tick(self.instance, logging.getLogger("test"))

    def incidents(self) -> list[str]:
        return [*load_states(self.instance)["exd_check_alerts"].incidents]

    def decide(self, kind: str, flags: str, check: str = "*") -> None:
        config = {"kind": kind, "flags": flags, "checks": check, "reason": "r", "by": "ana"}
        now = datetime.now(timezone.utc)
        decision = make_decision({**config, "until": "2099-01-01"}, self.flags.values(), {}, now)
        record_decision(self.instance, decision)


@pytest.fixture
def project(tmp_path: Path, instance: dg.DagsterInstance) -> Project:
    return Project(tmp_path, instance)


def test_a_pair_is_sent_once_with_the_owners_of_both_and_resolved_when_it_is_over(project: Project) -> None:
    (sent,) = project.night()
    (alert,) = sent.alerts
    assert sent.message.headline.startswith(f"Collision on {PAIR}: 0 of 100 users in ")
    assert (alert.alert_type, alert.owners) == ("ASSIGNMENT_COLLISION", ("team:pay", "team:find"))
    assert "do not divide users independently: of 400 shared units 0 are in" in alert.sentence
    assert project.incidents() == [PAIR]
    assert project.night() == []
    (resolved,) = project.night(shared=False)
    assert resolved.message.headline == f"Resolved: {PAIR}"
    assert resolved.message.lead == "The assignments are independent now."
    assert project.incidents() == []


def test_it_takes_the_route_of_its_check_or_of_either_owner(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    by_check = [{"check": "assignment_collision", "to": ["find"]}, {"to": ["all"]}]
    project = Project(tmp_path, instance, routes=by_check)
    assert project.compared() == []
    assert len(project.sent["find"]) == 1
    plan = next(plan for plan in alert_plans() if plan.name == "exd_check_alerts")
    assert plan.idle_routes == []
    (alert,) = project.sent["find"][0].alerts
    project.build(routes=[{"owner": "team:find", "to": ["find"]}, {"to": ["all"]}])
    plan = next(plan for plan in alert_plans() if plan.name == "exd_check_alerts")
    assert plan.routing.destinations(alert) == ("find",)


@pytest.mark.parametrize(
    ("flags", "check"), [("search", "assignment_collision"), (PAIR, "*"), ("search & check*", "*")]
)
def test_a_person_silences_it_by_either_flag_or_by_the_pair(project: Project, flags: str, check: str) -> None:
    project.decide("silence", flags, check)
    assert project.compared() == []


def test_a_decision_names_the_pairs_that_it_is_about() -> None:
    given = {"kind": "silence", "reason": "", "by": "", "until": START, "made_at": START}
    flags = [FlagId("", "", key) for key in OWNERS]
    assert [*map(str, Decision(flags="search & checkout", **given).covered(flags))] == [PAIR]
    assert [*map(str, Decision(flags="search,pricing", **given).covered(flags))] == ["pricing", "search"]


def test_a_decision_about_another_flag_changes_nothing(project: Project) -> None:
    project.decide("silence", "pricing")
    assert len(project.compared()) == 1


def test_a_pair_of_which_no_flag_is_known_is_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match="'checkout & serach' matches no audited flag"):
        project.decide("silence", "checkout & serach")


def test_flags_that_are_only_observed_are_not_sent(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert Project(tmp_path, instance, mode="observe").compared() == []


def test_a_flag_that_has_left_takes_its_pair_along(project: Project) -> None:
    project.compared()
    del project.flags["search"]
    project.build()
    (told,) = project.compared()
    assert told.message.status == "not_monitored"
    assert project.incidents() == []


def test_the_digest_counts_both_flags_and_no_third(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    project = Project(tmp_path, instance, digest=["find"])
    project.compared()
    (digest,) = [sent for sent in project.sent["find"] if sent.message.status == "digest"]
    assert digest.message.headline.startswith("2 of 3 flags failing")
