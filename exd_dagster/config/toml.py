"""TOML as Python tables, on every supported Python."""

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of one TOML document.

    Raises:
        TOMLDecodeError: with line and column, when `text` is not TOML.
    """
    return tomllib.loads(text)
