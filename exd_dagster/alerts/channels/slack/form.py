"""The form for a decision that needs a reason: opened by a press, verified when it comes back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from exd_dagster.alerts.channels.slack.blocks import plain_block
from exd_dagster.alerts.channels.slack.click import (
    Click,
    RefusedClickError,
    Trusted,
    part_of,
    refuse_foreign,
    text_of,
)
from exd_dagster.alerts.channels.slack.signing import Offer, Opened, answer_id, sealed, unsealed, verified
from exd_dagster.alerts.messages.text import visible

CALLBACK = "exd:decide"
OPEN_FOR = timedelta(hours=1)
"""A form that is sent later than this is refused: it was left open, or is a replay."""
LONGEST_REASON = 300
TITLES = {"waive": "Waive", "end": "End the audit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A verified form.

    Attributes:
        id: of the button that opened it; used once.
        offer: the decision that was offered.
        user: Slack's id of who filled it in.
        channel: id of the channel.
        ts: of the message.
        reason: why, one line.
        until: when the decision ends (UTC).
    """

    id: str
    offer: Offer
    user: str
    channel: str
    ts: str
    reason: str
    until: datetime


def form_of(click: Click, means: str, until: datetime, token: str, now: datetime) -> dict[str, Any]:
    """Return the view that asks why and until when.

    Args:
        click: the verified press.
        means: what the decision does, one clause.
        until: when it ends unless another time is chosen (UTC).
        token: the bot's, which signs the form.
        now: the time (UTC).
    """
    opened = Opened(
        value=click.value, channel=click.channel, ts=click.ts, user=click.user, at=int(now.timestamp())
    )
    offer = click.offer
    title = plain_block(TITLES[offer.kind], 24)
    about = f"{visible(offer.flags)}, {'every check' if offer.checks == '*' else visible(offer.checks)}"
    reason = {"type": "plain_text_input", "action_id": "reason", "max_length": LONGEST_REASON}
    ends = {"type": "datetimepicker", "action_id": "until", "initial_date_time": int(until.timestamp())}
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": sealed(opened, token),
        "title": title,
        "submit": title,
        "close": plain_block("Cancel", 24),
        "blocks": [
            {"type": "section", "text": plain_block(f"{about}: {means}.", 3000)},
            {"type": "input", "block_id": "why", "label": plain_block("Why", 100), "element": reason},
            {"type": "input", "block_id": "ends", "label": plain_block("Until", 100), "element": ends},
        ],
    }


def read_submission(payload: Mapping[str, Any], trusted: Trusted, now: datetime) -> Submission | None:
    """Return a form of ours that was sent, None for anything else.

    Args:
        payload: of an `interactive` envelope.
        trusted: what it is held against.
        now: the time (UTC).

    Raises:
        RefusedClickError: for a form that is forged, foreign, of somebody else, or left open too long.
    """
    view = part_of(payload, "view")
    if payload.get("type") != "view_submission" or view.get("callback_id") != CALLBACK:
        return None
    opened = unsealed(text_of(view, "private_metadata"), trusted.token)
    offer = verified(opened.value, trusted.token) if opened else None
    if opened is None or offer is None:
        raise RefusedClickError("a form whose signature is wrong")
    refuse_foreign(payload, opened.channel, trusted)
    user = text_of(part_of(payload, "user"), "id")
    if user != opened.user:
        raise RefusedClickError(f"a form of {opened.user} that {user[:40]} sent")
    if not timedelta(minutes=-5) <= now - datetime.fromtimestamp(opened.at, timezone.utc) <= OPEN_FOR:
        why = "This form was open for too long. Press the button again."
        raise RefusedClickError(why, explain=True, channel=opened.channel)
    values = part_of(part_of(view, "state"), "values")
    reason = visible(text_of(part_of(part_of(values, "why"), "reason"), "value"))[:LONGEST_REASON]
    seconds = part_of(part_of(values, "ends"), "until").get("selected_date_time")
    if not reason or not isinstance(seconds, int) or not 0 < seconds < 1 << 36:
        why = "The form was empty. Press the button again."
        raise RefusedClickError(why, explain=True, channel=opened.channel)
    return Submission(
        id=answer_id(opened.value),
        offer=offer,
        user=user,
        channel=opened.channel,
        ts=opened.ts,
        reason=reason,
        until=datetime.fromtimestamp(seconds, timezone.utc),
    )
