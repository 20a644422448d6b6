"""The answers that a message offers: decisions about failures, and what incidents that are over were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exd_dagster.alerts.messages.answers import WAS_IT_REAL, Launchpad
from exd_dagster.alerts.messages.links import Links
from exd_dagster.alerts.messages.message import Section
from exd_dagster.alerts.model import Alert, AlertState, OutboxEntry, Reason
from exd_dagster.config import FlagId

ANSWERED: tuple[Reason, ...] = ("fire", "outage", "remind", "escalate", "contained")
"""Reasons of messages about several flags that ask for a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a message needs in addition to its entry.

    Attributes:
        links: builds addresses of pages of the Dagster UI.
        launchpad: builds addresses that open a decision filled in.
        blocked: by `str(FlagId)`, the assets blocked by the flag.
    """

    links: Links = field(default_factory=Links)
    blocked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    launchpad: Launchpad = field(default_factory=Launchpad)


def failure_answers(entry: OutboxEntry, alerts: Sequence[Alert], context: Context) -> list[Section]:
    """Return links to the decisions about a failure; there are none without the address of the Dagster UI."""
    if not alerts or not context.links.base_url or entry.reason == "shutoff":
        return []
    flags = list(dict.fromkeys(alert.flag for alert in alerts))
    answers = context.launchpad.answers(flags, _failing(alerts), entry.created_at, entry.id)
    links = tuple((answer.label, answer.address) for answer in answers)
    return [Section(heading="Answer in Dagster", links=links, answers=answers)] if answers else []


def _failing(alerts: Sequence[Alert]) -> str:
    """Return the one failing check, or "*"."""
    names = {alert.check for alert in alerts}
    return names.pop() if len(names) == 1 else "*"


def answer_of_one(
    entry: OutboxEntry, alerts: Sequence[Alert], state: AlertState, context: Context
) -> tuple[tuple[str, str], ...]:
    """Return the link that opens a decision about one of several flags."""
    if context.links.base_url and entry.reason == "resolve" and entry.incidents:
        flag = alerts[0].flag
        return context.launchpad.close(flag, _failing(alerts), _incident(entry, flag, state))
    if not context.links.base_url or entry.reason not in ANSWERED:
        return ()
    answers = context.launchpad.answers([alerts[0].flag], _failing(alerts), entry.created_at)
    return tuple(("Decide", answer.address) for answer in answers[:1])


def was_it_real(
    entry: OutboxEntry, alerts: Sequence[Alert], state: AlertState, context: Context, message: str = ""
) -> list[Section]:
    """Return links to the answers for the ledger; of a source outage there is no incident to close."""
    if not alerts or not context.links.base_url or not entry.incidents:
        return []
    flags = list(dict.fromkeys(alert.flag for alert in alerts))
    incident = _incident(entry, flags[0], state) if len(flags) == 1 else ""
    links = context.launchpad.closes(flags, _failing(alerts), incident, message)
    return [Section(heading=WAS_IT_REAL, links=links)] if links else []


def _incident(entry: OutboxEntry, flag: FlagId, state: AlertState) -> str:
    """Return the incident of a flag that an entry ends; "" where it is not remembered."""
    ended = {past.flag: past.id for past in state.past if past.id in entry.incidents}
    return ended.get(flag, entry.incidents[0] if len(entry.incidents) == 1 else "")
