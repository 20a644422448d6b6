"""The verdict on a report: its units per arm against the units that were exposed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeAlias

from exd_dagster.stats import words
from exd_dagster.stats.reports.kept import kept_p_value
from exd_dagster.stats.verdict import Verdict

Expects: TypeAlias = Literal["all", "sample"]
"""Whom a report holds: every exposed unit, or those of them that something else decides about."""

NO_ARM = "(none)"
"""Name of the arm of a report's units that have none."""

ALIKE = 0.01
"""p above which arms that lost units are said to have lost them alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """The units that a report is compared with.

    Attributes:
        units: first exposed in the window, by arm: declared ones, and others seen.
        since: start of the window (UTC).
        until: end of the window (UTC).
        several: units that were seen in more than one arm.
    """

    units: Mapping[str, int]
    since: datetime
    until: datetime
    several: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileVerdict(Verdict):
    """What a report made of the exposed units.

    Attributes:
        headline: the key fact in a few words.
        expects: whom the report should hold.
        exposed: units by arm that were first exposed in the window.
        reported: units by arm that the report holds.
        n: exposed units.
        counted_from: start of the window (UTC).
        counted_until: end of the window (UTC).
        p_value: that chance keeps the arms at least so unequally; None where it was not needed.
        threshold: p must be below it.
        causes: what usually does this, the most likely first.
    """

    headline: str = ""
    expects: Expects = "sample"
    exposed: Mapping[str, int] = field(default_factory=dict)
    reported: Mapping[str, int] = field(default_factory=dict)
    n: int | None = None
    counted_from: datetime | None = None
    counted_until: datetime | None = None
    p_value: float | None = None
    threshold: float | None = None
    causes: tuple[str, ...] = ()


def reconcile(
    exposed: Exposed, reported: Mapping[str, int], *, expects: Expects, level: float
) -> ReconcileVerdict:
    """Compare a report's units by arm with the exposed ones.

    With `expects="all"` any single unit of difference fails. With "sample" the report may hold fewer, but
    of no arm more than of another (`kept_p_value`), and of none more than were exposed. A pure function.

    Args:
        exposed: the units of the bins.
        reported: the units of the report by arm; an arm it does not name has none.
        expects: whom the report should hold.
        level: p must be below it to fail.
    """
    arms = {**dict.fromkeys(exposed.units, 0), **reported}
    pairs = {arm: (exposed.units.get(arm, 0), units) for arm, units in arms.items()}
    verdict = ReconcileVerdict(
        check="reconcile",
        verdict="pass",
        expects=expects,
        exposed={arm: pair[0] for arm, pair in pairs.items()},
        reported={arm: pair[1] for arm, pair in pairs.items()},
        n=sum(exposed.units.values()),
        counted_from=exposed.since,
        counted_until=exposed.until,
        audited_through=exposed.until,
        threshold=level if expects == "sample" else None,
    )
    if not verdict.n:
        said = f"No unit was exposed from {_window(exposed)}; there is nothing to compare yet."
        return replace(verdict, verdict="insufficient", reason="no_unit", sentence=said)
    reason, headline, causes, p = _fault(pairs, exposed, expects, level)
    verdict = replace(verdict, reason=reason, headline=headline, causes=causes, p_value=p)
    if reason:
        verdict = replace(verdict, verdict="fail", severity="WARN", state="ongoing")
    return replace(verdict, sentence=_sentence(verdict, pairs))


_Pairs: TypeAlias = Mapping[str, tuple[int, int]]


def _fault(
    pairs: _Pairs, exposed: Exposed, expects: Expects, level: float
) -> tuple[str, str, tuple[str, ...], float | None]:
    """Return reason ("" without a fault), headline, causes and p-value."""
    strange = {arm: held for arm, (shown, held) in pairs.items() if held and not shown}
    if strange:
        arm = max(strange, key=lambda name: strange[name])
        headline = f"{_units(strange[arm])} of {_arm(arm)}, which nobody was exposed to"
        return "unknown_arm", headline, (_NO_ARM if arm == NO_ARM else _ARM_NAMES,), None
    more = {arm: held - shown for arm, (shown, held) in pairs.items() if held > shown}
    if more:
        arm = max(more, key=lambda name: more[name] / pairs[name][0])
        headline = f"{arm} has {_units(more[arm])} more than were exposed"
        return "more_units", headline, _causes_of_more(more, pairs, exposed), None
    shown, held = ({arm: pair[i] for arm, pair in pairs.items()} for i in (0, 1))
    if not any(held.values()):
        return "no_unit_reported", "the report holds no unit", (_EMPTY,), None
    p = kept_p_value(shown, held)
    unequal = p < level
    if not unequal and (expects == "sample" or shown == held):
        return "", "", (), p
    arm = max(pairs, key=lambda name: _lost_share(pairs[name]))
    headline = f"{arm} lost {words.percent(_lost_share(pairs[arm]))} of its units"
    return "lost_units", headline, (_ALIKE,) if p > ALIKE else _UNEQUAL, p


_NO_ARM = "A join that finds no assignment for these units: start from the exposures, and join to them."
_ARM_NAMES = "The report names its arms differently, or takes them from another source than the exposures."
_EMPTY = "A wrong date or time zone, or a name of the flag or arm that the report's filter does not find."
_ALIKE = "A filter, a date or a time zone: every arm lost units alike, so that it does not depend on the arm."
_UNEQUAL = (
    "A join that drops units: one side lacks rows of this arm; keep every exposed unit (LEFT JOIN) and count "
    "those without a match.",
    "A filter on something that the arm changes (activated, paid, not a bot): filter by what was known "
    "before the exposure.",
    "An arm whose data of some hours or clients has not arrived in the table that the report reads.",
)


def _causes_of_more(more: Mapping[str, int], pairs: _Pairs, exposed: Exposed) -> tuple[str, ...]:
    causes = ["A join that repeats units: count each unit once, count(DISTINCT unit)."]
    if exposed.several:
        causes.append(
            f"{_units(exposed.several)} were seen in several arms: count each in that of its first exposure."
        )
    if len(more) == len(pairs):
        causes.insert(0, f"The report counts units first exposed after {words.instant(exposed.until)}.")
    causes.append("The report counts units that the audit leaves out: by `include`, `exclude`, a reason.")
    return tuple(causes)


def _sentence(verdict: ReconcileVerdict, pairs: _Pairs) -> str:
    n, held = sum(verdict.exposed.values()), sum(verdict.reported.values())
    if verdict.reason in ("unknown_arm", "no_unit_reported"):
        more = f"; {_units(n)} were exposed" if verdict.reason == "no_unit_reported" else ""
        return f"{verdict.headline[0].upper()}{verdict.headline[1:]}{more}."
    if verdict.reason == "more_units":
        arms = [f"{arm} {_against(pair)}" for arm, pair in pairs.items() if pair[0]]
        return f"{verdict.headline}: {', '.join(arms)}."
    if verdict.reason == "lost_units":
        first, *others = sorted(pairs, key=lambda arm: -_lost_share(pairs[arm]))
        shown, kept = pairs[first]
        lost = (
            f"{first} lost {shown - kept:,} of {_units(shown)} ({words.percent(_lost_share(pairs[first]))})"
        )
        rest = [f"{arm} {_share_lost(pairs[arm])}" for arm in others if pairs[arm][0]]
        why = "the report should hold every exposed unit"
        if verdict.expects == "sample":
            why = f"the report does not keep the arms alike ({words.p_value(verdict.p_value or 0.0)})"
        return f"{', '.join([lost, *rest])}; {why}."
    if n == held:
        return f"The report holds all of the {_units(n)} that were exposed."
    p = words.p_value(1.0 if verdict.p_value is None else verdict.p_value)
    return f"The report holds {words.percent(held / n)} of {_units(n)}, of every arm alike ({p})."


def _lost_share(pair: tuple[int, int]) -> float:
    exposed, held = pair
    return (exposed - held) / exposed if exposed else 0.0


def _share_lost(pair: tuple[int, int]) -> str:
    return words.percent(_lost_share(pair)) if pair[0] > pair[1] else "none"


def _against(pair: tuple[int, int]) -> str:
    exposed, held = pair
    return f"{held:,} against {exposed:,} ({100 * (held / exposed - 1):+.3g} %)"


def _arm(name: str) -> str:
    return "no arm" if name == NO_ARM else f"arm '{name}'"


def _units(count: int) -> str:
    return f"{count:,} unit{'' if count == 1 else 's'}"


def _window(exposed: Exposed) -> str:
    return f"{words.instant(exposed.since)} to {words.instant(exposed.until)}"
