"""Compose the message of an entry: what broke, since when, what it blocks, likely causes, what to do."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime

from exd_dagster.alerts.messages import faults, words
from exd_dagster.alerts.messages.answer_sections import (
    ANSWERED,
    Context,
    answer_of_one,
    failure_answers,
    was_it_real,
)
from exd_dagster.alerts.messages.message import HEADLINE, LISTED, Message, MessageStatus, Section, Table
from exd_dagster.alerts.messages.summary import alerts_under, summary_headline, summary_sections
from exd_dagster.alerts.messages.text import clip_name, visible
from exd_dagster.alerts.model import Alert, AlertState, OutboxEntry, Reason
from exd_dagster.config import FlagId
from exd_dagster.stats.checks import CHECKS, check_of
from exd_dagster.stats.checks.reconcile import RECONCILE

_STATUS: Mapping[Reason, MessageStatus] = {
    "fire": "firing",
    "outage": "firing",
    "remind": "firing",
    "escalate": "firing",
    "acknowledge": "acknowledged",
    "summary": "summary",
    "shutoff": "firing",
    "contained": "contained",
    "resolve": "resolved",
    "not_monitored": "not_monitored",
    "not_checked": "not_checked",
    "digest": "digest",
    "dead_letter": "undelivered",
    "test": "test",
}
_PREPARED: tuple[Reason, ...] = ("digest", "dead_letter")
"""Reasons whose entries have their own headline and lines."""
_OUTAGE = (
    "Many flags of one source lost traffic at once: check the log and its loader before the flags. "
    "No separate alerts for their drops are sent while it lasts."
)


def compose(entry: OutboxEntry, state: AlertState, context: Context) -> Message:
    """Return the message of an entry.

    Args:
        entry: what to send.
        state: holds the alerts and incidents the entry names.
        context: links and blocked assets.
    """
    alerts = sorted(
        (state.alerts[name] for name in entry.alerts if name in state.alerts),
        key=lambda alert: (alert.flag, _rank(alert)),
    )
    flags = list(dict.fromkeys(alert.flag for alert in alerts))
    if entry.reason in _PREPARED:
        sections = [*_listed(entry), Section(links=context.links.overview())]
    elif entry.reason == "summary":
        sections = [
            *summary_sections(entry, state.alerts, _in_a_line),
            *failure_answers(entry, alerts_under(entry, state.alerts, "Failing"), context),
            *was_it_real(entry, alerts_under(entry, state.alerts, "Resolved"), state, context),
            Section(links=context.links.overview()),
        ]
    elif len(flags) == 1:
        sections = _one_flag(entry, alerts, state, context)
    else:
        sections = _many_flags(entry, alerts, state, context)
    return Message(
        id=entry.id,
        status=_STATUS[entry.reason],
        headline=summary_headline(entry, state.alerts)
        if entry.reason == "summary"
        else _headline(entry, alerts),
        lead=_lead(entry, alerts),
        sections=tuple(sections),
        threads=() if entry.reason in _PREPARED else entry.incidents,
        closes=entry.reason == "resolve",
    )


def _rank(alert: Alert) -> tuple[int, int]:
    """The worst first; of faults of one kind the check that comes first in `CHECKS`."""
    kind = faults.WORST_FIRST.index(faults.fault(alert.check, alert.facts))
    return kind, list(CHECKS).index(alert.check) if alert.check in CHECKS else len(CHECKS)


def _name(alert: Alert) -> str:
    place = "/".join(part for part in (alert.flag.namespace, alert.flag.environment) if part)
    return visible(alert.flag.key) + (f" ({visible(place)})" if place else "")


def _headline(entry: OutboxEntry, alerts: Sequence[Alert]) -> str:
    if entry.reason in _PREPARED:
        return visible(entry.note)
    flags = list({alert.flag: _name(alert) for alert in alerts}.values())
    if len(flags) > 1:
        return _many_headline(entry.reason, alerts, len(flags))
    before, after = _around_name(entry.reason, alerts[0])
    room = max(HEADLINE - len(before) - len(after), 8)
    # where both do not fit, the key says more than namespace and environment, which stand further down
    name = flags[0] if len(flags[0]) <= room else visible(alerts[0].flag.key)
    return before + clip_name(name, room) + after


def _in_a_line(reason: Reason, alert: Alert) -> str:
    """Return what a headline says of an alert, with its whole name."""
    before, after = _around_name(reason, alert)
    return before + _name(alert) + after


def _around_name(reason: Reason, alert: Alert) -> tuple[str, str]:
    """Return the headline before and after the flag's name: only the name is shortened, not the key fact."""
    what = faults.key_fact(alert.check, alert.facts)
    texts = {
        "resolve": ("Resolved: ", ""),
        "acknowledge": ("Acknowledged: ", ""),
        "test": ("Test alert: ", f", {alert.check}"),
        "not_monitored": ("Only observed now: " if alert.mode == "observe" else "No longer monitored: ", ""),
        "not_checked": ("Not checked: ", ""),
        "contained": ("Contained: ", f", {words.bad_hours(alert.facts)}"),
        "remind": ("Still failing: ", f", {what}"),
        "escalate": ("Nobody answered: ", f", {what}"),
    }
    titles = {"segment": "SRM", "segment_traffic": "Traffic"}  # what follows names the segment
    title = titles.get(faults.fault(alert.check, alert.facts), check_of(alert.check).wording.title)
    return texts.get(reason, (f"{title} on ", f": {what}"))


