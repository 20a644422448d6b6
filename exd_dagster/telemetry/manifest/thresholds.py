"""exd's `thresholds.toml` -> `Thresholds`."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from exd_dagster.config import Thresholds
from exd_dagster.config.toml import TOMLDecodeError, parse_toml
from exd_dagster.errors import ConfigError, did_you_mean

_UNUSED = ("lift", "dead_flag", "rule", "context")
"""Tables of exd's own file that belong to commands this package does not have."""

_TABLES = tuple(name for name in Thresholds.model_fields if name != "source")


def read_thresholds(path: str | Path | None = None) -> Thresholds:
    """Read a thresholds file; None gives the built-in levels. `source` names the origin of the values.

    Every table and key is optional. An unknown one is ignored with a warning that suggests the nearest
    known name, so that a file written for another version still works.

    Raises:
        ConfigError: when the file cannot be read, is not TOML, or has a value out of range; all faults.
    """
    if path is None:
        return Thresholds()
    subject = f"thresholds file '{path}'"
    try:
        document = parse_toml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(subject, [f"cannot be read: {error.strerror or error}"]) from None
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(subject, [f"is not TOML: {error}"]) from None
    try:
        return Thresholds(source=str(path), **_known(document, subject))
    except ConfigError as error:
        raise ConfigError(subject, error.faults) from None


def _known(document: Mapping[str, Any], subject: str) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, table in document.items():
        if name in _UNUSED:
            continue
        if name not in _TABLES:
            _warn(f"{subject}: unknown table [{name}] is ignored.{did_you_mean(name, (*_TABLES, *_UNUSED))}")
        elif not isinstance(table, Mapping):
            raise ConfigError(subject, [f"{name}: is {table!r}; write a table [{name}]"])
        else:
            tables[name] = _known_keys(name, table, subject)
    return tables


def _known_keys(name: str, table: Mapping[str, Any], subject: str) -> dict[str, Any]:
    model = Thresholds.model_fields[name].annotation
    known = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    for key in table:
        if key not in known:
            _warn(f"{subject}: unknown key {name}.{key} is ignored.{did_you_mean(key, known)}")
    return {key: value for key, value in table.items() if key in known}


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
