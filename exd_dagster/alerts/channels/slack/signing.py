"""The value of a button: a decision, signed with a key made from the bot's token.

HMAC-SHA256 (RFC 2104) over canonical JSON. A new bot token makes every older button void.
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
_CONTEXT = b"exd_dagster button 1"
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
    text = json.dumps(asdict(offer), separators=(",", ":"), sort_keys=True)
    value = _signature(text, token) + text
    return value if len(value) <= LONGEST_VALUE else ""


def verified(value: str, token: str) -> Offer | None:
    """Return what a button offers, None where the value was not signed with this token."""
    signature, text = value[:_SIGNATURE], value[_SIGNATURE:]
    seen = signature.encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(seen, _signature(text, token).encode()):
        return None
    return Offer(**json.loads(text))


def answer_id(value: str) -> str:
    """Return the id of a button: of one message, one decision. It may be used once."""
    return value[: _SIGNATURE // 2]


def _signature(text: str, token: str) -> str:
    key = hmac.digest(token.encode(), _CONTEXT, hashlib.sha256)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
