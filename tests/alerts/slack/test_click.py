"""Which presses of a button are believed: our own, once, now; each kind of other one is refused."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.channels.slack.click import (
    Click,
    RefusedClickError,
    Trusted,
    answered,
    read_click,
)
from exd_dagster.alerts.channels.slack.sender import SlackBot
from exd_dagster.alerts.channels.slack.signing import LONGEST_VALUE, signed, verified
from exd_dagster.alerts.messages.message import Answer, Message, Section
from exd_dagster.definitions.alerting.destinations import SlackAlerts
from exd_dagster.errors import ConfigError
from tests.alerts.test_answers import message
from tests.servers.slack import APP, BOT_TOKEN, CHANNEL, TEAM, SlackServer, pressed

USER = "U0ANA"
TRUSTED = Trusted(app_id=APP, team_id=TEAM, channels={CHANNEL}, token=BOT_TOKEN)
ANSWER = Answer(
    label="Waive 7 days",
    address="https://dagster.example.com",
    kind="waive",
    flags="checkout",
    checks="srm",
    location="shop",
    job="flag_decision",
    op="flag_decisions",
)


def now() -> datetime:
    return datetime.now(timezone.utc)


def posted(at: datetime | None = None, token: str = BOT_TOKEN) -> dict[str, Any]:
    """The body of a message as the bot posts it."""
    with SlackServer() as server:
        bot = SlackBot(name="slack", token=token, conversation="#growth", answers=True, base_url=server.url)
        sent = Notification(id="m1", reason="fire", message=message("srm"), created_at=at or now())
        assert bot.send(sent, now()).status == "sent"
    return server.called("chat.postMessage")[0]


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    return posted()


def press(body: dict[str, Any], **changes: Any) -> Click | None:
    return read_click(pressed(body, "1.1", "waive", USER, **changes), TRUSTED, now())


def test_a_press_of_our_own_button_says_who_decides_what(body) -> None:
    click = press(body)
    assert click is not None
    assert (click.user, click.offer.kind, click.offer.flags, click.offer.checks) == (
        USER,
        "waive",
        "checkout",
        "srm",
    )
    assert (click.offer.location, click.offer.job, click.offer.op) == (
        "exd shop",
        "flag_decision",
        "flag_decisions",
    )


def test_every_answer_is_given_in_slack(body) -> None:
    (actions,) = [block for block in body["blocks"] if block["type"] == "actions"]
    kinds = [element["action_id"] for element in actions["elements"]]
    assert kinds == ["exd:acknowledge", "exd:silence", "exd:waive", "exd:end"]
    assert all("value" in e and "url" not in e for e in actions["elements"])


def test_without_an_app_token_every_button_only_opens_dagster() -> None:
    with SlackServer() as server:
        bot = SlackAlerts(token=BOT_TOKEN, channel="#growth", base_url=server.url).open()
        bot.send(Notification(id="m", reason="fire", message=message("srm"), created_at=now()), now())
    (actions,) = [b for b in server.called("chat.postMessage")[0]["blocks"] if b["type"] == "actions"]
    assert all("url" in element for element in actions["elements"])


REFUSED = {
    "another app": {"api_app_id": "A0OTHER"},
    "no app": {"api_app_id": None},
    "another workspace": {"team": {"id": "T0OTHER"}},
    "no workspace": {"team": None},
    "another channel": {
        "container": {"type": "message", "message_ts": "1.1", "channel_id": "C0OTHER", "is_ephemeral": False}
    },
    "no channel": {"container": {}},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_a_press_from_elsewhere_is_refused_without_a_word_there(body, changes) -> None:
    with pytest.raises(RefusedClickError, match="which is not ours") as caught:
        press(body, **changes)
    assert not caught.value.explain


def with_value(body: dict[str, Any], value: Any) -> dict[str, Any]:
    payload = pressed(body, "1.1", "waive", USER)
    payload["actions"][0]["value"] = value
    return payload


def value_of(body: dict[str, Any]) -> str:
    return str(pressed(body, "1.1", "waive", USER)["actions"][0]["value"])


FORGED = {
    "other flags": lambda value: value.replace('"flags":"checkout"', '"flags":"*"'),
    "other kind": lambda value: value.replace('"waive"', '"end"'),
    "other job": lambda value: value.replace("flag_decision", "delete_all"),
    "no signature": lambda value: value[64:],
    "empty": lambda _: "",
    "no text": lambda _: None,
    "half a character": lambda _: "\ud800" * 70,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_value_is_refused(body, forge) -> None:
    assert forge(value_of(body)) != value_of(body)
    with pytest.raises(RefusedClickError, match="signature is wrong") as caught:
        read_click(with_value(body, forge(value_of(body))), TRUSTED, now())
    assert not caught.value.explain


def test_a_button_signed_by_another_bot_is_refused(body) -> None:
    with pytest.raises(RefusedClickError, match="signature is wrong"):
        read_click(pressed(body, "1.1", "waive", USER), replace(TRUSTED, token="xoxb-another"), now())


@pytest.mark.parametrize("shift", [timedelta(minutes=6), timedelta(minutes=-6)], ids=["later", "earlier"])
def test_a_press_that_is_not_of_now_is_a_replay(body, shift) -> None:
    payload = pressed(body, "1.1", "waive", USER)
    with pytest.raises(RefusedClickError, match="not of now"):
        read_click(payload, TRUSTED, now() + shift)


@pytest.mark.parametrize("stamp", ["", "nan", "1e400", "yesterday", None])
def test_a_press_without_a_time_is_refused(body, stamp) -> None:
    payload = pressed(body, "1.1", "waive", USER)
    payload["actions"][0]["action_ts"] = stamp
    with pytest.raises(RefusedClickError, match="not of now"):
        read_click(payload, TRUSTED, now())


def test_an_expired_button_is_refused_and_the_person_is_told_where_to_decide() -> None:
    old = posted(now() - timedelta(days=14, minutes=1))
    with pytest.raises(RefusedClickError, match="older than 14 days") as caught:
        press(old)
    assert caught.value.explain
    assert press(posted(now() - timedelta(days=13))) is not None


def test_a_button_that_opens_an_address_and_any_other_interaction_is_no_answer(body) -> None:
    opened = pressed(body, "1.1", "end", USER)
    opened["actions"][0]["action_id"] = "open:End the audit"
    assert read_click(opened, TRUSTED, now()) is None
    assert read_click({"type": "view_submission"}, TRUSTED, now()) is None
    assert read_click({}, TRUSTED, now()) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from(["user", "team", "container", "message", "api_app_id", "actions"]),
)
def test_no_payload_whatever_is_an_error_of_another_kind(junk, where) -> None:
    payload = {**pressed(BODY, "1.1", "waive", USER), where: junk}
    with suppress(RefusedClickError):
        read_click(payload, TRUSTED, now())


BODY = posted()


def test_the_message_loses_the_button_and_says_what_was_decided(body) -> None:
    click = press(body)
    blocks = answered(click, "Waived until 2026-03-12 by ana")
    (actions,) = [block for block in blocks if block["type"] == "actions"]
    assert [e["action_id"] for e in actions["elements"]] == [
        "exd:acknowledge",
        "exd:silence",
        "exd:end",
    ]
    after = blocks[blocks.index(actions) + 1]
    assert after["type"] == "context"
    assert after["elements"][0]["text"] == "Waived until 2026-03-12 by ana"
    assert len(blocks) == len(body["blocks"]) + 1


def test_a_name_cannot_become_markup_in_the_message(body) -> None:
    said = str(answered(press(body), "Waived by <!channel> & co"))
    assert "<!channel>" not in said
    assert "&lt;!channel&gt; &amp; co" in said


@given(st.text(max_size=300), st.text(max_size=30))
def test_whatever_a_flag_is_called_its_value_is_verified_or_too_long_for_a_button(flags, checks) -> None:
    answer = replace(ANSWER, flags=flags, checks=checks)
    value = signed(answer, "m1", now(), BOT_TOKEN)
    assert len(value) <= LONGEST_VALUE
    if value:
        offer = verified(value, BOT_TOKEN)
        assert offer is not None
        assert (offer.flags, offer.checks) == (flags, checks)


def test_a_value_may_be_as_long_as_slack_takes_and_no_longer() -> None:
    least = len(signed(replace(ANSWER, flags=""), "m1", now(), BOT_TOKEN))
    lengths = [
        len(signed(replace(ANSWER, flags="x" * (LONGEST_VALUE - least + more)), "m1", now(), BOT_TOKEN))
        for more in (0, 1)
    ]
    assert lengths == [LONGEST_VALUE, 0]


def test_a_value_too_long_for_slack_leaves_a_button_that_opens_dagster() -> None:
    long = Message(
        id="m",
        status="firing",
        headline="x",
        sections=(Section(answers=(replace(ANSWER, flags="x" * 2000),)),),
    )
    with SlackServer() as server:
        bot = SlackBot(name="s", token=BOT_TOKEN, conversation="C1", answers=True, base_url=server.url)
        bot.send(Notification(id="m", reason="fire", message=long, created_at=now()), now())
    assert '"exd:waive"' not in str(server.called("chat.postMessage")).replace("'", '"')
    assert "https://dagster.example.com" in str(server.called("chat.postMessage"))


def test_the_same_decision_in_two_messages_has_two_ids() -> None:
    at = now()
    values = {signed(ANSWER, name, at, BOT_TOKEN)[:32] for name in ("m1", "m2")}
    values |= {signed(replace(ANSWER, kind="silence"), "m1", at, BOT_TOKEN)[:32]}
    assert len(values) == 3
    assert signed(ANSWER, "m1", at, BOT_TOKEN) == signed(ANSWER, "m1", at, BOT_TOKEN)


def test_a_webhook_takes_no_app_token() -> None:
    with pytest.raises(ConfigError, match="a webhook has no buttons that answer"):
        SlackAlerts(webhook_url="https://hooks.slack.com/services/x", app_token="xapp-1")
