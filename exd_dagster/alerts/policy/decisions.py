"""Decisions by people about a flag's failures: `acknowledge`, `silence`, `waive`, `end`, `close`. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from exd_dagster.alerts.messages.text import visible
from exd_dagster.alerts.messages.words import utc
from exd_dagster.alerts.model import Facts, change_hour, instant
from exd_dagster.config import PAIR, FlagId
from exd_dagster.stats.verdict import StrictJson

Kind: TypeAlias = Literal["acknowledge", "silence", "waive", "end", "close"]
KINDS: Mapping[str, str] = {
    "acknowledge": "somebody looks into it: no reminders and no escalation; a failure still blocks",
    "silence": "no messages; a failure still blocks",
    "waive": "reports run; the verdict stays fail, as a warning that names who and until when",
    "end": "the audit of this flag is over",
    "close": "it is known what the failure was; for the ledger. No more reminders; a failure still blocks",
}
DONE: Mapping[str, str] = {
    "acknowledge": "acknowledged",
    "silence": "silenced",
    "waive": "waived",
    "end": "audit ended",
    "close": "closed",
}
"""What a decision of each kind has done."""
VERDICTS: Mapping[str, str] = {
    "real": "records or assignment were wrong",
    "false": "nothing was wrong; the check should not have failed",
    "expected": "a change on purpose that was not declared",
}
"""What an incident can turn out to have been."""
OF_CLOSE = ("verdict", "cause", "incident")
"""Fields that only a `close` has."""
CLOSED_FOR = timedelta(days=30)
"""How long a closed incident that fails on is not reminded of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(StrictJson):
    """A decision by a person about some flags, until a given time.

    Attributes:
        kind: acknowledge, silence, waive, end or close.
        flags: glob over the flag's key, or over `namespace/environment/key`; several with commas between.
        checks: glob over the check's name.
        reason: why, in free text.
        by: who decided.
        until: first instant it no longer holds (UTC).
        made_at: when it was recorded (UTC).
        basis: by `<flag>:<check>`, `audited_through` and `reason` of the verdict at that time. A
            waiver covers that fault only; it ends early when another appears.
        verdict: of a `close`, what the incident was: real, false or expected.
        cause: of a `close`, a short name for why: cache, deploy, ...
        incident: of a `close`, id of the incident; "": the latest of these flags and checks.
    """

    kind: Kind
    flags: str
    reason: str
    by: str
    until: datetime
    made_at: datetime
    checks: str = "*"
    basis: Mapping[str, Facts] = field(default_factory=dict)
    verdict: str = ""
    cause: str = ""
    incident: str = ""

    def covers(self, flag: FlagId, check: str = "*") -> bool:
        """True when the decision covers this flag and this check ("*": any)."""
        found = any(flag.is_named(glob) for glob in globs(self.flags))
        return found and (check == "*" or fnmatchcase(check, self.checks))

    def covered(self, flags: Iterable[FlagId]) -> list[FlagId]:
        """Return which of these flags the decision covers, and which pairs of them it names."""
        known = sorted(set(flags))
        found = [flag for flag in known if self.covers(flag)]
        for first, _, second in (glob.partition(PAIR) for glob in globs(self.flags) if PAIR in glob):
            ones, others = ([flag for flag in known if flag.is_named(part)] for part in (first, second))
            found += [
                one.pair(other)
                for one in ones
                for other in others
                if one != other and one.scope == other.scope
            ]
        return sorted(set(found))

    def holds(self, now: datetime) -> bool:
        """True from its recording until `until`."""
        return self.made_at <= now < self.until

    def as_metadata(self) -> dict[str, Any]:
        """Return every field as strict JSON, those of a `close` where they are set."""
        fields = StrictJson.as_metadata(self)
        return {name: value for name, value in fields.items() if value or name not in OF_CLOSE}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "Decision | None":
        """Read a decision back; None when the record is not one."""
        try:
            return _ADAPTER.validate_python(metadata)
        except ValidationError:
            return None


_ADAPTER = TypeAdapter(Decision)


def globs(flags: str) -> tuple[str, ...]:
    """Return the globs of the field `flags`. Commas part them; `[,]` is a comma of a name."""
    return tuple(part for part in re.split(r"(?<!\[),|,(?!\])", flags) if part)


def in_words(decision: Decision) -> str:
    """Return what was decided, by whom and until when: "waived by ana until 2026-05-01 09:00 UTC"."""
    by = visible(decision.by)
    if decision.kind == "close":
        return f"{DONE['close']} as {decision.verdict} by {by}"
    return f"{DONE[decision.kind]} by {by} until {utc(decision.until)}"


def active_decisions(records: Iterable[Decision], flag: FlagId, now: datetime) -> tuple[Decision, ...]:
    """Return the decisions in force for a flag, newest first.

    Args:
        records: every decision ever recorded, in any order.
        flag: the flag.
        now: the time (UTC).
    """
    held = [decision for decision in records if decision.holds(now) and decision.covers(flag)]
    return tuple(sorted(held, key=lambda decision: decision.made_at, reverse=True))


def waiver(
    decisions: Iterable[Decision], flag: FlagId, check: str, facts: Facts, phase_start: datetime | None = None
) -> Decision | None:
    """Return the waiver that covers this failure, or None.

    A waiver covers the fault known when it was made. It ends early at a phase or a change point that begins
    after the data known then, and when the verdict has another `reason` (an arm stopped since).

    Args:
        decisions: those in force (`active_decisions`).
        flag: the failing flag.
        check: the failing check.
        facts: metadata of the failing verdict.
        phase_start: start of the phase of the verdict (UTC).
    """
    for decision in decisions:
        if decision.kind != "waive" or not decision.covers(flag, check):
            continue
        if _same_fault(decision.basis.get(f"{flag}:{check}", {}), facts, phase_start):
            return decision
    return None


def _same_fault(basis: Facts, facts: Facts, phase_start: datetime | None) -> bool:
    known = instant(basis.get("audited_through"))
    if known is not None:
        begun = (phase_start, change_hour(facts), instant(facts.get("iteration_start")))
        if any(start is not None and start >= known for start in begun):
            return False
    before = basis.get("reason")
    return before is None or before == facts.get("reason")
