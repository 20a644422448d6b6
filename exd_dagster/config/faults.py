"""The faults of a configuration in words."""

from collections.abc import Sequence
from re import DOTALL, fullmatch

from pydantic import BaseModel, ValidationError

from exd_dagster.errors import ConfigError, did_you_mean


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line for each fault of `error`, which names the key at fault and what was seen."""
    faults = []
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"])
        nested = fault.get("ctx", {}).get("error")
        if isinstance(nested, ConfigError):
            faults += [_at(place, line) for line in nested.faults]
            continue
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "is not a known key." + did_you_mean(str(fault["loc"][-1]), model.model_fields)
        elif fault["type"] != "missing":
            message = f"{message} (seen: {short(fault.get('input'))})"
        faults.append(f"{place}: {message}" if place else message)
    return faults


def nearest_faults(names: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    """Return one fault line for each name that is not known, with the nearest known one."""
    return [
        f"{what} '{name}' is not defined.{did_you_mean(name, known)}" for name in names if name not in known
    ]


def _at(place: str, fault: str) -> str:
    """Prefix a fault, which starts with a field or concerns the whole object, with `place`."""
    joint = "." if fullmatch(r"[\w.]+:.*", fault, DOTALL) else ": "
    return f"{place}{joint}{fault}" if place else fault


def short(value: object) -> str:
    """Return a value as it would be written, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
