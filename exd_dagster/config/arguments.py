"""Arguments of public functions, checked by their annotations: every fault at once, in our words."""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from exd_dagster.config.faults import short
from exd_dagster.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])


def checked_arguments(*unchecked: str) -> Callable[[Function], Function]:
    """Return a decorator that refuses arguments whose type is not the annotated one.

    Nothing is converted, except a mapping into the model that is wanted in its place.

    Args:
        *unchecked: the arguments that the function checks itself.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            call, faults = signature.bind(*args, **kwargs), list[str]()
            for name, value in call.arguments.items():
                if name in unchecked:
                    continue
                try:
                    read = _adapter(function, name).validate_python(value, strict=True)
                except ValidationError as error:
                    faults.append(f"{name}: write {_wanted(error)} (seen: {short(value)})")
                else:
                    if isinstance(value, Mapping) and isinstance(read, BaseModel):
                        call.arguments[name] = read
            if faults:
                raise ConfigError(function.__name__, faults)
            return function(*call.args, **call.kwargs)

        return checked  # type: ignore[return-value]

    return decorate


def _wanted(error: ValidationError) -> str:
    wanted = dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in error.errors())
    return ", or ".join(list(wanted)[:3])


@lru_cache(maxsize=256)
def _adapter(function: Callable[..., Any], name: str) -> TypeAdapter[Any]:
    annotation = function.__annotations__[name]
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # of a model or a dataclass, which has a configuration of its own
        return TypeAdapter(annotation)
