"""What every channel lets people set: a name for routes, a time limit, and values read when sending."""

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from exd_dagster.alerts.channels.sender import Sender
from exd_dagster.alerts.model import Channel
from exd_dagster.errors import DeliveryError


class Settings(BaseModel):
    """Base of the settings of a channel. A value may be given later: any object with `get_value()`.

    Attributes:
        kind: the channel.
        secrets: fields that are never written into a file.
        late: further fields whose variable is read when a message is sent, not when definitions load.
    """

    kind: ClassVar[Channel]
    secrets: ClassVar[frozenset[str]] = frozenset()
    late: ClassVar[frozenset[str]] = frozenset()

    timeout: float = Field(default=5.0, gt=0, le=15, description="Seconds one attempt may take.")
    name: str = Field(min_length=1, description="Name in routes.")

    def faults(self) -> list[str]:
        """Return what is wrong with values that are known already."""
        return []

    @abstractmethod
    def open(self) -> Sender:
        """Return the sender, with the secrets read now.

        Raises:
            DeliveryError: when a value that was asked for is not set.
        """

    def value(self, field: str) -> Any:
        """Return a field, read now where it is given later; None where that is not set."""
        value = getattr(self, field)
        return value.get_value() if is_late(value) else value

    def needed(self, field: str) -> str:
        """Return a field that must have a value.

        Raises:
            DeliveryError: naming the environment variable that is not set.
        """
        return read(getattr(self, field), field)


def is_late(value: object) -> bool:
    """Return whether a value is read when it is needed, as `dg.EnvVar("NAME")` is."""
    return hasattr(value, "get_value")


def read(given: Any, field: str) -> str:
    """Return a value, read now where it is given later.

    Raises:
        DeliveryError: naming the field, or the environment variable, that is not set.
    """
    if not is_late(given):
        if given:
            return str(given)
        raise DeliveryError(f"{field} is not set; give {field}=dg.EnvVar('NAME')")
    if value := given.get_value():
        return str(value)
    name = getattr(given, "env_var_name", None) or given.name
    raise DeliveryError(f"environment variable {name} is not set ({field})")
