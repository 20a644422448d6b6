"""Slack: the Web API with a bot token (threads, resolved edits), or an incoming webhook."""

import json
import logging
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from exd_dagster.alerts.channels.guard import redact, url_faults, url_secrets
from exd_dagster.alerts.channels.http import answer_of
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.channels.slack.blocks import slack_blocks, slack_summary, slack_text
from exd_dagster.alerts.channels.slack.errors import LOST_THREAD, is_about_the_message, slack_outcome
from exd_dagster.alerts.channels.slack.signing import signed
from exd_dagster.alerts.messages.message import Answer
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome, http_outcome

if TYPE_CHECKING:
    from slack_sdk import WebClient

API = "https://slack.com/api/"
_LOG = logging.getLogger("exd_dagster.slack_sdk")
_LOG.setLevel(logging.CRITICAL)  # slack_sdk logs headers and URLs, which contain secrets
_LOG.propagate = False
SLACK = Channel("slack", read_by_people=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackBot:
    """Posts as a Slack app; later messages of an incident go to its thread."""

    name: str
    token: str = field(repr=False)
    conversation: str
    answers: bool = False
    base_url: str = API
    timeout: float = 5.0
    channel: Channel = SLACK

    def send(self, notification: Notification, now: datetime) -> Outcome:
        """Post the message, or post in the thread and turn its first message green."""
        thread = notification.thread
        channel = thread.get("channel", self.conversation)
        if thread.get("ts") and notification.closes_thread:
            edited = self._say("chat.update", {"channel": channel, "ts": thread["ts"]}, notification, now)
            if edited.status == "retry":
                return edited
        plain = {"unfurl_links": False, "unfurl_media": False, "mrkdwn": False, "parse": "none"}
        where: dict[str, Any] = {"channel": channel, **plain}
        if not thread.get("ts"):
            return self._say("chat.postMessage", where, notification, now)
        outcome = self._say("chat.postMessage", {**where, "thread_ts": thread["ts"]}, notification, now)
        if outcome.detail.rpartition(" ")[2] in LOST_THREAD:
            return self._say("chat.postMessage", where, notification, now)
        return outcome

    def _say(
        self, method: str, where: Mapping[str, Any], notification: Notification, now: datetime
    ) -> Outcome:
        """Send blocks with their text; plain text once when Slack refuses the message as it is."""
        message = notification.message
        blocks = slack_blocks(message, buttons=True, sign=self._sign(notification) if self.answers else None)
        body = {**where, "text": slack_summary(message), "blocks": blocks}
        outcome = self.call(method, body, now)
        if is_about_the_message(outcome) and outcome.detail.rpartition(" ")[2] not in LOST_THREAD:
            return self.call(method, {**where, "text": slack_text(message)}, now)
        return outcome

    def _sign(self, notification: Notification) -> Callable[[Answer], str]:
        """Return what signs a button of this message; the same for every attempt."""
        message, at = notification.id, notification.created_at
        return lambda answer: signed(answer, message, at, self.token)

    def call(self, method: str, body: Mapping[str, Any], now: datetime) -> Outcome:
        """Call a method of the Web API once."""
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            answer = self.client().api_call(method, json=dict(body))
        except SlackApiError as error:
            return self._refused(error, now)
        except (OSError, HTTPException, SlackClientError, ValueError) as error:
            return Outcome(status="retry", detail=f"{method}: {redact(error, [self.token])}")
        channel, ts = str(answer.get("channel", "")), str(answer.get("ts", ""))
        return Outcome(
            status="sent", detail=f"{method} ok", provider_id=ts, thread={"channel": channel, "ts": ts}
        )

    def _refused(self, error: Any, now: datetime) -> Outcome:
        response = error.response
        status = int(getattr(response, "status_code", 0) or response.get("status", 0) or 0)
        headers = {k.lower(): v for k, v in dict(getattr(response, "headers", {}) or {}).items()}
        data = getattr(response, "data", response)
        name = str(data.get("error", "")) if isinstance(data, Mapping) else ""
        code = name if name.replace("_", "").isalnum() and name.isascii() and name.islower() else ""
        wait = headers.get("retry-after")
        if status == 429 or status >= 500 or (300 <= status < 400):
            return http_outcome(status, wait, now, code)
        return slack_outcome(code, wait, now)

    def client(self) -> "WebClient":
        """Return Slack's client; it neither retries nor logs."""
        from slack_sdk import WebClient

        class Client(WebClient):
            """A WebClient that never follows a redirect with the token in hand."""

            def _perform_urllib_http_request_internal(
                self,
                url: str,  # noqa: ARG002 - the request has it
                req: urllib.request.Request,
            ) -> dict[str, Any]:
                opener = urllib.request.build_opener(_NoRedirect())
                with opener.open(req, timeout=self.timeout) as answer:
                    text = answer.read(1 << 20).decode("utf-8", "replace")
                    return {"status": answer.status, "headers": answer.headers, "body": text}

        return Client(
            token=self.token,
            base_url=self.base_url,
            timeout=int(max(self.timeout, 1)),
            retry_handlers=[],
            logger=_LOG,
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns every redirect into the HTTP error it is."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackWebhook:
    """Posts through an incoming webhook: the five-minute path, without threads."""

    name: str
    url: str = field(repr=False)
    allow_hosts: tuple[str, ...] = ()
    timeout: float = 5.0
    channel: Channel = SLACK

    def send(self, notification: Notification, now: datetime) -> Outcome:
        """Post blocks with their text; plain text once when Slack refuses the blocks."""
        message = notification.message
        outcome = self._post({"text": slack_summary(message), "blocks": slack_blocks(message)}, now)
        if is_about_the_message(outcome):
            return self._post({"text": slack_text(message)}, now)
        return outcome

    def _post(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        hidden = url_secrets(self.url)
        answer = answer_of(
            self.url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json; charset=utf-8"},
            hidden,
            timeout=self.timeout,
            allow_hosts=self.allow_hosts,
        )
        if isinstance(answer, Outcome):
            return answer
        said = redact(answer.body, hidden, 80)
        if answer.status == 200 and said == "ok":
            return Outcome(status="sent", detail="ok")
        if answer.status == 429 or answer.status >= 500 or 300 <= answer.status < 400:
            return http_outcome(answer.status, answer.headers.get("retry-after"), now, said)
        return slack_outcome(said, answer.headers.get("retry-after"), now)


class SlackSettings(Settings):
    """Settings of the channel `slack`."""

    kind: ClassVar[Channel] = SLACK
    secrets: ClassVar[frozenset[str]] = frozenset({"token", "app_token", "webhook_url"})
    late: ClassVar[frozenset[str]] = frozenset({"channel", "base_url"})

    name: str = Field(default="slack", min_length=1, description="Name in routes.")
    channel: str | None = Field(default=None, description="Channel name or id; needed with a token.")
    token: str | None = Field(default=None, repr=False, description="Bot token with scope chat:write.")
    app_token: str | None = Field(
        default=None,
        repr=False,
        description="App-level token with scope connections:write; with it, buttons answer in Slack, by "
        "`exd-dagster slack`.",
    )
    webhook_url: str | None = Field(
        default=None, repr=False, description="Incoming webhook, instead of a token."
    )
    base_url: str = Field(default=API, description="Address of Slack's Web API.")
    allow_hosts: list[str] = Field(default=[], description="Hosts that may be private or plain http.")

    def faults(self) -> list[str]:
        """Return what is missing, and what is wrong with the URLs."""
        faults = []
        if self.webhook_url is None and self.channel is None:
            faults.append("channel: is missing; name a channel, or give webhook_url")
        if self.webhook_url is not None and self.app_token is not None:
            faults.append("app_token: a webhook has no buttons that answer; give token and channel instead")
        webhook = self.value("webhook_url")
        faults += [f"webhook_{fault}" for fault in url_faults(webhook, self.allow_hosts)] if webhook else []
        api = self.value("base_url")
        faults += [f"base_{fault}" for fault in url_faults(api, [*self.allow_hosts, *_LOCAL])] if api else []
        return faults

    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when a secret is not set.
        """
        if self.webhook_url is not None:
            return SlackWebhook(
                name=self.name,
                url=self.needed("webhook_url"),
                allow_hosts=tuple(self.allow_hosts),
                timeout=self.timeout,
            )
        return SlackBot(
            name=self.name,
            token=self.needed("token"),
            conversation=self.needed("channel"),
            answers=self.app_token is not None,
            base_url=self.needed("base_url").rstrip("/") + "/",
            timeout=self.timeout,
        )


_LOCAL = ("127.0.0.1", "localhost", "::1")
