"""Links that open a decision filled in: what they say, and that no name of a flag can say anything else."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.alerts.channels.email_message import html_body
from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.blocks import slack_blocks
from exd_dagster.alerts.channels.webhook import payload
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.answers import LONGEST, Launchpad, named
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.messages.links import Links
from exd_dagster.alerts.messages.message import Message, plain_text
from exd_dagster.alerts.model import Alert, AlertState, OutboxEntry
from exd_dagster.alerts.past import PastAlert, PastIncident
from exd_dagster.alerts.policy.decisions import KINDS, Decision
from exd_dagster.alerts.policy.ledger import ledger_rows
from exd_dagster.config import FlagAudit, FlagId
from exd_dagster.definitions.decisions.asset import make_decision
from tests.alerts.make import NOW, alert, flag

PAD = Launchpad(base_url="https://dagster.example.com", location="exd shop")


def config(address: str) -> dict:
    """What Dagster's launchpad reads of an address."""
    (text,) = parse_qs(urlsplit(address).query)["config"]
    return yaml.safe_load(text)["ops"]["flag_decisions"]["config"]


def message(*checks: str, base_url: str = PAD.base_url, reason: str = "fire") -> Message:
    return told({name: alert(name, id=name) for name in checks}, reason, base_url)


def several(count: int, reason: str = "fire", check: str = "srm", **others: str) -> Message:
    """A message about so many flags."""
    found = {f"flag-{i}": alert(check, id=f"flag-{i}", flag=flag(f"flag-{i}")) for i in range(count)}
    found |= {key: alert(name, id=key, flag=flag(key)) for key, name in others.items()}
    return told(found, reason)


def told(alerts: dict[str, Alert], reason: str = "fire", base_url: str = PAD.base_url) -> Message:
    entry = OutboxEntry(
        id="e",
        destination="a",
        channel="slack",
        reason=reason,
        alerts=tuple(alerts),
        incidents=("abc",),
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
    assert {*(values["kind"] for values in found.values()), "close"} == set(KINDS)
    assert found["Silence 24 h"] == {
        "kind": "silence", "flags": "checkout", "checks": "srm", "reason": "", "by": "",
        "until": (NOW + timedelta(days=1)).strftime("%Y-%m-%dT%H:%MZ"),
    }  # fmt: skip


def test_a_pair_of_flags_that_collide_is_answered_by_its_name_and_not_waived_since_it_blocks_nothing():
    pair = FlagId("shop", "production", "search").pair(FlagId("shop", "production", "checkout"))
    answers = PAD.answers([pair], "assignment_collision", NOW)
    assert [answer.kind for answer in answers] == ["acknowledge", "silence", "end"]
    about = config(answers[0].address)["flags"]
    given = {
        "kind": "silence",
        "flags": about,
        "checks": "*",
        "reason": "r",
        "by": "ana",
        "until": "2099-01-01",
    }
    both = [
        FlagAudit(key=key, start=NOW, namespace="shop", environment="production")
        for key in ("search", "checkout")
    ]
    assert make_decision(given, both, {}, NOW).covers(pair)


def test_the_end_of_an_incident_asks_whether_it_was_real_with_three_answers_to_fill_in():
    (asked,) = [s for s in message("srm", reason="resolve").sections if s.heading == "Was it real?"]
    found = {label: config(address) for label, address in asked.links}
    assert {label: values["verdict"] for label, values in found.items()} == {
        "Real": "real",
        "False alarm": "false",
        "Expected": "expected",
    }
    assert found["Real"] == {
        "kind": "close", "flags": "checkout", "checks": "srm", "by": "", "cause": "", "verdict": "real",
        "incident": "abc",
    }  # fmt: skip


def resolved(*flags: str) -> tuple[Message, AlertState]:
    """The message that resolves an incident of each flag, and the state that remembers them."""
    found = {key: alert("srm", id=key, flag=flag(key)) for key in flags}
    past = tuple(PastIncident(id=f"of-{key}", flag=flag(key), opened_at=NOW) for key in flags)
    entry = OutboxEntry(
        id="e",
        destination="a",
        channel="slack",
        reason="resolve",
        alerts=tuple(found),
        incidents=tuple(incident.id for incident in past),
        created_at=NOW,
        next_attempt_at=NOW,
    )
    state = AlertState(alerts=found, past=past)
    return compose(entry, state, Context(links=Links(PAD.base_url), launchpad=PAD)), state


def test_the_end_of_several_incidents_asks_it_of_each_and_of_all():
    told, _ = resolved("one", "two")
    each = [config(dict(s.links)["Was it real?"]) for s in told.sections if s.heading in ("one", "two")]
    assert [(v["kind"], v["flags"], v["incident"], v["verdict"]) for v in each] == [
        ("close", "one", "of-one", ""),
        ("close", "two", "of-two", ""),
    ]
    (of_all,) = [s for s in told.sections if s.heading == "Was it real?"]
    assert [label for label, _ in of_all.links] == ["Real, all 2", "False alarm, all 2", "Expected, all 2"]
    values = config(of_all.links[1][1])
    assert (values["flags"], values["incident"], values["verdict"]) == ("one,two", "", "false")


def test_an_answer_about_several_ends_closes_the_incident_of_each():
    told, state = resolved("one", "two")
    values = config(next(s for s in told.sections if s.heading == "Was it real?").links[0][1])
    flags = [FlagAudit(key=key, split={"a": 0.5, "b": 0.5}, start="2026-03-01") for key in ("one", "two")]
    decided = make_decision(
        {**values, "by": "ana", "reason": "", "until": ""}, flags, {}, NOW, incidents=state.past
    )
    past = [
        replace(incident, alerts=(PastAlert(check="srm", opened_at=NOW - timedelta(hours=2)),))
        for incident in state.past
    ]
    assert {(row.incident, row.verdict) for row in ledger_rows(past, [decided])} == {
        ("of-one", "real"),
        ("of-two", "real"),
    }


@pytest.mark.parametrize(
    "show",
    [
        plain_text,
        lambda told: str(slack_blocks(told)),
        lambda told: str(slack_blocks(told, buttons=True)),
        html_body,
    ],
    ids=["apprise and plain mail", "Slack webhook", "Slack app", "mail"],
)
def test_every_channel_that_people_read_asks_it(show):
    shown = show(resolved("one", "two")[0])
    assert "False alarm, all 2" in shown
    assert "verdict%3A%20%22false%22" in shown


def test_a_program_gets_the_answers_of_its_one_alert():
    told = message("srm", reason="resolve")
    sent = Notification(id="m", reason="resolve", message=told, alerts=(alert("srm"),), created_at=NOW)
    assert {"Real", "False alarm", "Expected"} <= set(payload(sent)["details"]["links"])


def test_a_summary_asks_it_of_the_flags_that_were_resolved_and_decides_about_those_that_fail():
    found = {key: alert("srm", id=key, flag=flag(key)) for key in ("over", "fails")}
    found["too"] = alert("traffic_drop", id="too", flag=flag("fails"))
    entry = OutboxEntry(
        id="e",
        destination="a",
        channel="slack",
        reason="summary",
        alerts=tuple(found),
        incidents=("abc",),
        summarized=(
            ("fire", "over", ""),
            ("fire", "fails", ""),
            ("fire", "too", ""),
            ("resolve", "over", ""),
        ),
        created_at=NOW,
        next_attempt_at=NOW,
    )
    told = compose(entry, AlertState(alerts=found), Context(links=Links(PAD.base_url), launchpad=PAD))
    (asked,) = [s for s in told.sections if s.heading == "Was it real?"]
    assert {config(address)["flags"] for _, address in asked.links} == {"over"}
    assert {(v["flags"], v["checks"]) for v in map(config, answers(told).values())} == {("fails", "*")}


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
    assert pad.answers([flag()], "srm", NOW) == ()


def test_without_the_address_of_dagster_a_message_has_no_answers():
    assert answers(message("srm", base_url="")) == {}


@given(st.text(min_size=1, max_size=40), st.text(max_size=10))
def test_whatever_a_flag_is_called_the_decision_is_about_it_alone(key, namespace):
    about, other = FlagId(namespace, "", key), FlagId(namespace, "", key + "x")
    values = config(PAD.filled_in({"flags": named([about]), "kind": "end"}))
    assert values["kind"] == "end"
    assert covers(values["flags"], about)
    assert not covers(values["flags"], other)


def covers(flags: str, about: FlagId) -> bool:
    decision = Decision(kind="end", flags=flags, reason="r", by="b", until=NOW, made_at=NOW)
    return decision.covers(about)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=6, unique=True))
