"""`alerting_health`: whether alerting itself works, asked after each audit."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from exd_dagster.alerts.model import AlertState, OutboxEntry, Receipt
from exd_dagster.alerts.state import StateStore
from exd_dagster.definitions.alerting.health import build_alerting_health
from exd_dagster.definitions.internals import cursor_storage
from tests.fleet import Fleet
from tests.logs import healthy

HOUR = timedelta(hours=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def entry(age: timedelta) -> OutboxEntry:
    at = datetime.now(timezone.utc) - age
    return OutboxEntry(
        id="p",
        destination="ops",
        channel="slack",
        reason="fire",
        created_at=at,
        next_attempt_at=at,
        last_error="HTTP 503",
    )


def asked(instance: dg.DagsterInstance, state: AlertState | None) -> dg.AssetCheckEvaluation:
    """Ask the check once, with what the sensor remembers."""
    if state is not None:
        StateStore(cursor_storage(instance), "exd_check_alerts").save(state)
    spec, check = build_alerting_health()
    defs = dg.Definitions(assets=[spec], asset_checks=[check])
    job = dg.define_asset_job("ask", dg.AssetSelection.all_asset_checks())
    ran = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("ask")
    (evaluation,) = ran.execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation


@pytest.mark.parametrize("state", [None, AlertState(outbox=(entry(HOUR / 2),))], ids=["none yet", "fresh"])
def test_it_passes_while_nothing_waits_for_an_hour(
    instance: dg.DagsterInstance, state: AlertState | None
) -> None:
    assert asked(instance, state).passed


def test_a_message_that_waits_for_hours_is_a_warning_with_the_last_answer(
    instance: dg.DagsterInstance,
) -> None:
    reported = asked(instance, AlertState(outbox=(entry(3 * HOUR),)))
    assert (reported.passed, reported.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert reported.description == "1 messages to ops are undelivered, the oldest for 3 h: HTTP 503."


def test_a_message_given_up_is_a_warning_with_the_way_to_send_it_again(instance: dg.DagsterInstance) -> None:
    lost = Receipt(
        entry=entry(HOUR), status="dead", at=datetime.now(timezone.utc), detail="channel_not_found"
    )
    reported = asked(instance, AlertState(receipts=(lost,)))
    assert not reported.passed
    assert str(reported.description).startswith("1 messages to ops were given up: channel_not_found.")
    assert "exd-dagster alerts retry" in str(reported.description)


def test_it_is_asked_whenever_flag_trust_is_refreshed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    refresh = Fleet(tmp_path, {"good": healthy(2)}).defs.resolve_job_def("exd_flag_trust")
    ran = refresh.execute_in_process(instance=instance)
    names = {check.check_name for check in ran.get_asset_check_evaluations()}
    assert names == {"alerting_health", "assignment_collision"}


def test_a_message_held_until_the_morning_is_not_late(instance: dg.DagsterInstance) -> None:
    held = replace(entry(9 * HOUR), held_until=datetime.now(timezone.utc) + HOUR)
    assert asked(instance, AlertState(outbox=(held,))).passed
