"""Names of routes and decisions that no flag, owner or check has: told with the nearest there is."""

import logging
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from exd_dagster.alerts.policy.decisions import Decision
from exd_dagster.alerts.policy.routes import Route
from exd_dagster.cli.doctor.alerts import diagnose_alerts
from exd_dagster.cli.doctor.decisions import diagnose_decisions
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.alerting.destinations import WebhookAlerts
from exd_dagster.definitions.alerting.plan import AlertPlan, plan_alerts
from exd_dagster.definitions.decisions.asset import make_decision, record_decision
from exd_dagster.definitions.decisions.sensor import build_decision_sensor
from exd_dagster.errors import ConfigError
from tests.alerts.make import NOW
from tests.definitions.test_sensors import monitored

LATER = NOW + timedelta(days=9)
FLAGS = [
    FlagAudit(key="checkout", namespace="shop", start="2026-01-01", owners=["team:checkout", "ana@shop.de"]),
    FlagAudit(key="promo[2]", start="2026-01-01"),
]
IDS = [flag.id for flag in FLAGS]


def plan(**route: str) -> AlertPlan:
    routes = [Route(to=("hook",), **route), Route(to=("hook",))]
    hook = WebhookAlerts(name="hook", url="https://hooks.example.com")
    return plan_alerts("exd_check_alerts", monitored(*FLAGS), [hook], routes=routes)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"owner": "team:chekout"}, "routes[0]: no owner is 'team:chekout'. Did you mean 'team:checkout'?"),
        ({"owner": "ana@shop.com"}, "routes[0]: no owner is 'ana@shop.com'. Did you mean 'ana@shop.de'?"),
        ({"owner": "team:*x"}, "routes[0]: no owner is 'team:*x'."),
        ({"flag": "Check-out"}, "routes[0]: no flag is 'Check-out'. Did you mean 'checkout'?"),
        ({"flag": "Shop/checkout"}, "routes[0]: no flag is 'Shop/checkout'. Did you mean 'shop/checkout'?"),
        ({"check": "sequential-srm"}, "routes[0]: no check is 'sequential-srm'. Did you mean"),
        ({"severity": "error"}, "routes[0]: no severity is 'error'. Did you mean 'ERROR'?"),
    ],
)
def test_a_route_that_no_alert_can_take_is_reported_when_it_is_built_and_by_doctor(caplog, route, said):
    with caplog.at_level(logging.WARNING):
        reported = diagnose_alerts(plan(**route), None, NOW)
    assert said in caplog.text
    (found,) = [diagnosis for diagnosis in reported if diagnosis.subject == "routes"]
    assert (found.state, found.said.startswith(said)) == ("warn", True)


@pytest.mark.parametrize(
    "route",
    [{"owner": "team:*"}, {"owner": ""}, {"flag": "promo[2]"}, {"flag": "shop/*"}, {"check": "*srm"}],
)
def test_a_route_that_some_alert_can_take_is_not_reported(route):
    assert plan(**route).idle_routes == []


def decide(**changes: str) -> Decision:
    given = {"kind": "silence", "flags": "checkout", "checks": "*", "reason": "known", "by": "ana"}
    return make_decision({**given, "until": "2199-01-01", **changes}, FLAGS, {}, NOW)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flags": "chekout"}, "flags: 'chekout' matches no audited flag. Did you mean 'checkout'?"),
        ({"flags": "Shop/Checkout"}, "Did you mean 'shop/checkout'?"),
        ({"flags": "xyz"}, "Known: checkout, promo[2], shop/checkout."),
        ({"checks": "sequental_srm"}, "matches no check. Did you mean 'sequential_srm'?"),
        ({"kind": "waive", "checks": "trust"}, "checks: 'trust' matches no check that blocks."),
    ],
)
def test_a_decision_that_speaks_of_nothing_is_refused_with_the_nearest_name(changes, said):
    with pytest.raises(ConfigError) as caught:
        decide(**changes)
    assert said in str(caught.value)


def test_a_key_that_looks_like_a_glob_is_meant_as_it_stands():
    assert decide(flags="promo[2]").covers(FlagId("", "", "promo[2]"))


def test_a_decision_about_a_flag_that_is_gone_is_reported_by_doctor_until_it_ends():
    made = [decide(), Decision(kind="end", flags="chekout", reason="r", by="bob", until=LATER, made_at=NOW)]
    (reported,) = diagnose_decisions(made, IDS, NOW)
    assert reported.state == "warn"
    assert "end by bob until" in reported.said
    assert "Did you mean 'checkout'?" in reported.said
    (well,) = diagnose_decisions(made, IDS, LATER)
    assert (well.state, well.said) == ("ok", "1 decision in force")
    assert diagnose_decisions([], IDS, NOW) == []


def test_a_flag_that_failed_when_it_left_may_still_be_decided_about():
    left = Decision(kind="silence", flags="gone", reason="r", by="bob", until=LATER, made_at=NOW)
    (well,) = diagnose_decisions([left], [*IDS, FlagId("", "", "gone")], NOW)
    assert well.state == "ok"


def test_the_sensor_of_decisions_names_the_flag_that_is_gone():
    now = datetime.now(timezone.utc)
    end = Decision(kind="end", flags="chekout", reason="r", by="b", until=now + timedelta(9), made_at=now)
    sensor, _ = build_decision_sensor(monitored(*FLAGS))
    with dg.DagsterInstance.ephemeral() as instance:
        record_decision(instance, end)
        skipped = sensor(dg.build_sensor_context(instance))
    assert "no flag audited here is 'chekout'" in skipped.skip_message
