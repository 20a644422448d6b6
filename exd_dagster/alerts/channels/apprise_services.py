"""Services that the library apprise knows: Teams, Discord, Telegram, Opsgenie, Google Chat, ntfy, SMS.

Messages are plain text. Retries, timing and receipts are ours: apprise is asked once and never to wait.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from exd_dagster.alerts.channels.guard import captured_warnings, redact, url_secrets
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings, is_late, read
from exd_dagster.alerts.messages.message import MessageStatus
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.errors import DeliveryError

if TYPE_CHECKING:
    from apprise import NotifyBase

APPRISE = Channel("apprise", read_by_people=True)
INSTALL = "apprise is not installed; run: pip install 'exd-dagster[apprise]'"
_TYPES: Mapping[MessageStatus, str] = {
    "firing": "failure",
    "undelivered": "failure",
    "contained": "warning",
    "not_monitored": "warning",
    "not_checked": "warning",
    "resolved": "success",
}
_MENTION = re.compile(r"(?<=@)(?=\w)|(?<=<)(?=[!@#])")
_LOGGERS = ("apprise", "urllib3")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseServices:
    """Sends to each service once; those that took the message are not asked again.

    Attributes:
        name: in routes.
        urls: of the services; each holds its secrets.
        timeout: seconds of one attempt.
    """

    name: str
    urls: tuple[str, ...] = field(repr=False)
    timeout: float = 5.0
    channel: Channel = APPRISE

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Send to every service, or to those left over from a partial success.

        Services are named by their place in `urls`, never by their URL.
        """
        left = notification.recipients or tuple(service_name(i, url) for i, url in enumerate(self.urls))
        failed: dict[str, str] = {}
        for i, url in enumerate(self.urls):
            if (name := service_name(i, url)) in left and (why := self._notify(url, notification)):
                failed[name] = why
        if failed:
            detail = "; ".join(f"{name}: {why}" for name, why in failed.items())
            return Outcome(status="retry", detail=redact(detail, self._hidden), remaining=tuple(failed))
        return Outcome(status="sent", detail=f"accepted by {', '.join(left)}", provider_id=notification.id)

    @property
    def _hidden(self) -> list[str]:
        return [secret for url in self.urls for secret in (*url_secrets(url), *_pieces(url))]

    def _notify(self, url: str, notification: Notification) -> str:
        """Return why a service did not take a message; "" when it did."""
        from apprise import NotifyFormat, NotifyType

        service = opened(url, self.timeout / len(self.urls))
        if service is None:
            return "its URL is not understood"
        kind = NotifyType(_TYPES.get(notification.message.status, "info"))
        body, title = notification.text.partition("\n\n")[2], notification.message.headline
        with captured_warnings(*_LOGGERS) as lines:
            done = service.notify(
                body=unmentioned(body),
                title=unmentioned(title),
                notify_type=kind,
                body_format=NotifyFormat.TEXT,
            )
        why = lines[-1] if lines else "it refused the message"
        return "" if done else redact(why, self._hidden, 200)


def opened(url: str, timeout: float = 5.0) -> "NotifyBase | None":
    """Return the service of a URL, None where apprise does not know it. It neither redirects nor stores."""
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(secure_logging=True, storage_mode=PersistentStoreMode.MEMORY, async_mode=False)
    with captured_warnings(*_LOGGERS):
        service = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if service is not None:
        service.redirects = False
        service.socket_connect_timeout = service.socket_read_timeout = timeout / 2
    return service


def unmentioned(text: str) -> str:
    """Return text in which no name of a flag or variant calls people: a mark without width parts the sign."""
    return _MENTION.sub("\u200b", text)


def service_name(index: int, url: str) -> str:
    """Return what a service is called in logs: its place and its scheme, "1 (discord)"."""
    return f"{index + 1} ({url.partition(':')[0]})"


def _pieces(url: str) -> list[str]:
    """Return the parts of a URL that may be a secret; apprise puts tokens where others have the host."""
    rest = url.partition("://")[2]
    for mark in ("@", "?", "&", "=", ":", ",", "#"):
        rest = rest.replace(mark, "/")
    return [piece for piece in rest.split("/") if len(piece) >= 6]


class AppriseSettings(Settings):
    """Settings of the channel `apprise`."""

    kind: ClassVar[Channel] = APPRISE
    secrets: ClassVar[frozenset[str]] = frozenset({"urls"})

    name: str = Field(default="apprise", min_length=1, description="Name in routes.")
    urls: list[str] = Field(
        min_length=1, repr=False, description="Apprise URLs of the services, from the environment."
    )

    def faults(self) -> list[str]:
        """Return which URLs apprise does not know, without quoting them, and whether it is there."""
        urls: list[Any] = list(self.urls)
        known = [url for url in urls if not is_late(url)]
        values = [(i, url.get_value() if is_late(url) else url) for i, url in enumerate(urls)]
        try:
            return [
                f"urls: number {i + 1} is not understood by apprise; see its documentation of the service"
                for i, url in values
                if url and opened(str(url)) is None
            ]
        except ImportError:
            return [f"urls: {INSTALL}"] if known else []

    def open(self) -> Sender:
        """Return the sender, with the URLs read now.

        Raises:
            DeliveryError: when a URL is not set, or apprise is not installed.
        """
        from importlib.util import find_spec

        if find_spec("apprise") is None:
            raise DeliveryError(INSTALL)
        urls: list[Any] = [read(url, "urls") for url in self.urls]
        return AppriseServices(name=self.name, urls=tuple(urls), timeout=self.timeout)
