"""Split (Harness FME): definitions as the SDKs get them, as its Admin API lists them, and localhost files.

Sources: the SDKs' `splitChanges` and localhost files (help.split.io, "Python SDK", localhost mode), the
definitions of the Admin API (docs.split.io/reference/get-feature-flag-definition-in-environment), and the
evaluation of `splitio_client` 10.7.0 (`evaluator.py`: traffic allocation and treatment are hashed with
different seeds); read on 2026-11-27. The Admin API's form is taken from its documentation alone.

Every evaluation is recorded. Units outside the traffic allocation get the default treatment under the label
"not in split".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from exd_dagster.telemetry.vendor_flags.model import (
    Arm,
    Document,
    Reader,
    Stage,
    Status,
    Underivable,
    VendorFlag,
)
from exd_dagster.telemetry.vendor_flags.weights import (
    derive,
    has,
    instant,
    not_in_export,
    owners_of,
    shared,
    tags_of,
    written,
)

Partitions = Sequence[Mapping[str, Any]]


def _fits(document: Document) -> bool:
    return any(map(_is_definition, _definitions(document))) or _is_localhost(document)


def _definitions(document: Document) -> list[Any]:
    """Return the definitions of `splits`, of `ff.d` (specification 1.3), of `objects`, or one alone."""
    if isinstance(document, Mapping):
        changes = document.get("ff") or {}
        for listed in (document.get("splits"), changes.get("d") if isinstance(changes, Mapping) else None):
            if isinstance(listed, list):
                return listed
        return list(document.get("objects") or [document])
    return document if isinstance(document, list) else []


def _is_definition(item: Any) -> bool:
    return has(item, "name", "defaultTreatment") and ("conditions" in item or "defaultRule" in item)


def _is_localhost(document: Document) -> bool:
    """Return whether this is localhost YAML: a list of {flag: {treatment: ...}}."""
    return isinstance(document, list) and any(
        isinstance(item, Mapping) and len(item) == 1 and has(next(iter(item.values())), "treatment")
        for item in document
    )


def _read(document: Document, environment: str | None) -> list[VendorFlag]:
    """Read every flag; a file of the SDKs is of one environment, and `environment` chooses nothing there."""
    if _is_localhost(document):
        return _localhost(document)
    found = [item for item in _definitions(document) if _is_definition(item)]
    named = {item["environment"]["name"] for item in found if has(item.get("environment"), "name")}
    if environment is not None and named and environment not in named:
        raise not_in_export(environment, named)
    return [
        _admin(item) if "defaultRule" in item else _flag(item)
        for item in found
        if environment is None or (item.get("environment") or {}).get("name", environment) == environment
    ]


def _localhost(document: Sequence[Mapping[str, Any]]) -> list[VendorFlag]:
    """Read fixed treatments; a flag whose treatments depend on listed keys has no split."""
    treatments: dict[str, list[tuple[str, bool]]] = {}
    for item in document:
        for name, one in item.items():
            treatments.setdefault(str(name), []).append((str(one["treatment"]), bool(one.get("keys"))))
    return [
        VendorFlag(
            name,
            (Stage(((Arm(of[0][0]), 1.0),)),)
            if of == [(of[0][0], False)]
            else (
                Stage(
                    refusal="its localhost file lists keys by treatment, of unknown share; declare the split"
                ),
            ),
        )
        for name, of in treatments.items()
    ]


def _status(item: Mapping[str, Any]) -> Status:
    if str(item.get("status", "ACTIVE")).upper() == "ARCHIVED":
        return "archived"
    return "stopped" if item.get("killed") else "running"


def _flag(item: Mapping[str, Any]) -> VendorFlag:
    named = sum(one.get("conditionType") == "WHITELIST" for one in item["conditions"])
    return VendorFlag(
        key=item["name"],
        stages=(derive(lambda: _stage(item)),),
        status=_status(item),
        tags=tags_of(item.get("sets")),
        changed=instant(item.get("changeNumber")),
        notes=("keys that are listed by name count in what they are served",) if named else (),
    )


def _stage(item: Mapping[str, Any]) -> Stage:
    """Derive the split where every rule, up to the one for all keys, serves the same partitions."""
    rules = [one for one in item["conditions"] if one.get("conditionType") != "WHITELIST"]
    if item.get("prerequisites"):
        raise Underivable(
            "it has prerequisites: units that fail one get its default; declare include= of the others"
        )
    whole = next((i for i, one in enumerate(rules) if _all_keys(one)), None)
    served = [_partitions(one["partitions"]) for one in rules[: None if whole is None else whole + 1]]
    if whole is None:
        served.append(shared([(Arm(str(item["defaultTreatment"])), 100.0)], 100))
    return _allocated(item, served)


def _all_keys(condition: Mapping[str, Any]) -> bool:
    matchers = (condition.get("matcherGroup") or {}).get("matchers") or []
    return all(one.get("matcherType") == "ALL_KEYS" and not one.get("negate") for one in matchers)


def _partitions(partitions: Partitions) -> tuple[tuple[Arm, float], ...]:
    return shared([(Arm(str(one["treatment"])), float(one["size"])) for one in partitions], 100)


def _allocated(item: Mapping[str, Any], served: Sequence[tuple[tuple[Arm, float], ...]]) -> Stage:
    if any(shares != served[-1] for shares in served):
        raise Underivable(
            f"its rules serve {written(served[0])} and, where none matches, {written(served[-1])}; declare "
            "one of them, with include= of its audience or of its label"
        )
    allocation = float(item.get("trafficAllocation", 100))
    if allocation <= 0:
        raise Underivable("its traffic allocation is 0: it has no units")
    space = (str(item.get("seed", item["name"])), str(item.get("algo") or 1))
    outside = {"evaluation_reason": ("not in split",)} if allocation < 100 else {}
    return Stage(served[-1], allocation / 100, space, exclude=outside)


def _admin(item: Mapping[str, Any]) -> VendorFlag:
    return VendorFlag(
        key=item["name"],
        stages=(derive(lambda: _admin_stage(item)),),
        status=_status(item),
        owners=owners_of(*(item.get("owners") or ())),
        tags=tags_of(item.get("tags")),
        changed=instant(item.get("lastUpdateTime")),
    )


def _admin_stage(item: Mapping[str, Any]) -> Stage:
    served = [_partitions(rule["buckets"]) for rule in item.get("rules") or ()]
    return _allocated(item, [*served, _partitions(item["defaultRule"])])


READER = Reader("split", "splits with conditions and partitions, or a localhost file", _fits, _read)
