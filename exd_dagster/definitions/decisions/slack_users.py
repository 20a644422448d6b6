"""Who may answer in Slack: by Slack's id of a person their name, and how Dagster knows them."""

import os
from pathlib import Path
from re import fullmatch
from typing import Any

import yaml
from pydantic import Field, field_validator

from exd_dagster.config import ConfigModel
from exd_dagster.errors import ConfigError, DeliveryError

_VARIABLE = "env:"


class SlackUser(ConfigModel):
    """A person who may answer in Slack."""

    name: str = Field(min_length=1, description="Name in decisions.")
    headers: dict[str, str] = Field(
        default={},
        repr=False,
        description="By which Dagster, or the proxy before it, knows the person: {header: env:VARIABLE}.",
    )

    @field_validator("headers")
    @classmethod
    def _from_environment(cls, headers: dict[str, str]) -> dict[str, str]:
        written = [name for name, value in headers.items() if not value.startswith(_VARIABLE)]
        if written:
            fault = f"{written[0]}: a secret must not be written in this file; write env:VARIABLE"
            raise ConfigError("headers", [fault])
        return headers

    def known_by(self) -> dict[str, str]:
        """Return the headers with their values.

        Raises:
            DeliveryError: naming a variable that is not set.
        """
        found = {}
        for name, value in self.headers.items():
            variable = value.removeprefix(_VARIABLE)
            if not os.environ.get(variable):
                raise DeliveryError(f"environment variable {variable} is not set ({name} of {self.name})")
            found[name] = os.environ[variable]
        return found


def read_slack_users(path: Path) -> dict[str, SlackUser]:
    """Read a YAML file of people: `U024BE7LH: ana`, or a mapping with `name` and `headers`.

    Raises:
        ConfigError: with every fault of the file.
    """
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"it cannot be read: {str(error).splitlines()[0]}"]) from None
    if not isinstance(written, dict) or not written:
        raise ConfigError(
            str(path), ["it names nobody; write a line for each person, such as U024BE7LH: ana"]
        )
    faults: list[str] = []
    found = {}
    for user, value in written.items():
        if not fullmatch(r"[UW][A-Z0-9]+", str(user)):
            faults.append(f"{user}: is no member id of Slack; copy it from the person's profile")
        try:
            found[str(user)] = SlackUser(**_values(value))
        except ConfigError as error:
            faults += [f"{user}.{fault}" for fault in error.faults]
    if faults:
        raise ConfigError(str(path), faults)
    return found


def _values(value: Any) -> dict[str, Any]:
    return {str(name): given for name, given in value.items()} if isinstance(value, dict) else {"name": value}
