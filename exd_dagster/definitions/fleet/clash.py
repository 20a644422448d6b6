"""Conflicts between fleets of one code location, each with its fix."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from exd_dagster.config import FlagId
from exd_dagster.definitions.fleet.names import DEFAULT_FLEET


@dataclass(frozen=True, slots=True)
class Claim:
    """What must be unique to a fleet.

    Attributes:
        name: of the fleet.
        bins: the bins asset of each flag.
        store: address of the store; "" if unknown.
    """

    name: str
    bins: Mapping[FlagId, dg.AssetKey]
    store: str


def clash(one: Claim, other: Claim) -> list[str]:
    """Return one fault for each asset that both build, and for each flag that both count in one store."""
    both = f"the fleets '{one.name}' and '{other.name}' both"
    named = one.name if other.name == DEFAULT_FLEET else other.name
    prefix = f"audit the flag in one of them, or give one a key_prefix of its own: [experiments, {named}]"
    faults = [
        f"{both} build {key.to_user_string()}; {prefix}"
        for key in sorted({*one.bins.values()} & {*other.bins.values()})
    ]
    if not one.store or one.store != other.store:
        return faults
    counted = sorted(str(flag) for flag in {*one.bins} & {*other.bins})
    return faults + [
        f"{both} count {flag} in {one.store}; audit the flag in one of them, or give one a store of its own"
        for flag in counted
    ]
