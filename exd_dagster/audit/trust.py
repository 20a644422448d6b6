"""The one answer about a flag: may what builds on it be used?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from exd_dagster.config import Mode
from exd_dagster.stats import words
from exd_dagster.stats.checks import with_evidence
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict
from exd_dagster.stats.verdict import NEVER_COUNTED, Answer, State, Verdict

AnyVerdict = TypeVar("AnyVerdict", bound=Verdict)


@dataclass(frozen=True, slots=True)
class Waiver:
    """A decision that lets reports run although a check fails.

    Attributes:
        by: who decided.
        until: when it ends (UTC).
        reason: why, in their words.
    """

    by: str
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVerdict(Verdict):
    """The verdict of the `trust` check.

    Attributes:
        trusted: False exactly when the flag blocks: a check does, or nothing of a blocking flag could ever be
            counted.
        failing: names of the checks that fail, blocking or not.
        usable_without: segments to leave out of the flag so that its split is as declared.
        waived_by: who let reports run although a check fails.
        waived_until: when that ends (UTC).
        would_block: names of the checks that block in mode "block" and only warn in the flag's.
        fresh_until: first instant at which the answer is too old to be used (UTC), None: never.
    """

    trusted: bool
    failing: tuple[str, ...] = ()
    usable_without: tuple[str, ...] = ()
    waived_by: str | None = None
    waived_until: datetime | None = None
    would_block: tuple[str, ...] = ()
    fresh_until: datetime | None = None


def apply_mode(verdict: AnyVerdict, mode: Mode, waiver: Waiver | None = None) -> AnyVerdict:
    """Return `verdict` with its severity after mode and waivers.

    The answer itself never changes: a waived failure is still a failure.
    """
    if verdict.severity == "ERROR" and (mode != "block" or waiver is not None):
        return replace(verdict, severity="WARN")
    return verdict


def withheld(
    verdicts: Sequence[Verdict], mode: Mode, waivers: Mapping[str, Waiver | None]
) -> tuple[str, ...]:
    """Return the names of the checks that would block, were it not for the flag's mode.

    Args:
        verdicts: as the tests gave them, not steady.
        mode: the flag's mode.
        waivers: the waiver in force by name of the failing check.
    """
    return tuple(
        v.check for v in verdicts if mode != "block" and v.severity == "ERROR" and not waivers.get(v.check)
    )


def trust_verdict(
    verdicts: Sequence[Verdict],
    mode: Mode,
    waivers: Mapping[str, Waiver | None] | None = None,
    would_block: tuple[str, ...] = (),
    stale: Verdict | None = None,
    warnings: Sequence[Verdict] = (),
    segment: SegmentSrmVerdict | None = None,
) -> TrustVerdict:
    """Return the flag's one answer from the steady verdicts of its checks.

    Args:
        verdicts: steady verdicts (see `apply_mode`).
        mode: the flag's mode.
        waivers: the waiver in force by name of the failing check.
        would_block: from `withheld`.
        stale: failure of a result that is too old; it cannot be waived.
        warnings: failures of checks that never block this flag, of which its users are warned.
        segment: the verdict that names segments without which the flag is usable. Where the split fails, it
            is said first.
    """
    failing = [verdict for verdict in (*verdicts, *([stale] if stale else [])) if verdict.failed]
    faults = failing or list(warnings)  # the hours of a segment's fault are not those of the flag's
    failing = [*failing, *warnings]
    blocking = [verdict for verdict in failing if verdict.severity == "ERROR"]
    unknown = any(verdict.reason == NEVER_COUNTED for verdict in verdicts)
    in_force = [waiver for waiver in (waivers or {}).values() if waiver is not None]
    waived = min(in_force, key=lambda waiver: waiver.until) if in_force and not blocking else None
    over = all(verdict.bad_until for verdict in faults)
    dated = all(verdict.usable_until for verdict in blocking)
    return TrustVerdict(
        check="trust",
        verdict=_answer(verdicts, blocking),
        severity="ERROR" if blocking or (unknown and mode == "block") else None,
        reason=",".join(verdict.check for verdict in blocking) or (NEVER_COUNTED if unknown else ""),
        sentence=_sentence(verdicts, _segment_first(failing, segment), waived, would_block, mode),
        state=_state(blocking),
        bad_from=min((v.bad_from for v in faults if v.bad_from), default=None),
        bad_until=max((v.bad_until for v in faults if v.bad_until), default=None) if over else None,
        usable_until=min((v.usable_until for v in faults if v.usable_until and dated), default=None),
        audited_through=max((v.audited_through for v in verdicts if v.audited_through), default=None),
        trusted=not blocking and not (unknown and mode == "block"),
        failing=tuple(verdict.check for verdict in failing),
        usable_without=segment.usable_without if segment else (),
        would_block=would_block,
        waived_by=waived.by if waived else None,
        waived_until=waived.until if waived else None,
    )


def _answer(verdicts: Sequence[Verdict], blocking: Sequence[Verdict]) -> Answer:
    """Without any result the flag is not checked, unless a person ended the audit."""
    if blocking:
        return "fail"
    answers = {verdict.verdict for verdict in verdicts}
    if answers & {"pass", "fail"}:
        return "pass"
    return "skipped" if all(verdict.reason == "ended" for verdict in verdicts) else "not_checked"


def _state(blocking: Sequence[Verdict]) -> State | None:
    if not blocking:
        return None
    return "contained" if all(verdict.state == "contained" for verdict in blocking) else "ongoing"


def _each_once(verdicts: Sequence[Verdict]) -> str:
    """Join the sentences; what several of them begin with is said once."""
    said = dict.fromkeys(verdict.now for verdict in verdicts if verdict.now)
    return " ".join([*said, *(verdict.sentence.removeprefix(verdict.now).lstrip() for verdict in verdicts)])


def _segment_first(failing: Sequence[Verdict], segment: SegmentSrmVerdict | None) -> list[Verdict]:
    """Put the segment at fault before the failures of the split that it explains."""
    split = [verdict for verdict in failing if verdict.check in with_evidence("split")]
    if segment is None or not split:
        return list(failing)
    severity = min((verdict.severity for verdict in split), key=("ERROR", "WARN", None).index)
    rest = [verdict for verdict in failing if verdict.check != segment.check]
    place = rest.index(split[0])
    return [*rest[:place], replace(segment, severity=severity), *rest[place:]]


def _sentence(
    verdicts: Sequence[Verdict],
    failing: Sequence[Verdict],
    waiver: Waiver | None,
    would_block: tuple[str, ...],
    mode: Mode,
) -> str:
    if blocking := [verdict for verdict in failing if verdict.severity == "ERROR"]:
        return "Not trusted. " + _each_once(blocking)
    if waiver:
        return f"Waived by {waiver.by} until {words.instant(waiver.until)}. {failing[0].sentence}"
    if would_block:
        return f"Would have blocked (mode {mode}). {_held_back(failing, would_block)}"
    if failing:
        return f"Trusted, with a warning. {failing[0].sentence}"
    passed = [verdict.check for verdict in verdicts if verdict.verdict == "pass"]
    if not passed:
        return _untested(verdicts)
    unanswered = [verdict for verdict in verdicts if verdict.verdict in ("insufficient", "not_checked")]
    skipped = [verdict for verdict in verdicts if verdict.verdict == "skipped"]
    passing = f"{_listed(passed)} {'passes' if len(passed) == 1 else 'pass'}"
    rest = [f"{_listed([v.check for v in found])} {_why(found)}" for found in _alike([*unanswered, *skipped])]
    return f"Trusted{' so far' if unanswered else ''}: {'; '.join([passing, *rest])}."


def _held_back(failing: Sequence[Verdict], would_block: tuple[str, ...]) -> str:
    """Return the first sentence about what would have blocked, or about the segment in front of it."""
    first = next(place for place, verdict in enumerate(failing) if verdict.check in would_block)
    explained = first > 0 and isinstance(failing[first - 1], SegmentSrmVerdict)
    return failing[first - 1 if explained else first].sentence


def _untested(verdicts: Sequence[Verdict]) -> str:
    """Return what is said of a flag of which no test has answered."""
    if len({verdict.sentence for verdict in verdicts}) == 1:
        return verdicts[0].sentence
    passing = [f"{_listed([v.check for v in found])} {_why(found)}" for found in _alike(verdicts)]
    return f"Not checked: {'; '.join(passing)}."


def _alike(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Group verdicts without an answer by why they have none."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.verdict, verdict.reason), []).append(verdict)
    return list(groups.values())


def _why(found: Sequence[Verdict]) -> str:
    """Return why these checks have no answer, as the end of a sentence."""
    verb = "has" if len(found) == 1 else "have"
    known = {
        "few_units": f"{verb} too few units",
        "learning": f"{verb} too little history",
        "no_split_declared": f"{verb} no declared split to test",
    }
    said = {"insufficient": "too little data yet", "skipped": "nothing to test", "not_checked": "no answer"}
    return known.get(found[0].reason) or f"{verb} {said.get(found[0].verdict, 'no answer')}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
