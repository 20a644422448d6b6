"""Destinations of alerts as Dagster resources. Secrets come from the environment: `dg.EnvVar("NAME")`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg
from pydantic import Field, PrivateAttr, ValidationError

from exd_dagster.alerts.channels.callback import Callback
from exd_dagster.alerts.channels.email import TLS, Smtp, Tls, is_loopback
from exd_dagster.alerts.channels.guard import url_faults
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.slack import API, SlackBot, SlackWebhook
from exd_dagster.alerts.channels.webhook import Webhook, secret_faults
from exd_dagster.alerts.model import Channel
from exd_dagster.errors import ConfigError, DeliveryError, did_you_mean


class _Destination(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What all destinations share: a name for routes and a time limit."""

    timeout: float = Field(default=5.0, gt=0, le=15, description="Seconds one attempt may take.")

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
            faults += self._faults()
        if faults:
            name = values.get("name", known["name"].default)
            raise ConfigError(f"{type(self).__name__}(name={name!r})", faults)

    def _faults(self) -> list[str]:
        """Return what is wrong with values that are known already."""
        return []

    def _value(self, field: str) -> Any:
        """Return a field, read from the environment where it is an EnvVar; None where that is not set."""
        value = getattr(self, field)
        return value.get_value() if _from_environment(value) else value

    def _needed(self, field: str) -> str:
        """Return a field that must have a value.

        Raises:
            DeliveryError: naming the environment variable that is not set.
        """
        return _read(getattr(self, field), field)


def _read(given: Any, field: str) -> str:
    """Return a value, read from the environment where it is an EnvVar.

    Raises:
        DeliveryError: naming the field, or the environment variable, that is not set.
    """
    if not _from_environment(given):
        if given:
            return str(given)
        raise DeliveryError(f"{field} is not set; give {field}=dg.EnvVar('NAME')")
    if value := given.get_value():
        return str(value)
    name = getattr(given, "env_var_name", None) or given.name
    raise DeliveryError(f"environment variable {name} is not set ({field})")


def _from_environment(value: object) -> bool:
    """True for `dg.EnvVar("NAME")` and `dg.EnvVar.int("NAME")`, whose classes share no public base."""
    return isinstance(value, (dg.EnvVar, type(dg.EnvVar.int("_"))))


class SlackAlerts(_Destination):
    """A Slack channel, by bot token (threads, resolved edits) or by incoming webhook (the five-minute path).

    Examples:
        >>> SlackAlerts(token=dg.EnvVar("SLACK_BOT_TOKEN"), channel="#experiments")  # doctest: +SKIP
        >>> SlackAlerts(webhook_url=dg.EnvVar("SLACK_WEBHOOK_URL"))  # doctest: +SKIP
    """

    name: str = Field(default="slack", min_length=1, description="Name in routes.")
    channel: str | None = Field(default=None, description="Channel name or id; needed with a token.")
    token: str | None = Field(default=None, repr=False, description="Bot token with scope chat:write.")
    webhook_url: str | None = Field(
        default=None, repr=False, description="Incoming webhook, instead of a token."
    )
    base_url: str = Field(default=API, description="Address of Slack's Web API.")
    allow_hosts: list[str] = Field(default=[], description="Hosts that may be private or plain http.")

    @property
    def kind(self) -> Channel:
        """Channel name in deliveries."""
        return "slack"

    def _faults(self) -> list[str]:
        faults = []
        if self.webhook_url is None and self.channel is None:
            faults.append("channel: is missing; name a channel, or give webhook_url")
        webhook = self._value("webhook_url")
        faults += [f"webhook_{fault}" for fault in url_faults(webhook, self.allow_hosts)] if webhook else []
        api = self._value("base_url")
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
                url=self._needed("webhook_url"),
                allow_hosts=tuple(self.allow_hosts),
                timeout=self.timeout,
            )
        return SlackBot(
            name=self.name,
            token=self._needed("token"),
            conversation=self._needed("channel"),
            base_url=self._needed("base_url").rstrip("/") + "/",
            timeout=self.timeout,
        )


_LOCAL = ("127.0.0.1", "localhost", "::1")


