"""The form that asks why: what it shows, and that only our own, sent soon by who opened it, counts."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exd_dagster.alerts.channels.slack.click import RefusedClickError, read_click
from exd_dagster.alerts.channels.slack.form import LONGEST_REASON, Submission, form_of, read_submission
from exd_dagster.alerts.channels.slack.signing import Opened, sealed, signed, unsealed, verified
from exd_dagster.alerts.policy.decisions import KINDS
from tests.alerts.slack.test_click import ANSWER, BOT_TOKEN, TRUSTED, USER, now, posted
from tests.servers.slack import CHANNEL, pressed, submitted

WEEK = datetime(2030, 3, 12, 9, tzinfo=timezone.utc)
BODY = posted()


def view(kind: str = "waive", at: datetime | None = None) -> dict[str, Any]:
    """The form that a press of a button opens."""
    click = read_click(pressed(BODY, "1.1", kind, USER), TRUSTED, now())
    assert click is not None
    return form_of(click, KINDS[kind], WEEK, BOT_TOKEN, at or now())


def send(
    form: Mapping[str, Any], user: str = USER, reason: str = "cache", **changes: Any
) -> Submission | None:
    return read_submission(submitted(form, user, reason, WEEK, **changes), TRUSTED, now())


@pytest.mark.parametrize(("kind", "title"), [("waive", "Waive"), ("end", "End the audit")])
def test_it_says_what_the_decision_does_and_asks_why_and_until_when(kind: str, title: str) -> None:
    form = view(kind)
    about, why, ends = form["blocks"]
    assert form["title"]["text"] == form["submit"]["text"] == title
    assert about["text"]["text"] == f"checkout, srm: {KINDS[kind]}."
    assert (why["label"]["text"], why["element"]["type"]) == ("Why", "plain_text_input")
    assert (ends["label"]["text"], ends["element"]["initial_date_time"]) == ("Until", int(WEEK.timestamp()))


def test_slack_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    form = view()
    assert len(form["private_metadata"]) <= 3000
    assert len(form["title"]["text"]) <= 24


def test_what_was_filled_in_is_the_decision_of_the_button() -> None:
    sent = send(view(), reason=" cache bug\n arms equal ")
    assert sent is not None
    assert (sent.user, sent.offer.kind, sent.offer.flags, sent.offer.checks) == (
        USER,
        "waive",
        "checkout",
        "srm",
    )
    assert (sent.reason, sent.until, sent.channel, sent.ts) == ("cache bug arms equal", WEEK, CHANNEL, "1.1")


def test_a_button_and_its_form_have_one_id_so_that_both_work_once() -> None:
    sent, click = send(view()), read_click(pressed(BODY, "1.1", "waive", USER), TRUSTED, now())
    assert sent is not None
    assert click is not None
    assert sent.id == click.id


def test_somebody_else_cannot_send_it() -> None:
    with pytest.raises(RefusedClickError, match="a form of U0ANA that U0EVE sent") as caught:
        send(view(), user="U0EVE")
    assert not caught.value.explain


@pytest.mark.parametrize(
    "changes", [{"api_app_id": "A0OTHER"}, {"api_app_id": None}, {"team": {"id": "T0OTHER"}}, {"team": None}]
)
def test_a_form_from_elsewhere_is_refused_without_a_word_there(changes: dict[str, Any]) -> None:
    with pytest.raises(RefusedClickError, match="which is not ours") as caught:
        send(view(), **changes)
    assert not caught.value.explain


def test_a_form_about_a_channel_without_alerts_is_refused() -> None:
    with pytest.raises(RefusedClickError, match="which is not ours"):
        read_submission(submitted(view(), USER, "cache", WEEK), replace(TRUSTED, channels={"C0"}), now())


FORGED = {
    "other flags": lambda text: text.replace("checkout", "*"),
    "other user": lambda text: text.replace(USER, "U0EVE"),
    "no signature": lambda text: text[64:],
    "empty": lambda _: "",
    "no text": lambda _: None,
    "half a character": lambda _: "\ud800" * 70,
    "a button": lambda _: pressed(BODY, "1.1", "waive", USER)["actions"][0]["value"],
    "a form around a forged button": lambda _: sealed(
        Opened(value="x" * 200, channel=CHANNEL, ts="1.1", user=USER, at=int(now().timestamp())), BOT_TOKEN
    ),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_form_is_refused(forge: Any) -> None:
    form = view()
    forged = forge(form["private_metadata"])
    assert forged != form["private_metadata"]
    with pytest.raises(RefusedClickError, match="signature is wrong") as caught:
        send({**form, "private_metadata": forged})
    assert not caught.value.explain


def test_a_form_signed_by_another_bot_is_refused() -> None:
    with pytest.raises(RefusedClickError, match="signature is wrong"):
        read_submission(submitted(view(), USER, "x", WEEK), replace(TRUSTED, token="xoxb-another"), now())


@pytest.mark.parametrize("ago", [timedelta(minutes=61), timedelta(days=3), timedelta(minutes=-6)])
def test_a_form_that_was_open_for_long_is_a_replay_or_forgotten_and_the_person_is_told(ago) -> None:
    with pytest.raises(RefusedClickError, match="open for too long") as caught:
        send(view(at=now() - ago))
    assert (caught.value.explain, caught.value.channel) == (True, CHANNEL)


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_without_a_reason_nothing_is_decided(reason: Any) -> None:
    with pytest.raises(RefusedClickError, match="The form was empty"):
        send(view(), reason=reason)


def test_a_reason_without_end_is_cut() -> None:
    sent = send(view(), reason="x" * 5000)
    assert sent is not None
    assert len(sent.reason) == LONGEST_REASON


def test_a_form_of_another_app_in_the_workspace_is_none_of_ours() -> None:
    assert send({**view(), "callback_id": "other"}) is None
    assert read_submission(pressed(BODY, "1.1", "waive", USER), TRUSTED, now()) is None
    assert read_submission({}, TRUSTED, now()) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from(["user", "team", "view", "api_app_id", "state", "values", "why", "ends"]),
)
def test_no_payload_whatever_is_an_error_of_another_kind(junk: Any, where: str) -> None:
    payload = submitted(FORM, USER, "cache", WEEK)
    inner = payload["view"]
    places = {"state": inner, "values": inner["state"], "why": inner["state"]["values"]}
    places["ends"] = places["why"]
    places.get(where, payload)[where] = junk
    with suppress(RefusedClickError):
        read_submission(payload, TRUSTED, now())


FORM = view()


@given(st.text(max_size=300), st.text(max_size=30))
def test_whatever_a_flag_is_called_its_form_is_verified(flags: str, checks: str) -> None:
    value = signed(replace(ANSWER, flags=flags, checks=checks), "m1", now(), BOT_TOKEN)
    opened = Opened(value=value, channel="C1", ts="1.1", user=USER, at=1)
    assert unsealed(sealed(opened, BOT_TOKEN), BOT_TOKEN) == opened
    if value:
        assert verified(opened.value, BOT_TOKEN) is not None
