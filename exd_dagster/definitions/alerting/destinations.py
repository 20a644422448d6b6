"""Destinations of alerts as Dagster resources. Secrets come from the environment: `dg.EnvVar("NAME")`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg
from pydantic import ValidationError

from exd_dagster.alerts.channels.apprise_services import AppriseSettings
from exd_dagster.alerts.channels.callback import CallbackSettings
from exd_dagster.alerts.channels.email import EmailSettings
from exd_dagster.alerts.channels.pagerduty import PagerDutySettings
from exd_dagster.alerts.channels.sender import Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.channels.slack.sender import SlackSettings
from exd_dagster.alerts.channels.webhook import WebhookSettings
from exd_dagster.alerts.model import Channel
from exd_dagster.errors import ConfigError, DeliveryError, did_you_mean


class Destination(Settings, dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings of a channel as a Dagster resource. All faults are reported at once."""

    def __init__(self, **values: Any) -> None:
        known = type(self).model_fields
        faults = [
            f"{key}: is not a known key.{did_you_mean(key, known)}" for key in values if key not in known
        ]
        try:
            super().__init__(**{key: value for key, value in values.items() if key in known})
        except ValidationError as error:
            faults += [
                f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_input=False)
            ]
        else:
            faults += [*self.timing_faults(), *self.faults()]
        if faults:
            name = values.get("name", known["name"].default)
            raise ConfigError(f"{type(self).__name__}(name={name!r})", faults)


class SlackAlerts(SlackSettings, Destination):
    """A Slack channel, by bot token (threads, resolved edits) or by incoming webhook (the five-minute path).

    Examples:
        >>> SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel="#experiments")  # doctest: +SKIP
        >>> SlackAlerts(webhook_url=dg.EnvVar("SLACK_WEBHOOK_URL"))  # doctest: +SKIP
    """


class EmailAlerts(EmailSettings, Destination):
    """E-mail over SMTP. STARTTLS by default; a password is never sent unencrypted.

    Examples:
        >>> EmailAlerts(
        ...     host="smtp.example.com",
        ...     sender="exd@example.com",
        ...     to=["growth@example.com"],
        ...     user="exd",
        ...     password=dg.EnvVar("SMTP_PASSWORD"),
        ... )  # doctest: +SKIP
    """


class WebhookAlerts(WebhookSettings, Destination):
    """A JSON endpoint; payloads are signed by the Standard Webhooks specification when a secret is given.

    Examples:
        >>> WebhookAlerts(
        ...     url=dg.EnvVar("FLAG_HOOK_URL"), secret=dg.EnvVar("FLAG_HOOK_SECRET")
        ... )  # doctest: +SKIP
    """


class PagerDutyAlerts(PagerDutySettings, Destination):
    """A PagerDuty service: its incidents open, are acknowledged and resolve as ours do.

    Examples:
        >>> PagerDutyAlerts(routing_key=dg.EnvVar("PAGERDUTY_ROUTING_KEY"))  # doctest: +SKIP
    """


class AppriseAlerts(AppriseSettings, Destination):
    """Services that the library apprise knows, each by its URL (`pip install 'exd-dagster[apprise]'`).

    Examples:
        >>> AppriseAlerts(urls=[dg.EnvVar("TEAMS_URL"), dg.EnvVar("NTFY_URL")])  # doctest: +SKIP
    """


class CallbackAlerts(CallbackSettings, Destination):
    """A Python function called with each `Notification`.

    Examples:
        >>> CallbackAlerts(print).name
        'callback'
    """


AlertDestination: TypeAlias = Destination

DESTINATIONS: dict[str, type[Destination]] = {
    resource.kind.name: resource
    for resource in (SlackAlerts, EmailAlerts, WebhookAlerts, PagerDutyAlerts, AppriseAlerts, CallbackAlerts)
}
"""Every destination by its channel, which is its `type` in YAML. A new channel: its file, and a line here."""


def duplicate_faults(alerts: Sequence[AlertDestination]) -> list[str]:
    """Return one fault for each name that two destinations share."""
    names = Counter(alert.name for alert in alerts)
    return [
        f"name '{name}' is used {times} times; give each destination its own: name=..."
        for name, times in sorted(names.items())
        if times > 1
    ]


def open_senders(alerts: Sequence[AlertDestination]) -> tuple[dict[str, Sender], dict[str, str]]:
    """Return the destinations that can be used now, and why the others cannot, by name."""
    ready: dict[str, Sender] = {}
    unready: dict[str, str] = {}
    for alert in alerts:
        try:
            ready[alert.name] = alert.open()
        except DeliveryError as error:
            unready[alert.name] = str(error)
    return ready, unready


def channels(alerts: Sequence[AlertDestination]) -> Mapping[str, Channel]:
    """Return the channel of each destination by name."""
    return {alert.name: alert.kind for alert in alerts}
