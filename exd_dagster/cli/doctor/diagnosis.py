"""The Diagnosis: one subject, its state, and the fix if there is a fault."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one subject.

    Attributes:
        subject: what was looked at: project, records, flags, store, daemon, schedule, ...
        state: ok; warn where the audit works, but less well than it could; fail where it does not.
        said: what was found, in one line.
        fix: what to do; "" where nothing is.
    """

    subject: str
    state: State
    said: str
    fix: str = ""


def ok(subject: str, said: str) -> Diagnosis:
    """Return a diagnosis without a fault."""
    return Diagnosis(subject, "ok", said)


def warn(subject: str, said: str, fix: str) -> Diagnosis:
    """Return the diagnosis of something that works with limits."""
    return Diagnosis(subject, "warn", said, fix)


def fail(subject: str, said: str, fix: str) -> Diagnosis:
    """Return the diagnosis of a fault."""
    return Diagnosis(subject, "fail", said, fix)


def worst(diagnoses: list[Diagnosis]) -> State:
    """Return the worst state of all."""
    states = {diagnosis.state for diagnosis in diagnoses}
    return "fail" if "fail" in states else "warn" if "warn" in states else "ok"
