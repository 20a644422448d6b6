"""Alerts from a notebook: sent at once to every registered destination, with the result of each."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.http import answer_of
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.messages.message import Message
from exd_dagster.alerts.messages.text import slack_escape
from exd_dagster.alerts.model import Alert
from exd_dagster.alerts.policy.retry import Outcome, http_outcome
from exd_dagster.config import FlagId
from exd_dagster.errors import ConfigError
from exd_dagster.notebook.frame import FLAG
from exd_dagster.stats.checks import CHECKS
from exd_dagster.stats.verdict import plain

Callback: TypeAlias = Callable[[str, str, dict[str, Any]], object]

ATTEMPTS = 3
TIMEOUT = 5.0
LONGEST_WAIT = 5.0
LONGEST_LIST = 48
"""Longer lists are sent as their last items: a message is no place for one number per row."""

_ORDER = ("slack", "email", "webhook")
_log = logging.getLogger(__name__)


@runtime_checkable
class SenderSource(Protocol):
    """A configured destination, such as the Dagster resource `SlackAlerts`."""

    def open(self) -> Sender:
        """Return what sends to it, secrets read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """What became of one alert at one destination.

    Attributes:
        channel: name of its channel.
        destination: host of the URL, or the callback's name; never a secret.
        status: "sent" or "failed".
        attempts: how often it was tried.
        detail: what the destination answered, redacted.
    """

    channel: str
    destination: str
    status: Literal["sent", "failed"]
    attempts: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Destination:
    channel: str
    name: str
    send: Callable[[str, str, dict[str, Any]], Outcome] = field(repr=False)


class WebhookAlertDispatcher:
    """Sends alerts to Slack, a mail gateway, JSON webhooks and Python callbacks.

    Destinations are isolated from one another and served at the same time, so that a slow or broken one
    delays and stops no other. A busy or unreachable server is tried three times in all.
    """

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._destinations: list[_Destination] = []
        self._sleep = sleep

    def register_slack(self, url: str) -> None:
        """Add a Slack incoming webhook; the body has one key, `text`.

        Raises:
            ConfigError: when `url` is not an http or https URL.
        """
        self._register("slack", url, _slack_body)

    def register_email(self, url: str) -> None:
        """Add a mail gateway that takes JSON with the keys `subject` and `body`.

        Raises:
            ConfigError: when `url` is not an http or https URL.
        """
        self._register("email", url, _email_body)

    def register_custom(self, url: str) -> None:
        """Add a webhook that takes JSON with the keys `alert_type`, `message` and `details`.

        Raises:
            ConfigError: when `url` is not an http or https URL.
        """
        self._register("webhook", url, _webhook_body)

    def register(self, destination: Sender | SenderSource) -> None:
        """Add a destination of the alert sensor: SlackAlerts, EmailAlerts, WebhookAlerts or CallbackAlerts.

        Raises:
            DeliveryError: when an environment variable it needs is not set.
        """
        sender = destination.open() if isinstance(destination, SenderSource) else destination

        def send(alert_type: str, message: str, payload: dict[str, Any]) -> Outcome:
            now = datetime.now(timezone.utc)
            return sender.send(_notification(alert_type, message, _short(plain(payload)), now), now)

        self._destinations.append(_Destination(sender.channel.name, sender.name, send))

    def register_callback(self, callback: Callback) -> None:
        """Add a Python function; it gets the alert type, the message and the payload itself."""

        def call(alert_type: str, message: str, payload: dict[str, Any]) -> Outcome:
            try:
                callback(alert_type, message, payload)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything
                return Outcome(status="dead", detail=redact(f"{type(error).__name__}: {error}"))
            return Outcome(status="sent", detail="returned")

        name = getattr(callback, "__qualname__", type(callback).__name__)
        self._destinations.append(_Destination("callback", name, call))

    def dispatch(self, alert_type: str, message: str, payload: dict[str, Any]) -> list[DeliveryResult]:
        """Send to every destination and return the results: Slack, e-mail, webhooks, then callbacks.

        Args:
            alert_type: for example TRAFFIC_DROP_ANOMALY.
            message: one sentence for a person.
            payload: the numbers; sent as strict JSON (NaN and infinities become null).
        """
        ordered = sorted(self._destinations, key=lambda destination: _rank(destination.channel))
        remote = [destination for destination in ordered if destination.channel != "callback"]
        results: list[DeliveryResult] = []
        if remote:
            with ThreadPoolExecutor(max_workers=len(remote)) as pool:
                results += pool.map(lambda to: self._deliver(to, alert_type, message, payload), remote)
        for destination in ordered[len(remote) :]:
            results.append(self._deliver(destination, alert_type, message, payload))
        return results

    def _register(self, channel: str, url: str, body: Callable[[str, str, Any], Mapping[str, Any]]) -> None:
        host = _host(channel, url)

        def send(alert_type: str, message: str, payload: dict[str, Any]) -> Outcome:
            return _post(url, host, body(alert_type, message, _short(plain(payload))))

        self._destinations.append(_Destination(channel, host, send))

    def _deliver(
        self, to: _Destination, alert_type: str, message: str, payload: dict[str, Any]
    ) -> DeliveryResult:
        for attempt in count(1):
            outcome = to.send(alert_type, message, payload)
            if outcome.status != "retry" or attempt == ATTEMPTS:
                break
            self._sleep(min(outcome.retry_after or 0.5 * 2 ** (attempt - 1), LONGEST_WAIT))
        status: Literal["sent", "failed"] = "sent" if outcome.status == "sent" else "failed"
        if status == "failed":
            _log.error("%s was not delivered to %s (%s): %s", alert_type, to.channel, to.name, outcome.detail)
        return DeliveryResult(
            channel=to.channel, destination=to.name, status=status, attempts=attempt, detail=outcome.detail
        )


