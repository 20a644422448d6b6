"""What every channel lets people set: a name for routes, a time limit, and values read when sending."""

from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from exd_dagster.alerts.channels.sender import Sender
from exd_dagster.alerts.model import Channel
from exd_dagster.alerts.policy.timing.active_time import read_interval
from exd_dagster.alerts.policy.timing.hold import DeliveryRules
from exd_dagster.config.calendar import checked_zone
from exd_dagster.config.faults import nearest_faults
from exd_dagster.errors import DeliveryError

SEVERITIES = ("ERROR", "WARN")


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
    active_time: list[str] = Field(
        default=[],
        description="When it is notified, for example 'Mon-Fri 08:00-18:00'; outside, messages are held. "
        "Empty: always.",
    )
    timezone: str = Field(default="UTC", description="IANA time zone of `active_time`.")
    break_through: list[str] = Field(
        default=["ERROR"],
        description="Severities sent outside `active_time` too: ERROR is what blocks, WARN the rest.",
    )
    max_per_hour: int | None = Field(
        default=None, ge=1, description="Messages within any 60 minutes; a summary replaces the rest."
    )

    def faults(self) -> list[str]:
        """Return what is wrong with values that are known already."""
        return []

    def timing_faults(self) -> list[str]:
        """Return what is wrong with the hours in which it is notified."""
        faults = []
        for field, check, values in (
            ("active_time", read_interval, self.active_time),
            ("timezone", checked_zone, [self.timezone]),
        ):
            for value in values:
                try:
                    check(value)
                except ValueError as error:
                    faults.append(f"{field}: {error}")
        return faults + nearest_faults(self.break_through, SEVERITIES, "break_through: severity")

    @property
    def rules(self) -> DeliveryRules | None:
        """When and how often it is notified; None: at once and any number of times."""
        if not self.active_time and self.max_per_hour is None:
            return None
        return DeliveryRules(
            active_time=tuple(map(read_interval, self.active_time)),
            zone=self.timezone,
            break_through=tuple(self.break_through),
            max_per_hour=self.max_per_hour,
            summarizes=self.kind.read_by_people,
        )

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
