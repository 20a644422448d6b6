"""Classify responses and schedule retries. Pure: no clock, network or randomness.

Slack's named errors are in `channels/slack/errors.py`.

The schedule is 30 s, 2 min, 10 min, 1 h, then every 3 h with a deterministic jitter; after 23 h a message
is given up and reported elsewhere. A server's Retry-After is honoured up to one hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Literal

from exd_dagster.alerts.model import OutboxEntry

LIFETIME = timedelta(hours=23)
"""Age at which a message is given up, so that this is reported elsewhere within 24 h."""
_STEPS = (30.0, 120.0, 600.0, 3600.0)
_LATER = 3 * 3600.0
_MOST = 3600.0
_JITTER = 0.1

_RETRY_STATUS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt.

    Attributes:
        status: sent, retry (try again later) or dead (permanent failure).
        detail: the response, redacted and short.
        provider_id: the id of the message at the destination.
        retry_after: wait at least this many seconds.
        whole: True when the response concerns the destination, not only this message.
        thread: what a later message needs to reply in the same thread.
        refused: by recipient, why it was refused for good while others were served.
        remaining: recipients to try again while others were served.
    """

    status: Literal["sent", "retry", "dead"]
    detail: str = ""
    provider_id: str = ""
    retry_after: float | None = None
    whole: bool = False
    thread: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    remaining: tuple[str, ...] = ()


def delay(attempts: int, entry_id: str) -> float:
    """Return the seconds to wait after `attempts` failed tries, spread by the entry's id."""
    step = _STEPS[attempts - 1] if attempts <= len(_STEPS) else _LATER
    share = int(sha256(f"{entry_id}:{attempts}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return step * (1 + _JITTER * share)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or HTTP date, as seconds from `now`; at most one hour, else None."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _MOST)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    at = at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at
    return min(max((at - now).total_seconds(), 0.0), _MOST)


def http_outcome(status: int, header: str | None, now: datetime, detail: str = "") -> Outcome:
    """Classify an HTTP response: 2xx sent; 408, 425, 429 and 5xx retry; everything else dead.

    Args:
        status: HTTP status code.
        header: the Retry-After header, if any.
        now: when it was received (UTC).
        detail: redacted excerpt of the response.
    """
    text = f"HTTP {status} {detail}".strip()
    if 200 <= status < 300:
        return Outcome(status="sent", detail=text)
    if status in _RETRY_STATUS or status >= 500:
        return Outcome(
            status="retry", detail=text, retry_after=retry_after(header, now), whole=status in (429, 503)
        )
    if 300 <= status < 400:
        return Outcome(status="dead", detail=f"{text}: redirects are never followed; configure the final URL")
    if status == 410:
        return Outcome(status="dead", detail=f"{text}: the endpoint is gone", whole=True)
    return Outcome(status="dead", detail=text, whole=status in (401, 403, 404))


def smtp_outcome(code: int, text: str) -> Outcome:
    """Classify an SMTP reply: 4yz retry, 5yz dead; 530, 534 and 535 are about the destination."""
    detail = f"SMTP {code} {text}".strip()
    if 400 <= code < 500:
        return Outcome(status="retry", detail=detail)
    if code in (530, 534, 535, 538):
        return Outcome(status="dead", detail=f"{detail}: check user name and password", whole=True)
    return Outcome(status="dead", detail=detail)


def tried(entry: OutboxEntry, outcome: Outcome, now: datetime) -> OutboxEntry:
    """Return the entry after an attempt that has to be repeated."""
    attempts = entry.attempts + 1
    wait = timedelta(seconds=max(delay(attempts, entry.id), outcome.retry_after or 0.0))
    last = begun(entry) + LIFETIME
    return replace(
        entry,
        attempts=attempts,
        next_attempt_at=min(now + wait, last) if last > now else now + wait,
        last_error=outcome.detail,
        recipients=outcome.remaining or entry.recipients,
    )


def begun(entry: OutboxEntry) -> datetime:
    """Return from when on an entry ages: its creation, or its release where it was held (UTC)."""
    return max(entry.created_at, entry.released_at or entry.created_at)


def expired(entry: OutboxEntry, now: datetime, attempts: int | None = None) -> bool:
    """True when no further attempt is made: 23 h old, or tried as often as its channel allows."""
    if attempts is not None and entry.attempts >= attempts:
        return True
    return entry.attempts > 0 and now - begun(entry) >= LIFETIME
