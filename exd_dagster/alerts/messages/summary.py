"""The summary that stands for several messages: what still fails first, then what ended meanwhile."""

from collections.abc import Callable, Mapping, Sequence

from exd_dagster.alerts.messages import words
from exd_dagster.alerts.messages.message import Section
from exd_dagster.alerts.messages.text import visible
from exd_dagster.alerts.model import Alert, OutboxEntry, Reason
from exd_dagster.config import FlagId

LINES = 25
_FAILING: tuple[Reason, ...] = ("fire", "outage", "remind", "escalate")
_GROUPS: Mapping[str, tuple[Reason, ...]] = {
    "Failing": _FAILING,
    "Contained": ("contained",),
    "No longer monitored": ("not_monitored",),
    "Not checked": ("not_checked",),
    "Resolved": ("resolve",),
}
"""Headings, worst first, and the last word on a flag that puts it under each."""


def summary_headline(entry: OutboxEntry, alerts: Mapping[str, Alert]) -> str:
    """Return how things stand now, in one line."""
    grouped = _grouped(entry, alerts)
    counts = [(name, len(flags)) for name, flags in grouped.items() if flags]
    said = ", ".join(f"{number} {name.lower()}" for name, number in counts)
    return f"Summary: {words.count(sum(n for _, n in counts), 'flag')}: {said}"


def summary_sections(
    entry: OutboxEntry, alerts: Mapping[str, Alert], line: Callable[[Reason, Alert], str]
) -> list[Section]:
    """Return a section for each kind of last word; every flag is named.

    Args:
        entry: of reason "summary".
        alerts: by id.
        line: writes what is said of an alert for a reason.
    """
    sections = []
    for heading, flags in _grouped(entry, alerts).items():
        points = [_point(parts, alerts, line) for parts in flags.values()]
        more = ", ".join(visible(flag) for flag in [*flags][LINES:])
        if points:
            listed = (*points[:LINES], *([f"and {len(points) - LINES} more: {more}"] if more else []))
            sections.append(Section(heading=heading, points=listed))
    return sections


def alerts_under(entry: OutboxEntry, alerts: Mapping[str, Alert], heading: str) -> list[Alert]:
    """Return the alerts, of every check, of the flags that a summary lists under a heading."""
    flags = _grouped(entry, alerts)[heading].values()
    names = dict.fromkeys(name for parts in flags for reason, name, _ in parts if reason in _GROUPS[heading])
    return [alerts[name] for name in names]


def _point(
    parts: Sequence[tuple[Reason, str, str]],
    alerts: Mapping[str, Alert],
    line: Callable[[Reason, Alert], str],
) -> str:
    reason, alert, note = parts[-1]
    said = line(reason, alerts[alert])
    return f"{said} ({visible(note)})" if note else said


def _grouped(
    entry: OutboxEntry, alerts: Mapping[str, Alert]
) -> dict[str, dict[FlagId, list[tuple[Reason, str, str]]]]:
    """Return what was said of each flag, oldest first, under the heading of its last word."""
    known: dict[FlagId, list[tuple[Reason, str, str]]] = {}
    for part in entry.summarized:
        if part[1] in alerts:
            known.setdefault(alerts[part[1]].flag, []).append(part)
    return {
        heading: {flag: parts for flag, parts in known.items() if parts[-1][0] in reasons}
        for heading, reasons in _GROUPS.items()
    }