class EmailAlerts(_Destination):
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

    name: str = Field(default="email", min_length=1, description="Name in routes.")
    host: str = Field(min_length=1, description="SMTP server.")
    port: int = Field(default=587, ge=0, le=65535, description="TCP port.")
    sender: str | None = Field(
        default=None, description="Address in From; None: exd-dagster at the first recipient's domain."
    )
    to: list[str] = Field(min_length=1, description="Addresses in To.")
    tls: str | None = Field(
        default=None, description="starttls, tls or none; None: starttls, on this machine none."
    )
    user: str | None = Field(default=None, description="Login name.")
    password: str | None = Field(default=None, repr=False, description="Login password.")
    ca_file: str | None = Field(default=None, description="PEM file of a further certificate authority.")

    @property
    def kind(self) -> Channel:
        """Channel name in deliveries."""
        return "email"

    def _faults(self) -> list[str]:
        faults = []
        for field, address in [("sender", self.sender), *(("to", address) for address in self.to)]:
            if address is None or _from_environment(address):
                continue
            if "@" not in address or any(ord(c) <= 32 or ord(c) == 127 for c in address):
                faults.append(f"{field}: {address!r} is not an e-mail address; write name@example.com")
        if not self.port and not _from_environment(self.port):
            faults.append("port: 0 is not a port; SMTP servers listen on 587, 465 or 25")
        if self.tls is not None and self.tls not in TLS:
            faults.append(f"tls: '{self.tls}' is not known.{did_you_mean(self.tls, TLS)}")
        host = self._value("host")
        if self.tls == "none" and self.user and host and not is_loopback(host):
            faults.append("tls: 'none' would send the password in the clear; use 'starttls' or 'tls'")
        return faults

    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when the address or a configured secret is not set.
        """
        host, to = self._needed("host"), tuple(_read(address, "to") for address in self.to)
        return Smtp(
            name=self.name,
            host=host,
            port=int(self._needed("port")),
            sender=self._needed("sender") if self.sender else f"exd-dagster@{to[0].rpartition('@')[2]}",
            to=to,
            tls=_tls(self.tls, host),
            user=self._needed("user") if self.user is not None else None,
            password=self._needed("password") if self.password is not None else None,
            ca_file=self.ca_file,
            timeout=self.timeout,
        )


def _tls(given: str | None, host: str) -> Tls:
    return next((tls for tls in TLS if tls == given), "none" if is_loopback(host) else "starttls")


class WebhookAlerts(_Destination):
    """A JSON endpoint; payloads are signed by the Standard Webhooks specification when a secret is given.

    Examples:
        >>> WebhookAlerts(
        ...     url=dg.EnvVar("FLAG_HOOK_URL"), secret=dg.EnvVar("FLAG_HOOK_SECRET")
        ... )  # doctest: +SKIP
    """

    name: str = Field(default="webhook", min_length=1, description="Name in routes.")
    url: str = Field(repr=False, description="Where to post; https unless the host is in allow_hosts.")
    secret: str | None = Field(default=None, repr=False, description="Signing key: whsec_ and base64.")
    previous_secret: str | None = Field(default=None, repr=False, description="Old key, while it is rotated.")
    authorization: str | None = Field(
        default=None, repr=False, description="Value of the Authorization header."
    )
    allow_hosts: list[str] = Field(
        default=[], description="Host names, addresses or networks that may be private or plain http."
    )
    ca_file: str | None = Field(default=None, description="PEM file of a further certificate authority.")

    @property
    def kind(self) -> Channel:
        """Channel name in deliveries."""
        return "webhook"

    def _faults(self) -> list[str]:
        url = self._value("url")
        faults = url_faults(url, self.allow_hosts) if url else []
        for field in ("secret", "previous_secret"):
            if value := self._value(field):
                faults += [fault.replace("secret", field, 1) for fault in secret_faults(value)]
        return faults

    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when the URL or a configured secret is not set.
        """
        keys = [self._needed(f) for f in ("secret", "previous_secret") if getattr(self, f) is not None]
        authorized = self.authorization is not None
        return Webhook(
            name=self.name,
            url=self._needed("url"),
            secrets=tuple(keys),
            headers={"Authorization": self._needed("authorization")} if authorized else {},
            allow_hosts=tuple(self.allow_hosts),
            ca_file=self.ca_file,
            timeout=self.timeout,
        )


class CallbackAlerts(_Destination):
    """A Python function called with each `Notification`.

    Examples:
        >>> CallbackAlerts(print).name
        'callback'
    """

    name: str = Field(default="callback", min_length=1, description="Name in routes.")
    function: str = Field(default="", description="Import path module:name, instead of the function itself.")
    _function: Callable[[Notification], Any] | None = PrivateAttr(default=None)

    def __init__(self, function: Callable[[Notification], Any] | str = "", **values: Any) -> None:
        path = function if isinstance(function, str) else _path(function)
        super().__init__(function=path, **values)
        self._function = _imported(path, self.name) if isinstance(function, str) else function

    @property
    def kind(self) -> Channel:
        """Channel name in deliveries."""
        return "callback"

    def open(self) -> Sender:
        """Return what calls the function."""
        if self._function is None:
            raise DeliveryError("function is not set")
        return Callback(name=self.name, function=self._function, timeout=self.timeout)


def _path(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", "")
    return f"{module}:{getattr(function, '__qualname__', type(function).__name__)}"


def _imported(path: str, name: str) -> Callable[[Notification], Any]:
    """Import a function now rather than when an alert is due.

    Raises:
        ConfigError: when there is none at that path.
    """
    from importlib import import_module

    module, _, attribute = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"CallbackAlerts(name={name!r})",
            [f"function: '{path}' cannot be imported ({error}); write module:name"],
        ) from None
    if not callable(found):
        raise ConfigError(f"CallbackAlerts(name={name!r})", [f"function: '{path}' is not callable"])
    return found  # type: ignore[no-any-return]


AlertDestination: TypeAlias = SlackAlerts | EmailAlerts | WebhookAlerts | CallbackAlerts


def duplicate_faults(alerts: Sequence[AlertDestination]) -> list[str]:
    """Return one fault for each name that two destinations share."""
    names = [alert.name for alert in alerts]
    return [
        f"name '{name}' is used {names.count(name)} times; give each destination its own: name=..."
        for name in sorted(set(names))
        if names.count(name) > 1
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
