"""The Verdict: the result of one check for one flag, with its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from math import isfinite
from typing import Any, Literal, TypeAlias

Answer: TypeAlias = Literal["pass", "fail", "insufficient", "skipped", "not_checked"]
Severity: TypeAlias = Literal["ERROR", "WARN"]
State: TypeAlias = Literal["ongoing", "contained"]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


NEVER_COUNTED = "never_counted"
"""Reason of a verdict on a flag of which the log has shown no unit in any closed hour."""


class StrictJson:
    """A dataclass that can be written as strict JSON."""

    __slots__ = ()

    def as_metadata(self) -> dict[str, Json]:
        """Return every field as strict JSON: plain Python, instants as RFC 3339, no NaN or infinity."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(StrictJson):
    """The result of a check; each test adds its own numbers in a subclass.

    Attributes:
        check: name of the check: srm, sequential_srm, traffic_drop, ...
        verdict: pass, fail, insufficient (too little data yet), skipped (no test applies) or not_checked
            (it could not be computed; never report it as healthy).
        severity: of a failure: ERROR may block, WARN never does; None unless `verdict` is fail.
        reason: one machine-readable word for why, for example "ratio_mismatch" or "undeclared_variant".
        sentence: one sentence, key fact first.
        now: prefix of the sentence, when the most recent hours are worse than the counts of all hours.
        code: exd's diagnostic code, T001 or T002, where one applies.
        state: of a failure: "ongoing" while recent hours disagree, "contained" once they agree again.
        bad_from: start of the first hour at fault (UTC).
        bad_until: end of the last hour at fault (UTC), None while ongoing.
        usable_until: end of the last hour before the fault (UTC).
        audited_through: end of the last hour the verdict covers (UTC).
    """

    check: str
    verdict: Answer
    severity: Severity | None = None
    reason: str = ""
    sentence: str = ""
    now: str = ""
    code: str | None = None
    state: State | None = None
    bad_from: datetime | None = None
    bad_until: datetime | None = None
    usable_until: datetime | None = None
    audited_through: datetime | None = None

    @property
    def failed(self) -> bool:
        """True for a failure of either severity."""
        return self.verdict == "fail"


def plain(value: Any) -> Json:
    """Turn numpy scalars and arrays, instants, tuples and non-finite floats into strict JSON."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, StrictJson):
        return plain(value.as_metadata())
    raise TypeError(f"{type(value).__name__} has no strict JSON form")
