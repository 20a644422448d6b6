"""A Python callable as a destination."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pkgutil import resolve_name
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from exd_dagster.alerts.channels.guard import redact
from exd_dagster.alerts.channels.sender import Notification, Sender
from exd_dagster.alerts.channels.settings import Settings
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.retry import Outcome
from exd_dagster.errors import ConfigError, DeliveryError

CALLBACK = Channel("callback", attempts=3, can_suspend=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Calls `function(notification)`; an exception is retried, three times in all."""

    name: str
    function: Callable[[Notification], Any]
    timeout: float = 5.0
    channel: Channel = CALLBACK

    def send(self, notification: Notification, now: datetime) -> Outcome:  # noqa: ARG002 - one signature for all
        """Call once; KeyboardInterrupt and its kin pass through."""
        try:
            self.function(notification)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            return Outcome(status="retry", detail=redact(f"{type(error).__name__}: {error}"))
        return Outcome(status="sent", detail="returned", provider_id=notification.id)


class CallbackSettings(Settings):
    """Settings of the channel `callback`."""

    kind: ClassVar[Channel] = CALLBACK

    name: str = Field(default="callback", min_length=1, description="Name in routes.")
    function: str = Field(default="", description="Import path module:name, instead of the function itself.")
    _function: Callable[[Notification], Any] | None = PrivateAttr(default=None)

    def __init__(self, function: Callable[[Notification], Any] | str = "", **values: Any) -> None:
        path = function if isinstance(function, str) else _path(function)
        super().__init__(**{"function": path, **values})
        self._function = _imported(path, self.name) if isinstance(function, str) else function

    def open(self) -> Sender:
        """Return the sender that calls the function."""
        if self._function is None:
            raise DeliveryError("function is not set")
        return Callback(name=self.name, function=self._function, timeout=self.timeout)


def _path(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", "")
    return f"{module}:{getattr(function, '__qualname__', type(function).__name__)}"


def _imported(path: str, name: str) -> Callable[[Notification], Any]:
    """Import a function now rather than when an alert is due."""
    try:
        found = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"CallbackAlerts(name={name!r})",
            [f"function: '{path}' cannot be imported ({error}); write module:name"],
        ) from None
    if not callable(found):
        raise ConfigError(f"CallbackAlerts(name={name!r})", [f"function: '{path}' is not callable"])
    return found  # type: ignore[no-any-return]
