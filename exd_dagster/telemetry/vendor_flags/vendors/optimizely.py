"""Optimizely Feature Experimentation and Full Stack: the datafile.

Sources: docs.developers.optimizely.com, "Example datafile" (experiments, `trafficAllocation` with
`endOfRange` of 10,000, groups, rollouts), and the bucketing of `optimizely-sdk` 5.7.0 (`bucketer.py`: murmur
of unit and experiment id; a range with an empty or foreign `entityId` holds nobody); read on 2026-11-27.

A decision is recorded per experiment (the rule of a flag), for units that were bucketed into it. The key is
the experiment's, and for decisions about a flag the flag's too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import Arm, Document, Reader, Stage, Underivable, VendorFlag
from exd_dagster.telemetry.vendor_flags.weights import derive, has, not_in_export, shared

_WHOLE = 10_000


def _fits(document: Document) -> bool:
    return has(document, "experiments", "projectId") and ("revision" in document or "layers" in document)


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    """Read every experiment; a datafile is of one environment, whose key must be the wanted one."""
    named = document.get("environmentKey")
    if environment is not None and named and named != environment:
        raise not_in_export(environment, [named])
    experiments = [_flag(item, 1.0) for item in document["experiments"]]
    for group in document.get("groups") or ():
        experiments += list(_grouped(group))
    known = {flag.key for flag in experiments}
    rules = {flag.id: flag for flag in experiments}
    narrow = {str(item["id"]) for item in document["experiments"] if item.get("audienceIds")}
    flags = [_of_rules(item, rules, narrow) for item in document.get("featureFlags") or ()]
    return [*experiments, *(flag for flag in flags if flag is not None and flag.key not in known)]


def _of_rules(
    item: Mapping[str, Any], rules: Mapping[str, VendorFlag], narrow: Collection[str]
) -> VendorFlag | None:
    """Return a flag that goes by its own key; None where no experiment is behind it."""
    own = [rules[one] for one in map(str, item.get("experimentIds") or ()) if one in rules]
    running = [flag for flag in own if flag.status == "running"]
    if not own:
        return None
    stages = (running or own)[0].stages
    if len(running) > 1:
        keys = ", ".join(f"'{flag.key}'" for flag in running)
        stages = (Stage(refusal=f"its experiments {keys} follow one another; audit them by their own keys"),)
    elif item.get("rolloutId") and running and (stages[0].coverage < 1 or running[0].id in narrow):
        refusal = "units outside its experiment get a delivery; audit the experiment by its own key"
        stages = (Stage(refusal=refusal),)
    return VendorFlag(str(item["key"]), stages, (running or own)[0].status, id=(running or own)[0].id)


def _grouped(group: Mapping[str, Any]) -> Iterator[VendorFlag]:
    """Yield the experiments of a group; with policy random each gets a share of the units."""
    widths = _widths(group.get("trafficAllocation") or [])
    for item in group["experiments"]:
        share = 1.0 if group.get("policy") != "random" else widths.get(str(item["id"]), 0) / _WHOLE
        yield _flag(item, share)


def _flag(item: Mapping[str, Any], share: float) -> VendorFlag:
    forced = len(item.get("forcedVariations") or {})
    return VendorFlag(
        key=str(item["key"]),
        stages=(derive(lambda: _stage(item, share)),),
        status="running" if item.get("status") == "Running" else "stopped",
        id=str(item["id"]),
        notes=(f"{forced} users are forced into a variation and count in it",) if forced else (),
    )


def _stage(item: Mapping[str, Any], share: float) -> Stage:
    if item.get("cmab"):
        raise Underivable("a bandit assigns its units, with changing shares; no split applies")
    arms = {
        str(one["id"]): Arm(str(one["key"]), i, id=str(one["id"])) for i, one in enumerate(item["variations"])
    }
    widths = {key: width for key, width in _widths(item["trafficAllocation"]).items() if key in arms}
    coverage = share * sum(widths.values()) / _WHOLE
    if coverage <= 0:
        raise Underivable("its traffic allocation is 0: it has no units")
    return Stage(
        shared([(arms[key], float(width)) for key, width in widths.items()]), coverage, (str(item["id"]),)
    )


def _widths(allocation: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many of the 10,000 buckets each entity has."""
    widths: dict[str, int] = {}
    start = 0
    for one in allocation:
        end = max(start, int(one["endOfRange"]))
        widths[str(one["entityId"])] = widths.get(str(one["entityId"]), 0) + end - start
        start = end
    return widths


READER = Reader("optimizely", "a datafile: projectId, revision and experiments", _fits, _read)
