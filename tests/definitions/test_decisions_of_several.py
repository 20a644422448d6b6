"""A decision about several flags: with commas, and by the message that spoke of them."""

import dagster as dg
import pytest

from exd_dagster.alerts.model import AlertState, OutboxEntry, Receipt
from exd_dagster.alerts.state import StateStore
from exd_dagster.config import FlagId
from exd_dagster.definitions.decisions.asset import build_flag_decisions, load_decisions, make_decision
from exd_dagster.definitions.decisions.message_flags import flags_of_message
from exd_dagster.definitions.internals import cursor_storage
from exd_dagster.errors import ConfigError
from tests.alerts.make import NOW, alert, flag
from tests.definitions.test_decisions import decision
from tests.definitions.test_sensors import audit, monitored

FORM = {"kind": "silence", "reason": "loader down", "by": "ana", "until": "2199-01-01"}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def entry(name: str, *alerts: str) -> OutboxEntry:
    return OutboxEntry(
        id=name,
        destination="ops",
        channel="slack",
        reason="outage",
        alerts=alerts,
        created_at=NOW,
        next_attempt_at=NOW,
    )


def remember(instance: dg.DagsterInstance, *keys: str) -> None:
    """Remember a message "sent" about these flags, and one "waiting" about the first."""
    subjects = tuple(("", "", key, "traffic_drop", "TRAFFIC_DROP_ANOMALY") for key in keys)
    state = AlertState(
        alerts={"a": alert("traffic_drop", id="a", flag=flag(keys[0]))},
        outbox=(entry("waiting", "a"),),
        receipts=(Receipt(entry=entry("sent"), status="sent", at=NOW, subjects=subjects),),
    )
    StateStore(cursor_storage(instance), "exd_check_alerts").save(state)


def test_commas_part_the_flags_of_a_decision_and_a_comma_in_brackets_is_one_of_a_name() -> None:
    both = decision(flags="checkout,search-*")
    assert both.covers(flag("checkout"))
    assert both.covers(flag("search-ranking"))
    assert not both.covers(flag("basket"))
    assert decision(flags="a[,]b").covers(flag("a,b"))
    assert not decision(flags="a[,]b").covers(flag("a"))


def test_each_flag_that_matches_nothing_is_named_by_itself() -> None:
    config = {**FORM, "flags": "checkout,serch", "checks": "*"}
    with pytest.raises(ConfigError) as caught:
        make_decision(config, [audit("checkout"), audit("search")], {}, NOW)
    assert caught.value.faults == ("flags: 'serch' matches no audited flag. Did you mean 'search'?",)


@pytest.mark.parametrize(("name", "flags"), [("sent", "a[,]b,checkout"), ("waiting", "checkout")])
def test_a_message_stands_for_every_flag_it_spoke_of(instance, name, flags) -> None:
    remember(instance, "checkout", "a,b")
    audited = [FlagId("", "", "checkout"), FlagId("", "", "a,b")]
    assert flags_of_message(instance, f"message:{name}", audited) == flags


def test_a_flag_that_left_the_project_does_not_spoil_the_decision_about_the_rest(instance) -> None:
    remember(instance, "checkout", "gone")
    assert flags_of_message(instance, "message:sent", [FlagId("", "", "checkout")]) == "checkout"


def test_a_message_that_is_not_known_is_an_error_with_the_way_out(instance) -> None:
    with pytest.raises(ConfigError, match="no message 'x' of the last 30 days is known; name the flags"):
        flags_of_message(instance, "message:x", [])


def test_the_job_records_the_flags_of_a_message_by_name(instance) -> None:
    remember(instance, "checkout", "search")
    asset, job = build_flag_decisions(monitored(audit("checkout"), audit("search"), audit("basket")))
    defs = dg.Definitions(assets=[asset], jobs=[job])
    config = {"ops": {"flag_decisions": {"config": {**FORM, "flags": "message:sent"}}}}
    assert (
        defs.resolve_job_def("flag_decision").execute_in_process(run_config=config, instance=instance).success
    )
    (found,) = load_decisions(instance)
    assert found.flags == "checkout,search"
    assert [found.covers(flag(key)) for key in ("checkout", "search", "basket")] == [True, True, False]