def _rank(channel: str) -> tuple[bool, int]:
    return channel == "callback", _ORDER.index(channel) if channel in _ORDER else len(_ORDER)


def _host(channel: str, url: str) -> str:
    """Return the host of a usable URL; the person who wrote it has named that host, so it may be local."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        usable = parts.scheme in ("http", "https")
    except ValueError:
        host, usable = None, False
    if not (host and usable):
        scheme = url.partition(":")[0] if "://" in url else "no scheme"
        raise ConfigError(f"{channel} destination", [f"url: has {scheme}; write https://host/path"])
    return host


def _post(url: str, host: str, body: Mapping[str, Any]) -> Outcome:
    content = json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = answer_of(url, content, headers, [url], timeout=TIMEOUT, allow_hosts=(host,))
    if isinstance(answer, Outcome):
        return answer
    now = datetime.now(timezone.utc)
    return http_outcome(
        answer.status, answer.headers.get("retry-after"), now, redact(answer.body, [url], 200)
    )


def _notification(alert_type: str, message: str, payload: Any, now: datetime) -> Notification:
    """Compose the same message as the alert sensor, rendered by each channel."""
    check = next(
        (check.name for check in CHECKS.values() if check.alert_type == alert_type), alert_type.lower()
    )
    alert = Alert(
        id=f"{FLAG}-{alert_type}-{plain(now)}",
        flag=FlagId("", "", FLAG),
        check=check,
        alert_type=alert_type,
        severity="ERROR",
        sentence=message,
        opened_at=now,
        facts=payload.get("details", payload),
        mode="warn",
    )
    text = Message(id=alert.id, status="firing", headline=alert_type, lead=message)
    return Notification(id=alert.id, reason="fire", message=text, alerts=(alert,), created_at=now)


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    return value[-LONGEST_LIST:] if isinstance(value, list) else value


def _indented(payload: Any) -> str:
    return json.dumps(payload, indent=2, allow_nan=False, ensure_ascii=False)


def _slack_body(alert_type: str, message: str, payload: Any) -> Mapping[str, Any]:
    details = slack_escape(_indented(payload))
    return {
        "text": f":rotating_light: *[exd_dagster Alert]* {slack_escape(message)}\n"
        f"*Type*: `{alert_type}`\n*Payload*: {details}"
    }


def _email_body(alert_type: str, message: str, payload: Any) -> Mapping[str, Any]:
    return {
        "subject": f"[exd_dagster Alert] {alert_type}",
        "body": f"{message}\n\nDetails:\n{_indented(payload)}",
    }


def _webhook_body(alert_type: str, message: str, payload: Any) -> Mapping[str, Any]:
    return {"alert_type": alert_type, "message": message, "details": payload}
