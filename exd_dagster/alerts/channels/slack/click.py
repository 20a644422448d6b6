"""What Slack sends when a button is pressed, verified. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from exd_dagster.alerts.channels.slack.blocks import context_block
from exd_dagster.alerts.channels.slack.signing import LIFETIME, Offer, answer_id, verified
from exd_dagster.errors import ExdError

PREFIX = "exd:"
"""Begins the action id of a button that answers; any other opens an address."""
LATE = timedelta(minutes=5)
"""A press is sent at once; one that is older, or from the future, is a replay or has a wrong clock."""


class RefusedClickError(ExdError):
    """A press of a button, or a form, that is not acted on.

    Attributes:
        explain: whether whoever pressed is told why; what is not from our own message is only logged.
        channel: id of the channel it is about, "" for the one the payload names.
    """

    def __init__(self, why: str, *, explain: bool = False, channel: str = "") -> None:
        self.explain = explain
        self.channel = channel
        super().__init__(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What a press is held against.

    Attributes:
        app_id: of our app, as Slack named it when the connection was made.
        team_id: of the workspace of our bot.
        channels: ids of the channels our bot posted alerts to.
        token: of the bot, which signed the buttons.
    """

    app_id: str
    team_id: str
    channels: Collection[str]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A verified press.

    Attributes:
        id: of the button; used once.
        offer: the decision that was offered.
        user: Slack's id of who pressed.
        channel: id of the channel.
        ts: of the message.
        text: of the message.
        blocks: of the message.
        value: of the button.
        trigger: lets Slack open a form for this person, within 3 seconds.
    """

    id: str
    offer: Offer
    user: str
    channel: str
    ts: str
    text: str
    blocks: tuple[Mapping[str, Any], ...]
    value: str
    trigger: str = ""


def read_click(payload: Mapping[str, Any], trusted: Trusted, now: datetime) -> Click | None:
    """Return the press of a button that answers, None for anything else.

    Args:
        payload: of an `interactive` envelope.
        trusted: what it is held against.
        now: the time (UTC).

    Raises:
        RefusedClickError: for a press that is forged, foreign, too old or expired.
    """
    actions = [
        action for action in list_of(payload, "actions") if text_of(action, "action_id").startswith(PREFIX)
    ]
    if payload.get("type") != "block_actions" or not actions:
        return None
    channel = text_of(part_of(payload, "container"), "channel_id")
    refuse_foreign(payload, channel, trusted)
    value = text_of(actions[0], "value")
    offer = verified(value, trusted.token)
    if offer is None:
        raise RefusedClickError("a button whose signature is wrong")
    if abs(now - _instant(text_of(actions[0], "action_ts"))) > LATE:
        raise RefusedClickError("a press that is not of now: a replay, or a wrong clock")
    issued = datetime.fromtimestamp(offer.at, timezone.utc)
    if now - issued > LIFETIME:
        raise RefusedClickError(
            f"This button is older than {LIFETIME.days} days. Decide in Dagster instead.", explain=True
        )
    message = part_of(payload, "message")
    return Click(
        id=answer_id(value),
        offer=offer,
        user=text_of(part_of(payload, "user"), "id"),
        channel=channel,
        ts=text_of(part_of(payload, "container"), "message_ts"),
        text=text_of(message, "text"),
        blocks=tuple(list_of(message, "blocks")),
        value=value,
        trigger=text_of(payload, "trigger_id"),
    )


def refuse_foreign(payload: Mapping[str, Any], channel: str, trusted: Trusted) -> None:
    """Refuse what comes from another app, another workspace or a channel without alerts of ours.

    Raises:
        RefusedClickError: naming which.
    """
    places = (
        ("app", text_of(payload, "api_app_id"), [trusted.app_id]),
        ("workspace", text_of(part_of(payload, "team"), "id"), [trusted.team_id]),
        ("channel", channel, trusted.channels),
    )
    for what, seen, known in places:
        if not seen or seen not in known:
            raise RefusedClickError(f"a press from {what} '{seen[:40]}', which is not ours")


def answered(click: Click, said: str) -> list[dict[str, Any]]:
    """Return the blocks of the message without the button that was pressed, and with what was decided.

    Args:
        click: the press.
        said: who decided what, one line, not yet escaped.
    """
    blocks: list[dict[str, Any]] = []
    for block in click.blocks:
        elements = list_of(block, "elements")
        left = [element for element in elements if text_of(element, "value") != click.value]
        if block.get("type") != "actions" or len(left) == len(elements):
            blocks.append(dict(block))
            continue
        blocks += [{**block, "elements": left}] if left else []
        blocks.append(context_block(said))
    return blocks


def _instant(text: str) -> datetime:
    """Read Slack's seconds since 1970; what is none is very old."""
    try:
        return datetime.fromtimestamp(float(text), timezone.utc)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, timezone.utc)


def part_of(values: Any, name: str) -> Mapping[str, Any]:
    """Return a part of a payload that is a mapping; an empty one where it is anything else."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def list_of(values: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the mappings of a list in a payload; none where it is anything else."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def text_of(values: Mapping[str, Any], name: str) -> str:
    """Return a text of a payload; "" where it is anything else."""
    found = values.get(name)
    return found if isinstance(found, str) else ""
