"""Owners and tags as Dagster takes them."""

from re import fullmatch
from typing import Annotated, TypeAlias

from pydantic import AfterValidator


def is_owner(owner: str) -> bool:
    """Return whether Dagster takes this for an owner: an e-mail address with a plain host, or team:name."""
    address = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}"
    team = owner.startswith("team:") and len(owner) > len("team:")
    return team or (fullmatch(address, owner) is not None and owner[0].isalnum())


def _is_tag(name: str, value: str) -> bool:
    """Return whether Dagster takes this for a tag: [prefix/]name and a value."""
    sign = "[A-Za-z0-9_.-]"
    return bool(fullmatch(f"({sign}{{1,63}}/)?{sign}{{1,63}}", name) and fullmatch(f"{sign}{{0,63}}", value))


def _taken_by_dagster(tags: dict[str, str]) -> dict[str, str]:
    strange = [f"{name}: {value}" for name, value in tags.items() if not _is_tag(name, value)]
    if strange:
        listed = ", ".join(strange)[:160]
        raise ValueError(f"{listed}: Dagster takes letters, digits, _, - and ., at most 63")
    return tags


Tags: TypeAlias = Annotated[dict[str, str], AfterValidator(_taken_by_dagster)]
