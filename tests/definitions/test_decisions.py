"""Decisions by people: recorded as materializations, read back by checks and alerts."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from exd_dagster.alerts.past import PastIncident
from exd_dagster.alerts.policy.decisions import Decision, active_decisions, waiver
from exd_dagster.definitions.decisions.asset import (
    build_flag_decisions,
    load_decisions,
    make_decision,
    record_decision,
)
from exd_dagster.definitions.decisions.sensor import build_decision_sensor
from exd_dagster.errors import ConfigError
from tests.alerts.make import NOW, flag
from tests.definitions.test_sensors import FAILED, audit, evaluate, monitored

DAY = timedelta(days=1)
FOREVER = datetime(2199, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def decision(kind: str = "waive", **changes) -> Decision:
    values = {"flags": "check*", "reason": "cache known", "by": "ana", "made_at": NOW, "until": NOW + DAY}
    return Decision(kind=kind, **{**values, **changes})


def test_a_decision_recorded_from_the_command_line_is_read_back_whole(instance):
    reported = decision(basis={"checkout:srm": {"reason": "ratio_mismatch"}})
    record_decision(instance, reported)
    assert load_decisions(instance) == (reported,)


def test_a_close_is_read_back_with_what_the_incident_was(instance):
    reported = decision("close", verdict="false", cause="cache", incident="abc")
    record_decision(instance, reported)
    assert load_decisions(instance) == (reported,)


CLOSE = {"kind": "close", "flags": "checkout", "checks": "*", "reason": "", "by": "ana", "until": ""}


def test_a_close_needs_neither_a_reason_nor_an_end():
    made = make_decision({**CLOSE, "verdict": "real", "cause": "cache"}, [audit("checkout")], {}, NOW)
    assert (made.verdict, made.cause, made.until) == ("real", "cache", NOW + 30 * DAY)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (CLOSE, "verdict: '' does not say what it was. Write real, false, expected."),
        ({**CLOSE, "verdict": "fals"}, "Did you mean 'false'?"),
        (
            {**CLOSE, "verdict": "real", "incident": "abd"},
            "incident: 'abd' is not known. Did you mean 'abc'?",
        ),
        ({**CLOSE, "kind": "silence", "cause": "cache"}, "cause: only a close has one; leave it empty"),
    ],
)
def test_a_close_says_what_the_incident_was_and_nothing_else_does(config, fault):
    with pytest.raises(ConfigError) as caught:
        make_decision(
            config,
            [audit("checkout")],
            {},
            NOW,
            incidents=[PastIncident(id="abc", flag=flag(), opened_at=NOW)],
        )
    assert fault in str(caught.value)


def test_the_job_flag_decision_closes_from_a_form_without_reason_and_end(instance):
    asset, job = build_flag_decisions(monitored(audit("checkout")))
    config = {"kind": "close", "flags": "checkout", "by": "ana", "verdict": "expected", "cause": "launch"}
    ran = (
        dg.Definitions(assets=[asset], jobs=[job])
        .resolve_job_def("flag_decision")
        .execute_in_process(run_config={"ops": {"flag_decisions": {"config": config}}}, instance=instance)
    )
    assert ran.success
    assert [(d.verdict, d.cause) for d in load_decisions(instance)] == [("expected", "launch")]


def test_the_job_flag_decision_records_what_a_person_decided_and_what_was_known(instance):
    flags = monitored(audit("checkout"))
    evaluate(instance, "checkout", "srm", FAILED)
    asset, job = build_flag_decisions(flags)
    defs = dg.Definitions(assets=[asset], jobs=[job])
    config = {"kind": "waive", "flags": "checkout", "reason": "known", "by": "ana", "until": "2199-01-01"}
    ran = defs.resolve_job_def("flag_decision").execute_in_process(
        run_config={"ops": {"flag_decisions": {"config": config}}}, instance=instance
    )
    assert ran.success
    (found,) = load_decisions(instance)
    assert (found.kind, found.by, found.until) == ("waive", "ana", FOREVER)
    assert found.basis["checkout:srm"] == {
        "reason": "ratio_mismatch",
        "audited_through": "2026-01-05T00:00:00Z",
    }


def test_the_form_of_the_launchpad_is_refused_field_by_field_until_it_is_filled_in(instance):
    asset, job = build_flag_decisions(monitored(audit("checkout")))
    defs = dg.Definitions(assets=[asset], jobs=[job])
    ran = defs.resolve_job_def("flag_decision").execute_in_process(instance=instance, raise_on_error=False)
    (failed,) = [event for event in ran.all_events if event.is_step_failure]
    reported = failed.step_failure_data.user_failure_data.description
    assert [field for field in ("flags", "reason", "by", "until") if f"{field}: " not in reported] == []
    assert load_decisions(instance) == ()


def test_materializing_everything_asks_nobody_for_a_decision():
    asset, job = build_flag_decisions(monitored(audit("checkout")))
    graph = dg.Definitions(assets=[asset], jobs=[job]).resolve_asset_graph()
    assert graph.materializable_asset_keys == set()


def test_every_fault_of_a_decision_is_named_at_once():
    config = {
        "kind": "wave",
        "flags": "chekout",
        "checks": "*",
        "reason": " ",
        "by": "",
        "until": "2020-01-01",
    }
    with pytest.raises(ConfigError) as caught:
        make_decision(config, [audit("checkout")], {}, NOW)
    text = str(caught.value)
    for part in (
        "Did you mean 'waive'?",
        "Did you mean 'checkout'?",
        "reason: is empty",
        "by: is empty",
        "until:",
    ):
        assert part in text


def test_a_decision_holds_until_its_end_and_no_longer():
    made = [decision()]
    assert active_decisions(made, flag(), NOW + DAY - timedelta(seconds=1)) == tuple(made)
    assert active_decisions(made, flag(), NOW + DAY) == ()


def test_a_decision_covers_flags_by_key_or_by_full_name():
    assert decision(flags="checkout").covers(flag("checkout", "shop", "prod"))
    assert decision(flags="shop/prod/*").covers(flag("checkout", "shop", "prod"))
    assert not decision(flags="shop/dev/*").covers(flag("checkout", "shop", "prod"))


KNOWN = {"checkout:srm": {"reason": "ratio_mismatch", "audited_through": "2026-03-05T00:00:00Z"}}
SAME = {"reason": "ratio_mismatch", "change_point": {"hour": "2026-03-02T00:00:00Z"}}


def test_a_waiver_lets_the_fault_pass_that_its_maker_saw():
    reported = decision(basis=KNOWN)
    assert waiver([reported], flag(), "srm", SAME) is reported


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ({**SAME, "change_point": {"hour": "2026-03-05T01:00:00Z"}}, None),
        ({**SAME, "reason": "dead_arm"}, None),
        ({**SAME, "iteration_start": "2026-03-06T00:00:00Z"}, None),
        (SAME, datetime(2026, 3, 6, tzinfo=timezone.utc)),
    ],
    ids=["new change point", "an arm died", "new iteration", "new phase"],
)
def test_a_waiver_ends_early_at_another_fault(facts, phase):
    assert waiver([decision(basis=KNOWN)], flag(), "srm", facts, phase) is None


def test_a_silence_never_lets_a_failure_pass():
    assert waiver([decision("silence")], flag(), "srm", SAME) is None


def test_a_decision_runs_the_checks_of_its_flags_again_once(instance):
    flags = monitored(audit("checkout"), audit("search"))
    sensor, job = build_decision_sensor(flags)
    record_decision(instance, decision())

    @dg.multi_asset_check(
        specs=[dg.AssetCheckSpec(key.name, asset=key.asset_key) for key in flags], can_subset=True
    )
    def checks():
        yield from ()

    specs = [dg.AssetSpec(key) for key in {key.asset_key for key in flags}]
    repository = dg.Definitions(
        specs, asset_checks=[checks], sensors=[sensor], jobs=[job]
    ).get_repository_def()
    context = dg.build_sensor_context(instance=instance, repository_def=repository, sensor_name=sensor.name)
    (request,) = sensor.evaluate_tick(context).run_requests
    assert {key.asset_key.path[-1] for key in request.asset_check_keys} == {"checkout_bins"}
    assert {key.name for key in request.asset_check_keys} == {
        "srm",
        "sequential_srm",
        "traffic_drop",
        "trust",
    }
    again = dg.build_sensor_context(
        instance=instance, repository_def=repository, cursor=context.cursor, sensor_name=sensor.name
    )
    assert not sensor.evaluate_tick(again).run_requests
