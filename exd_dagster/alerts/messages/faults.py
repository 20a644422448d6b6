"""What kind of fault a failing check found, what is true of it now, and what fits it as a next step. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from exd_dagster.alerts.messages import words
from exd_dagster.alerts.messages.text import clip_name, visible
from exd_dagster.alerts.model import Facts, instant
from exd_dagster.stats.checks import check_of

Fault: TypeAlias = Literal[
    "no_traffic",
    "dead_arm",
    "undeclared_variant",
    "zero_share_variant",
    "segment",
    "segment_traffic",
    "shift",
    "traffic_fall",
    "other",
]
WORST_FIRST: tuple[Fault, ...] = get_args(Fault)
_NAME = 24
_STRAY = {"undeclared_variant": "undeclared", "zero_share_variant": "zero_share"}
_WRONG = "results of this flag would be wrong"
_PART = "recent results rest on part of the traffic"
_STEPS: Mapping[Fault, Sequence[str]] = {
    "no_traffic": (
        "Check whether the flag was removed or its code path is no longer reached{since}.",
        "Check whether its records still arrive: exd-dagster doctor reads the log.",
    ),
    "dead_arm": (
        "Look at the rule that serves {arm}: was it turned off, or does its code fail before the exposure is "
        "logged? See what was released{since}.",
        "If it was stopped on purpose, declare that: a phase from then on in which its share is 0 %.",
    ),
    "undeclared_variant": (
        "Find who serves {arm}{since}: an old client, a test rule, a typing error.",
        "If it belongs to the experiment, declare it in the split.",
    ),
    "zero_share_variant": (
        "Find who still serves {arm}{since}: an old client, a cached configuration.",
        "If its share was raised on purpose, declare that: a phase from then on with the new split.",
    ),
    "segment": (
        "Look at what changed for {segment}{since}: a release, a redirect, a blocked script.",
        "To use the flag meanwhile, leave these units out: exclude={exclude} of the flag, and in reports.",
    ),
    "segment_traffic": (),
    "other": (),
    "shift": ("Compare how each variant is served{since}: redirects, caches, bot filters, SDK versions.",),
    "traffic_fall": (
        "Check whether the flag is still evaluated everywhere{since}, and whether all its records arrive.",
    ),
}
_NO_ANSWER = "Open the run in Dagster: its error says what kept the check from an answer."
_NO_RECORDS = "Look at the loader of the log first: no record of these hours has arrived."
_DELIVERY = {
    "nothing_landed": _NO_RECORDS,
    "source_silent": _NO_RECORDS,
    "stale": "Look at the schedule of the audits: none has ended in time.",
    "never_counted": "Compare the flag's key and filters with the log: exd-dagster doctor names the nearest.",
}


def fault(check: str, facts: Facts) -> Fault:
    """Return the kind of a failure.

    Args:
        check: name of the failing check.
        facts: the verdict's numbers.
    """
    evidence = check_of(check).evidence
    if evidence == "segments":
        return "segment" if segment(facts) else "segment_traffic" if facts.get("part") else "other"
    if evidence == "":
        return "other"
    if evidence == "traffic":
        return "no_traffic" if words.number(facts.get("latest_volume")) == 0 else "traffic_fall"
    if dead(facts):
        return "dead_arm"
    reason = facts.get("reason")
    split: Fault = "segment" if segment(facts) else "shift"
    return next((kind for kind in WORST_FIRST if kind == reason and kind in _STRAY), split)


def segment(facts: Facts) -> Facts:
    """Return what is known of the segment the split broke in; empty where the rest is not usable."""
    found = facts.get("segment_fault", facts)
    return found if isinstance(found, Mapping) and found.get("usable_without") else {}


def dead(facts: Facts) -> dict[str, datetime]:
    """Return since when each arm that gets nothing now gets nothing (UTC)."""
    listed = facts.get("dead_arms")
    if not isinstance(listed, Mapping):
        return {}
    return {str(arm): at for arm, since in listed.items() if (at := instant(since))}


def key_fact(check: str, facts: Facts) -> str:
    """Return what a headline says: the worst that is true now, and since when."""
    kind, since = fault(check, facts), _since(check, facts)
    when = f" since {words.short_utc(since)}" if since else ""
    if kind == "no_traffic":
        return f"no unit{when}"
    if kind == "dead_arm":
        return f"{_arms(kind, facts)} gets nothing{when}"
    if kind in _STRAY:
        what = "undeclared" if kind == "undeclared_variant" else "declared with 0%, yet served:"
        return f"{what} {_arms(kind, facts)}{_stray_share(kind, facts)}"
    if kind == "segment":
        return f"only {_segments(facts, sign='')}: {_segment_share(facts)}{when}"
    if kind == "segment_traffic":
        return f"{_part_name(facts, sign='')} has {_left(facts)} of its traffic{when}"
    change = facts.get("change")
    if kind == "shift" and facts.get("state") != "contained" and isinstance(change, Mapping) and since:
        seen, declared = words.shares(change.get("after")), words.shares(change.get("declared"))
        if seen and declared and not words.remembered(facts):
            return f"{words.furthest(declared, seen)}{when}"
    return words.key_fact(check, facts)


def lead(check: str, facts: Facts) -> str:
    """Return the first sentence, for a reader without statistics, without its full stop."""
    kind, since = fault(check, facts), _since(check, facts)
    when = f" since {words.utc(since)}" if since else ""
    if kind == "no_traffic":
        return f"No user reaches this flag{when}; {_PART}"
    if kind == "traffic_fall":
        return f"Far fewer users than usual reach this flag{when}; {_PART}"
    if kind == "segment":
        return f"Only {_segments(facts)} is not split as declared{when}; without it the results can be used"
    if kind == "segment_traffic":
        return f"{_part_name(facts)} has lost its traffic{when}; recent results rest on the others alone"
    if kind == "dead_arm":
        return f"{_arms(kind, facts)} gets no user at all{when}; {_WRONG}"
    if kind == "undeclared_variant":
        return f"Users get {_arms(kind, facts)}, which was never declared; {_WRONG}"
    if kind == "zero_share_variant":
        return f"Users get {_arms(kind, facts)}, whose declared share is 0 %; {_WRONG}"
    return check_of(check).wording.meaning.removesuffix(".")


def steps(check: str, facts: Facts) -> list[str]:
    """Return what to look at next, as it fits the kind of the fault."""
    kind, since = fault(check, facts), _since(check, facts)
    when = f" since {words.utc(since)}" if since else ""
    own = [step] if (step := check_of(check).wording.step) and kind != "segment" else []
    names = {"arm": _arms(kind, facts), "segment": _segments(facts), "exclude": _excluded(facts)}
    first = (
        [f"Begin with {within}: it explains the fault (exploratory)."] if (within := _within(facts)) else []
    )
    return [*first, *(step.format(since=when, **names) for step in (*_STEPS[kind], *own))]


def delivery_step(reason: object) -> str:
    """Return what to look at next where a check gave no answer."""
    return _DELIVERY.get(str(reason), _NO_ANSWER)


def _since(check: str, facts: Facts) -> datetime | None:
    arms = dead(facts) if check_of(check).evidence == "split" else {}
    if not arms and fault(check, facts) == "segment":
        return instant(segment(facts).get("bad_from"))
    return min(arms.values()) if arms else instant(facts.get("bad_from"))


def _arms(kind: Fault, facts: Facts) -> str:
    """Return the variant that a fault is about, and how many more."""
    names = list(dead(facts))
    if kind in _STRAY:
        units = words.counts(facts.get(_STRAY[kind]))
        names = sorted(units, key=lambda name: (-units[name], name))
    return words.listed([clip_name(visible(name), _NAME) for name in names], 1) or "a variant"


def _conditions(facts: Facts) -> list[tuple[str, str]]:
    """Return dimension and value of each segment at fault; a verdict writes them "browser = Safari"."""
    listed = segment(facts).get("usable_without")
    named = listed if isinstance(listed, (list, tuple)) else ()
    return [(name, value) for name, _, value in (str(one).partition(" = ") for one in named)]


def _segments(facts: Facts, sign: str = "= ") -> str:
    """Return the segments at fault in a few words."""
    found = [f"{name} {sign}{clip_name(visible(value), _NAME)}" for name, value in _conditions(facts)]
    return words.listed(found, 1) or "a segment"


def _within(facts: Facts) -> str:
    """Return the values of a second dimension that explain a segment's fault, in a few words."""
    looked = segment(facts).get("within")
    named = looked.get("named") if isinstance(looked, Mapping) and looked.get("explains") else None
    values = [visible(str(one)) for one in named] if isinstance(named, (list, tuple)) else []
    return words.listed(values, 3, " and ")


def _excluded(facts: Facts) -> str:
    """Return the segments at fault as `exclude` of a flag takes them."""
    values: dict[str, list[str]] = {}
    for name, value in _conditions(facts):
        values.setdefault(name, []).append(visible(value))
    return str(values)


def _segment_share(facts: Facts) -> str:
    found = segment(facts)
    share = words.number(found.get("share"))
    if share is None:
        return "the split is off"
    return f"{clip_name(visible(str(found.get('variant'))), _NAME)} {words.percent(share)}"


def _part_name(facts: Facts, sign: str = "= ") -> str:
    name, _, value = str(facts.get("part")).partition(" = ")
    return f"{name} {sign}{clip_name(visible(value), _NAME)}"


def _left(facts: Facts) -> str:
    latest, expected = words.number(facts.get("latest_volume")), words.number(facts.get("expected_volume"))
    return words.percent(latest / expected) if latest is not None and expected else "little"


def _stray_share(kind: Fault, facts: Facts) -> str:
    stray = sum(sum(words.counts(facts.get(name)).values()) for name in _STRAY.values())
    total = stray + (words.number(facts.get("n")) or 0)
    units = sum(words.counts(facts.get(_STRAY[kind])).values())
    return f", {words.percent(units / total)} of units" if total else ""
