"""The split a manifest declares: the documented resolution of a flag, turned into shares of units.

exd documents how one evaluation resolves, not how shares follow from it. This is that derivation, and it
refuses wherever the shares would be a guess: then the caller names the split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exd_dagster.errors import did_you_mean
from exd_dagster.telemetry.manifest.model import (
    BUCKETS,
    CATCH_ALL,
    Bucket,
    EnvironmentBlock,
    Manifest,
    ManifestFlag,
    Rule,
    Segment,
)

MATCHED_REASONS = ("matched_rule", "rule_matched")
"""Both spellings exd's documentation uses for "a rule's audience matched"."""


@dataclass(frozen=True, slots=True)
class DeclaredSplit:
    """What one manifest version declares for one flag in one environment.

    Attributes:
        split: share of each variant that can be served, in declared order; None when it cannot be derived.
        matched_only: the shares apply to units that matched a rule: count only `MATCHED_REASONS`.
        space: entity attribute and salt that assign the units; None where every unit gets one variant.
        refusal: why there is no split, and the fix.
    """

    split: Mapping[str, float] | None
    matched_only: bool = False
    space: tuple[str, str] | None = None
    refusal: str = ""


class _Refused(Exception):  # noqa: N818 - a result, not an error
    """The split cannot be derived; the message gives the reason and the fix."""


def declared_split(manifest: Manifest, key: str, environment: str | None = None) -> DeclaredSplit:
    """Derive the declared split of flag `key` in `environment` (None: the catch-all block).

    Rules are applied in order; each claims the buckets of its segment that no earlier rule claimed, the rest
    goes to the default variant. Segments that all carry one same predicate split only that audience: the
    shares are then those among the units that matched a rule.
    """
    try:
        return _derive(manifest, key, environment)
    except _Refused as refused:
        return DeclaredSplit(
            None, refusal=f"{str(refused).rstrip('.')}; pass the split: {{variant: share, ...}}"
        )


def _derive(manifest: Manifest, key: str, environment: str | None) -> DeclaredSplit:
    flag = _usable_flag(manifest, key, environment)
    rules, default = effective_rules(flag, environment or CATCH_ALL)
    segments = [_bucketed(manifest, rule) for rule in rules]
    buckets = [segment.bucket for segment in segments if segment.bucket is not None]
    spaces = sorted({bucket.space for bucket in buckets})
    if len(spaces) > 1:
        raise _Refused(f"its rules use {len(spaces)} assignment spaces (entity, salt): {spaces}")
    predicate = _common_predicate(manifest, segments)
    claimed = _claims(rules, buckets)
    if predicate is None:
        claimed[default] = claimed.get(default, 0) + BUCKETS - sum(claimed.values())
    elif len(claimed) < 2:
        raise _Refused(
            f"only '{next(iter(claimed))}' is served inside the predicate's audience, of unknown size"
            " (pass include to count that audience alone)"
        )
    total = sum(claimed.values())
    split = {v: claimed[v] / total for v in flag.variants if claimed.get(v)}
    return DeclaredSplit(split, predicate is not None, spaces[0] if spaces else None)


def _usable_flag(manifest: Manifest, key: str, environment: str | None) -> ManifestFlag:
    flag = manifest.flags.get(key)
    if flag is None:
        raise _Refused(f"flags/{key}.toml is not in the manifest.{did_you_mean(key, manifest.flags)}")
    if flag.faults:
        raise _Refused(f"flags/{key}.toml: {'; '.join(flag.faults)}")
    known = manifest.environments
    if environment is not None and known is not None and environment not in (*known, CATCH_ALL):
        raise _Refused(f"E010 environment '{environment}' is not declared.{did_you_mean(environment, known)}")
    return flag


def effective_rules(flag: ManifestFlag, environment: str) -> tuple[tuple[Rule, ...], str]:
    """Return the rules applied in an ordinary evaluation, and the variant served when none matches.

    Declared environment rules replace the catch-all's, even when `testing` hides them; an environment
    with a variant and no rules never reaches the catch-all's rules: the kill switch.
    """
    blocks = flag.environments or {}
    catch_all = blocks[CATCH_ALL]
    block = catch_all if environment == CATCH_ALL else blocks.get(environment, EnvironmentBlock())
    default = str(catch_all.variant if block.variant is None else block.variant)
    if block.rules is not None:
        return (() if block.testing else block.rules), default
    if block.variant is not None and block is not catch_all:
        return (), default
    return catch_all.rules or (), default


def _bucketed(manifest: Manifest, rule: Rule) -> Segment:
    if rule.segment is None:
        raise _Refused(f"the rule for '{rule.variant}' has an inline predicate, of unknown share")
    segment = manifest.segments.get(rule.segment)
    if segment is None:
        raise _Refused(
            f"E005 unknown segment '{rule.segment}'.{did_you_mean(rule.segment, manifest.segments)}"
        )
    if segment.faults:
        raise _Refused(f"segments/{segment.key}.toml: {'; '.join(segment.faults)}")
    if segment.bucket is None:
        raise _Refused(f"segment '{segment.key}' has only a predicate, of unknown share")
    return segment


def _common_predicate(manifest: Manifest, segments: Sequence[Segment]) -> Mapping[str, Any] | None:
    """Return the predicate all segments share, or None where none has one."""
    predicates = [segment.predicate for segment in segments]
    if not any(predicate is not None for predicate in predicates):
        return None
    first = predicates[0]
    if first is None or any(predicate != first for predicate in predicates):
        raise _Refused("its segments carry different predicates beside their buckets, of unknown shares")
    for key in _referenced(first):
        segment = manifest.segments.get(key)
        if segment is None or segment.bucket is not None or segment.predicate is None:
            raise _Refused(f"its predicate refers to segment '{key}', whose audience is unknown")
    return first


def _referenced(predicate: object) -> list[str]:
    """Return the segments a predicate refers to, at any depth."""
    if isinstance(predicate, Mapping):
        own = [predicate["segment"]] if isinstance(predicate.get("segment"), str) else []
        return own + [key for part in predicate.values() for key in _referenced(part)]
    if isinstance(predicate, list):
        return [key for part in predicate for key in _referenced(part)]
    return []


def _claims(rules: Sequence[Rule], buckets: Sequence[Bucket]) -> dict[str, int]:
    """Count the buckets each variant gets: the first rule with a bucket gets it."""
    unclaimed = set(range(BUCKETS))
    claimed: dict[str, int] = {}
    for rule, bucket in zip(rules, buckets, strict=True):
        taken = unclaimed.intersection(range(bucket.start, bucket.end + 1))
        unclaimed -= taken
        claimed[rule.variant] = claimed.get(rule.variant, 0) + len(taken)
    return claimed