def _many_headline(reason: Reason, alerts: Sequence[Alert], count: int) -> str:
    owners = sorted({owner for alert in alerts for owner in alert.owners})
    whose = f" of {visible(owners[0])}" if len(owners) == 1 else ""
    texts = {
        "resolve": f"Resolved: {count} flags{whose}",
        "outage": f"Source outage: {count} flags lost traffic together",
        "not_monitored": f"No longer monitored: {count} flags{whose}",
        "not_checked": f"Not checked: {count} flags",
        "contained": f"Contained: {count} flags{whose}",
        "remind": f"Still failing: {count} flags{whose}",
        "escalate": f"Nobody answered: {count} flags{whose} fail",
    }
    return texts.get(reason, f"{count} flags{whose} fail their checks")


def _lead(entry: OutboxEntry, alerts: Sequence[Alert]) -> str:
    if entry.reason in _PREPARED:
        return ""
    if entry.reason == "summary":
        return "Messages held in quiet hours or over the hourly limit; what still fails comes first."
    if entry.reason == "test":
        return alerts[0].sentence
    if entry.reason in ("resolve", "not_monitored", "acknowledge"):
        return f"{visible(entry.note)}."
    if entry.reason == "not_checked":
        why = visible(entry.note).replace("_", " ")
        return f"This audit has no result ({why}), neither pass nor fail."
    if entry.reason == "outage":
        return _OUTAGE
    if entry.reason == "contained":
        return "The recent hours agree with the declared split again; the bad ones remain in the data."
    again = f" ({visible(entry.note)})" if entry.note else ""
    if len({alert.flag for alert in alerts}) > 1:
        return f"Results read from these flags would be wrong{again}."
    return f"{faults.lead(alerts[0].check, alerts[0].facts)}{again}." if alerts else ""


def _listed(entry: OutboxEntry) -> list[Section]:
    """Return the sections of a digest or dead letter: heading, then points."""
    return [
        Section(heading=visible(line[0]), points=tuple(visible(x) for x in line[1:])) for line in entry.lines
    ]


def _one_flag(
    entry: OutboxEntry, alerts: Sequence[Alert], state: AlertState, context: Context
) -> list[Section]:
    if entry.reason == "test":
        return [_links(alerts[0], context)]
    if entry.reason == "not_checked":
        step = faults.delivery_step(alerts[0].facts.get("reason"))
        lines = Section(points=_points(entry.reason, alerts))
        return [lines, Section(heading="What to do next", points=(step,)), _links(alerts[0], context)]
    if entry.reason == "resolve":
        asked = was_it_real(entry, alerts, state, context)
        return [_history(entry, alerts), *asked, _links(alerts[0], context)]
    if entry.reason == "not_monitored":
        return [_history(entry, alerts), _unmonitored(alerts), _links(alerts[0], context)]
    sections = [_numbers(alert, alerts[:index]) for index, alert in enumerate(alerts)]
    sections.append(_consequence(entry, alerts, state, context))
    causes = [visible(cause) for alert in alerts for cause in words.causes(alert.facts)]
    if causes:
        sections.append(Section(heading="Likely causes, from the data", points=tuple(dict.fromkeys(causes))))
    return [*sections, _next(alerts), *failure_answers(entry, alerts, context), _links(alerts[0], context)]


def _numbers(alert: Alert, before: Sequence[Alert]) -> Section:
    """The sentence, the split by variant unless shown before, the statistics."""
    rows = words.split_rows(alert.facts)
    if any(words.split_rows(other.facts) == rows for other in before):
        rows = ()
    table = Table(header=words.split_header(alert.facts), rows=rows) if rows else None
    return Section(
        heading=visible(check_of(alert.check).wording.heading),
        text=visible(alert.sentence),
        table=table,
        facts=tuple((label, visible(value)) for label, value in words.statistics(alert.facts)),
    )


def _consequence(entry: OutboxEntry, alerts: Sequence[Alert], state: AlertState, context: Context) -> Section:
    """Since when, usable until, what it blocks, and whether the flag itself was changed."""
    flag = alerts[0].flag
    facts = [("Flag", _name(alerts[0]))] if flag.namespace or flag.environment else []
    since, until = _first(alerts, "bad_from"), _last(alerts, "bad_until")
    usable = _first(alerts, "usable_until")
    if since and until and all(alert.contained for alert in alerts):
        facts.append(("Bad hours", f"{words.utc(since)} to {words.utc(until)}; the recent ones agree again"))
    elif since:
        facts.append(("Since", words.utc(since)))
    if usable:
        start = _first(alerts, "iteration_start")
        none = start is not None and usable <= start
        facts.append(("Usable until", "no hour is usable" if none else words.utc(usable)))
    facts.append(("Blocked", _blocked(alerts, context)))
    facts.append(("Assignment", _assignment(entry, state)))
    return Section(facts=tuple(facts))


