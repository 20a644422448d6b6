"""Eppo: the flag configuration that its server SDKs download (UFC, format SERVER).

Sources: the Universal Flag Configuration as the SDKs of github.com/Eppo-exp read it (`allocations` are tried
in order, the first `splits` entry whose `shards` all hold is served; a shard is md5(salt-unit) modulo
`totalShards`), and `eppo-server-sdk` 4.4.1; read on 2026-11-27.

An assignment is recorded for an allocation with `doLog`, and only for units that it serves. The key is
that of the experiment, `<flag>-<allocation>`, as the assignment logger writes it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import Arm, Document, Reader, Stage, Underivable, VendorFlag
from exd_dagster.telemetry.vendor_flags.weights import derive, has, instant, not_in_export, shared

Shards = Mapping[str, Sequence[tuple[int, int]]]


def _fits(document: Document) -> bool:
    flags = document.get("flags") if isinstance(document, Mapping) else None
    return isinstance(flags, Mapping) and any(has(flag, "allocations", "enabled") for flag in flags.values())


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    """Read every flag; a configuration is of one environment, whose name must be the wanted one."""
    if document.get("format") == "CLIENT" or document.get("obfuscated"):
        raise Underivable("keys are hashed for browsers (format CLIENT); download the server configuration")
    named = (document.get("environment") or {}).get("name")
    if environment is not None and named is not None and named.casefold() != environment.casefold():
        raise not_in_export(environment, [named])
    made = instant(document.get("createdAt"))
    return [
        VendorFlag(
            key=f"{flag.get('key') or key}-{allocation['key']}",
            stages=(derive(partial(_stage, flag, allocation, made)),),
            status="running" if flag["enabled"] and _open(allocation, made) else "stopped",
            end=instant(allocation.get("endAt")) if not _open(allocation, made) else None,
        )
        for key, flag in document["flags"].items()
        for allocation in flag["allocations"]
        if allocation.get("doLog", True)
    ]


def _stage(flag: Mapping[str, Any], allocation: Mapping[str, Any], now: datetime | None) -> Stage:
    """Derive the split of one allocation among the units that none before it took."""
    stage = _split(flag, allocation)
    for earlier in flag["allocations"][: flag["allocations"].index(allocation)]:
        salts = {salt for split in earlier["splits"] for salt in _shards(split)}
        if _open(earlier, now) and salts & set(stage.space):
            raise Underivable(
                f"allocation '{earlier['key']}' before it takes units by the same salt, which leaves other "
                "shares; declare the split"
            )
    return stage


def _open(allocation: Mapping[str, Any], now: datetime | None) -> bool:
    """Return whether an allocation has not ended by the time the configuration was made."""
    ends = instant(allocation.get("endAt"))
    return ends is None or now is None or ends > now


def _split(flag: Mapping[str, Any], allocation: Mapping[str, Any]) -> Stage:
    splits = allocation["splits"]
    shards = [_shards(split) for split in splits]
    common = {salt for salt in shards[0] if all(one.get(salt) == shards[0][salt] for one in shards)}
    own = {salt for one in shards for salt in one if salt not in common}
    if len(splits) == 1:
        common, own = set(shards[0]), set()
    if len(own) > 1 or any(own - set(one) for one in shards):
        raise Underivable(f"allocation '{allocation['key']}' splits by several salts; declare the split")
    total = int(flag.get("totalShards") or 10_000)
    arms = {
        key: Arm(key, i, one.get("value"))
        for i, (key, one) in enumerate((flag.get("variations") or {}).items())
    }
    taken: set[int] = set()
    weights = []
    for split, held in zip(splits, shards, strict=True):
        mine = _buckets([ranges for salt, ranges in held.items() if salt in own], total) - taken
        taken |= mine
        weights.append((arms[split["variationKey"]], float(len(mine))))
    coverage = len(taken) / total
    for salt in common:
        coverage *= len(_buckets([shards[0][salt]], total)) / total
    space = (*sorted(own), *sorted(common))
    return Stage(shared(weights), coverage, space)


def _shards(split: Mapping[str, Any]) -> Shards:
    return {
        str(shard["salt"]): tuple((int(one["start"]), int(one["end"])) for one in shard["ranges"])
        for shard in split.get("shards") or ()
    }


def _buckets(of: Sequence[Sequence[tuple[int, int]]], total: int) -> set[int]:
    """Return the shards in all of several lists of ranges; all if there is none."""
    buckets = set(range(total))
    for ranges in of:
        buckets &= {bucket for start, end in ranges for bucket in range(start, end)}
    return buckets


READER = Reader("eppo", "flags with allocations, splits and shards", _fits, _read)
