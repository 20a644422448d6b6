"""The base of every value that a team configures."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from exd_dagster.config.faults import faults_of
from exd_dagster.errors import ConfigError


class ConfigModel(BaseModel):
    """Frozen value object; unknown keys are refused with the nearest known name, all faults at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(self._subject(values), faults_of(error, type(self))) from None

    @classmethod
    def _subject(cls, values: Mapping[str, Any]) -> str:
        key = values.get("key")
        return f"{cls.__name__}(key={key!r})" if key else cls.__name__