def test_a_decision_about_several_flags_is_about_each_of_them_and_no_other(keys):
    values = named([FlagId("", "", key) for key in keys])
    assert all(covers(values, FlagId("", "", key)) for key in keys)
    others = {key + "x" for key in keys} | {",".join(keys), keys[0] + "," + keys[1]}
    assert not any(covers(values, FlagId("", "", other)) for other in others - set(keys))


def test_a_name_without_end_makes_no_button_that_slack_refuses():
    assert PAD.answers([flag("x" * LONGEST)], "srm", NOW) == ()


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


@pytest.mark.parametrize("reason", ["fire", "outage", "remind", "escalate", "contained"])
def test_a_message_about_several_flags_answers_for_all_of_them(reason):
    found = answers(several(3, reason))
    assert list(found) == ["Acknowledge, all 3", "Silence 24 h, all 3", "Waive 7 days, all 3"]
    values = config(found["Silence 24 h, all 3"])
    assert (values["flags"], values["checks"]) == ("flag-0,flag-1,flag-2", "srm")


def test_of_flags_that_fail_different_checks_the_answer_speaks_of_every_check():
    values = config(answers(several(2, third="traffic_drop"))["Acknowledge, all 3"])
    assert values["checks"] == "*"


@pytest.mark.parametrize("reason", ["not_monitored", "not_checked"])
def test_what_asks_for_nothing_has_no_answer(reason):
    told = several(3, reason)
    assert answers(told) == {}
    assert "playground" not in plain_text(told)


def test_each_listed_flag_has_a_decision_of_its_own():
    links = [dict(section.links) for section in several(3).sections if section.heading.startswith("flag-")]
    assert [config(link["Decide"])["flags"] for link in links] == ["flag-0", "flag-1", "flag-2"]


def test_very_many_flags_are_named_by_their_message():
    found = answers(several(500, "outage", "traffic_drop"))
    values = config(found["Silence 24 h, all 500"])
    assert (values["flags"], values["checks"]) == ("message:e", "traffic_drop")


def test_one_press_about_several_flags_is_asked_again_unless_a_form_follows():
    def confirms(told: Message) -> list[bool]:
        blocks = slack_blocks(told, buttons=True, sign=lambda answer: "v" if answer.kind != "end" else "")
        return ["confirm" in e for b in blocks if b["type"] == "actions" for e in b["elements"]]

    assert confirms(several(3)) == [True, True, False]
    assert confirms(message("srm")) == [False, False, False, False]


@pytest.mark.parametrize("count", [2, 10, 500])
def test_slack_takes_a_message_about_many_flags_whole(count):
    blocks = slack_blocks(several(count, "outage", "traffic_drop"), buttons=True)
    assert len(blocks) <= 50
    assert "too long for Slack" not in str(blocks)
    assert [block for block in blocks if block["type"] == "actions"]