def _first(alerts: Sequence[Alert], fact: str) -> datetime | None:
    return min((at for alert in alerts if (at := alert.instant(fact))), default=None)


def _last(alerts: Sequence[Alert], fact: str) -> datetime | None:
    return max((at for alert in alerts if (at := alert.instant(fact))), default=None)


def _history(entry: OutboxEntry, alerts: Sequence[Alert]) -> Section:
    """What had failed, since when, and how long the incident was open."""
    opened = min(alert.opened_at for alert in alerts)
    facts = [("Had failed", ", ".join(alert.check for alert in alerts))]
    if since := _first(alerts, "bad_from"):
        facts.append(("First bad hour", words.utc(since)))
    facts.append(("Open for", words.duration(entry.created_at - opened)))
    return Section(facts=tuple(facts))


def _unmonitored(alerts: Sequence[Alert]) -> Section:
    """The last result, and how to resolve the incident."""
    last = tuple(f"{alert.check}, when last checked: {visible(alert.sentence)}" for alert in alerts)
    if all(alert.mode == "observe" for alert in alerts):
        return Section(points=last)
    flag = shlex.quote(visible(alerts[0].flag.key))
    return Section(
        points=(
            *last,
            "If it is monitored again, it is sent again while it fails, and as resolved once it passes.",
            f"If the flag has ended: exd-dagster decide end --flag {flag} --reason WHY --by YOU --until WHEN",
        )
    )


def _blocked(alerts: Sequence[Alert], context: Context) -> str:
    if all(check_of(alert.check).sent for alert in alerts):
        return "nothing: the split of each flag itself may be right"
    if not any(alert.blocks for alert in alerts):
        return f"nothing: this flag is audited in mode {alerts[0].mode}"
    names = context.blocked.get(str(alerts[0].flag), ())
    if not names:
        return "reports that read these bins, until the fault is corrected or a person decides"
    return words.listed([visible(name) for name in names], LISTED)


def _assignment(entry: OutboxEntry, state: AlertState) -> str:
    incidents = [state.incident(name) for name in entry.incidents]
    if incidents and all(incident and incident.shutoff == "suspended" for incident in incidents):
        return "assignment suspended by on_shutoff"
    return "the flag itself was not changed"


def _next(alerts: Sequence[Alert]) -> Section:
    first = alerts[0]
    points = [step for alert in alerts for step in faults.steps(alert.check, alert.facts)]
    flag = shlex.quote(visible(first.flag.key))
    corrected = check_of(first.check).wording.corrected
    points.append(f"When {corrected} again; passing checks close this alert.")
    if any(alert.blocks for alert in alerts):
        of_report = check_of(first.check) is RECONCILE and len(alerts) == 1
        what = f"{flag} --check {first.check}" if of_report else flag
        points.append(
            f"To let reports run: exd-dagster decide waive --flag {what} --reason WHY --by YOU --until WHEN"
        )
    return Section(heading="What to do next", points=tuple(dict.fromkeys(points)))


def _links(alert: Alert, context: Context) -> Section:
    return Section(links=context.links.of(alert.asset, alert.check, alert.instant("bad_from"), alert.run_id))


def _many_flags(
    entry: OutboxEntry, alerts: Sequence[Alert], state: AlertState, context: Context
) -> list[Section]:
    by_flag: dict[FlagId, list[Alert]] = {}
    for alert in alerts:
        by_flag.setdefault(alert.flag, []).append(alert)
    sections = [
        Section(
            heading=clip_name(_name(members[0])),
            points=_points(entry.reason, members),
            links=(
                *context.links.of(members[0].asset, members[0].check)[:1],
                *answer_of_one(entry, members, state, context),
            ),
        )
        for members in list(by_flag.values())[:LISTED]
    ]
    if len(by_flag) > LISTED:
        overview = context.links.overview()
        sections.append(Section(text=f"+{len(by_flag) - LISTED} more flags.", links=overview))
    if entry.reason == "resolve":
        return [*sections, *was_it_real(entry, alerts, state, context, entry.id)]
    return [*sections, *(failure_answers(entry, alerts, context) if entry.reason in ANSWERED else [])]


def _points(reason: Reason, alerts: Sequence[Alert]) -> tuple[str, ...]:
    """Return one line for each statement, prefixed with the checks it applies to."""
    lines: dict[str, list[str]] = {}
    for alert in alerts:
        lines.setdefault(_line(reason, alert), []).append(alert.check)
    return tuple(f"{', '.join(checks)}: {text}" for text, checks in lines.items())


def _line(reason: Reason, alert: Alert) -> str:
    if reason in ("resolve", "not_monitored"):
        return f"had failed since {words.utc(alert.opened_at)}"
    if reason == "not_checked":
        sentence = alert.sentence.removeprefix("Not checked: ")
        return visible(sentence or alert.facts.get("reason") or "no result")
    return visible(alert.sentence) or faults.key_fact(alert.check, alert.facts)
