"""Links that open a decision filled in: what they say, and that no name of a flag can say anything else."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.alerts.channels.slack_blocks import slack_blocks
from exd_dagster.alerts.messages.compose import Context, compose
from exd_dagster.alerts.messages.launchpad import LONGEST, Launchpad
from exd_dagster.alerts.messages.links import Links
from exd_dagster.alerts.messages.message import Message, plain_text
from exd_dagster.alerts.model import AlertState, OutboxEntry
from exd_dagster.alerts.policy.decisions import KINDS
from exd_dagster.config import FlagId
from tests.alerts.make import NOW, alert, flag

PAD = Launchpad(base_url="https://dagster.example.com", location="exd shop")


def config(address: str) -> dict:
    """What Dagster's launchpad reads of an address."""
    (text,) = parse_qs(urlsplit(address).query)["config"]
    return yaml.safe_load(text)["ops"]["flag_decisions"]["config"]


def message(*checks: str, base_url: str = PAD.base_url) -> Message:
    alerts = {name: alert(name, id=name) for name in checks}
    entry = OutboxEntry(
        id="e",
        destination="a",
        channel="slack",
        reason="fire",
        alerts=tuple(alerts),
        created_at=NOW,
        next_attempt_at=NOW,
    )
    context = Context(links=Links(base_url), launchpad=PAD)
    return compose(entry, AlertState(alerts=alerts), context)


def answers(told: Message) -> dict[str, str]:
    return {label: link for section in told.sections if section.answers for label, link in section.links}


def test_each_answer_opens_its_decision_for_this_flag_and_check_and_leaves_who_and_why_open():
    found = {label: config(address) for label, address in answers(message("srm")).items()}
    assert [values["kind"] for values in found.values()] == ["acknowledge", "silence", "waive", "end"]
    assert {values["kind"] for values in found.values()} == set(KINDS)
    assert found["Silence 24 h"] == {
        "kind": "silence", "flags": "checkout", "checks": "srm", "reason": "", "by": "",
        "until": (NOW + timedelta(days=1)).strftime("%Y-%m-%dT%H:%MZ"),
    }  # fmt: skip


def test_of_several_failing_checks_an_answer_speaks_of_all():
    (values, *_) = map(config, answers(message("srm", "traffic_drop")).values())
    assert values["checks"] == "*"


def test_the_address_is_that_of_the_job_in_its_code_location():
    address = answers(message("srm"))["Acknowledge"]
    assert address.startswith(
        "https://dagster.example.com/locations/exd%20shop/jobs/flag_decision/playground/setup?config="
    )


@pytest.mark.parametrize("pad", [Launchpad(base_url="https://d.example.com"), Launchpad()])
def test_without_the_name_of_the_code_location_there_is_no_link(pad):
    assert pad.answers(flag(), "srm", NOW) == ()


def test_without_the_address_of_dagster_a_message_has_no_answers():
    assert answers(message("srm", base_url="")) == {}


@given(st.text(min_size=1, max_size=40), st.text(max_size=10))
def test_whatever_a_flag_is_called_the_decision_is_about_it_alone(key, namespace):
    about, other = FlagId(namespace, "", key), FlagId(namespace, "", key + "x")
    values = config(PAD.filled_in({"flags": dict(_escaped(about))["flags"], "kind": "end"}))
    assert values["kind"] == "end"
    assert about.is_named(values["flags"])
    assert not other.is_named(values["flags"])


def _escaped(about: FlagId) -> dict[str, str]:
    link = PAD.answers(about, "srm", NOW)
    return (
        config(link[0].address)
        if link
        else {"flags": "".join(f"[{c}]" if c in "*?[" else c for c in str(about))}
    )


def test_a_name_without_end_makes_no_button_that_slack_refuses():
    assert PAD.answers(flag("x" * LONGEST), "srm", NOW) == ()


def test_a_slack_app_shows_answers_as_buttons_that_only_open_an_address():
    blocks = slack_blocks(message("srm"), buttons=True)
    (actions,) = [block for block in blocks if block["type"] == "actions"]
    for button in actions["elements"]:
        assert button["url"].startswith(f"{PAD.base_url}/")
        assert set(button) == {"type", "text", "url", "action_id"}
    assert "playground" not in str([block for block in blocks if block["type"] != "actions"])


def test_an_incoming_webhook_and_a_mail_show_answers_as_links():
    assert "|Acknowledge>" in str(slack_blocks(message("srm")))
    assert not [block for block in slack_blocks(message("srm")) if block["type"] == "actions"]
    assert "Silence 24 h: https://dagster.example.com/" in plain_text(message("srm"))
