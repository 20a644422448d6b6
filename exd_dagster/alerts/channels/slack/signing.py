"""What a button and a form carry, a decision, signed with keys made from the bot's token.

HMAC-SHA256 (RFC 2104) over canonical JSON. A new bot token makes every older button and form void.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from exd_dagster.alerts.messages.message import Answer

LONGEST_VALUE = 2000
"""Characters of the value of a button that Slack takes."""
LIFETIME = timedelta(days=14)
"""A button is void after this: its alert is out of date."""
_BUTTON = b"exd_dagster button 1"
_FORM = b"exd_dagster form 1"
_SIGNATURE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a button offers.

    Attributes:
        kind: of the decision.
        flags: glob over flags.
        checks: glob over checks.
        location: code location of the job.
        job: that records decisions.
        op: of the job.
        message: id of the message it stands in.
        at: when that was decided (seconds since 1970, UTC).
    """

    kind: str
    flags: str
    checks: str
    location: str
    job: str
    op: str
    message: str
    at: int


def signed(answer: Answer, message: str, at: datetime, token: str) -> str:
    """Return the value of a button; "" where Slack would not take one so long.

    Args:
        answer: what is offered.
        message: id of the message.
        at: when it was decided (UTC).
        token: the bot's.
    """
    offer = Offer(
        kind=answer.kind,
        flags=answer.flags,
        checks=answer.checks,
        location=answer.location,
        job=answer.job,
        op=answer.op,
        message=message,
        at=int(at.timestamp()),
    )
    value = _signed(offer, token, _BUTTON)
    return value if len(value) <= LONGEST_VALUE else ""


def verified(value: str, token: str) -> Offer | None:
    """Return what a button offers, None where the value was not signed with this token."""
    text = _verified(value, token, _BUTTON)
    return None if text is None else Offer(**json.loads(text))


def answer_id(value: str) -> str:
    """Return the id of a button: of one message, one decision. It may be used once."""
    return value[: _SIGNATURE // 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A form that a press opened.

    Attributes:
        value: of the button.
        channel: id of the channel.
        ts: of the message.
        user: Slack's id of who pressed.
        at: when (seconds since 1970, UTC).
    """

    value: str
    channel: str
    ts: str
    user: str
    at: int


def sealed(opened: Opened, token: str) -> str:
    """Return what a form carries, signed; a button's value cannot stand for it, nor the other way round."""
    return _signed(opened, token, _FORM)


def unsealed(metadata: str, token: str) -> Opened | None:
    """Return what a form carries, None where it was not signed with this token."""
    text = _verified(metadata, token, _FORM)
    return None if text is None else Opened(**json.loads(text))


def _signed(content: Offer | Opened, token: str, context: bytes) -> str:
    text = json.dumps(asdict(content), separators=(",", ":"), sort_keys=True)
    return _signature(text, token, context) + text


def _verified(signed_text: str, token: str, context: bytes) -> str | None:
    signature, text = signed_text[:_SIGNATURE], signed_text[_SIGNATURE:]
    seen = signature.encode("utf-8", "surrogatepass")
    return text if hmac.compare_digest(seen, _signature(text, token, context).encode()) else None


def _signature(text: str, token: str, context: bytes) -> str:
    key = hmac.digest(token.encode(), context, hashlib.sha256)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
