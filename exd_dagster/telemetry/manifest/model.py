"""The nouns of an exd manifest: what one namespace declares about its flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

BUCKETS = 10_000
"""Size of every assignment space; a bucket range covers (end - start + 1) / 10,000 of it."""

CATCH_ALL = "_"
"""The environment block every flag must have; it applies where a named block does not."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A range of one assignment space: same entity attribute and salt, same assignment of units.

    Attributes:
        entity: context attribute that is hashed.
        salt: effective salt: the declared one, or the segment's key.
        start: first bucket, 0..9999.
        end: last bucket, inclusive.
    """

    entity: str
    salt: str
    start: int
    end: int

    @property
    def space(self) -> tuple[str, str]:
        """What two ranges must share for their units to be assigned together."""
        return self.entity, self.salt


@dataclass(frozen=True, slots=True)
class Segment:
    """An audience: a predicate, a bucket range, or both at once; `faults` make it unusable."""

    key: str
    predicate: Mapping[str, Any] | None = None
    bucket: Bucket | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Serve `variant` to the audience of `segment`; None where the predicate is written inline."""

    variant: str
    segment: str | None


@dataclass(frozen=True, slots=True)
class EnvironmentBlock:
    """One `[flag.environments.<name>]`; None where the block does not declare the key."""

    variant: str | None = None
    rules: tuple[Rule, ...] | None = None
    testing: bool = False


@dataclass(frozen=True, slots=True)
class ManifestFlag:
    """One flag file; `faults` (with exd's lint codes) make its split unusable."""

    key: str
    variants: tuple[str, ...] = ()
    environments: Mapping[str, EnvironmentBlock] | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """One namespace at one version.

    Attributes:
        namespace: slug.
        version: number of the push, if the archive's name contains it.
        environments: declared slugs; None in untyped mode, where every slug is accepted.
        flags: by key, including faulty ones.
        segments: by key, including faulty ones.
        changed: when its files were last modified (UTC).
        faults: faults outside any flag or segment, one line each.
    """

    namespace: str
    version: int | None
    environments: tuple[str, ...] | None
    flags: Mapping[str, ManifestFlag]
    segments: Mapping[str, Segment]
    changed: datetime
    faults: tuple[str, ...] = ()
