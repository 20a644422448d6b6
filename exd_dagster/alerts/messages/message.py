"""The neutral message that every channel renders. Its texts are one line each, visible, not yet escaped."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from exd_dagster.alerts.messages.text import clip

HEADLINE = 80
LISTED = 10
"""Flags listed in a grouped message; the others are counted."""

MessageStatus: TypeAlias = Literal[
    "firing",
    "acknowledged",
    "contained",
    "resolved",
    "not_monitored",
    "not_checked",
    "digest",
    "summary",
    "undelivered",
    "test",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A small table: header and rows of equal length."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A decision that a message offers.

    Attributes:
        label: what a button says.
        address: opens Dagster's launchpad with the decision filled in.
        kind: of the decision.
        flags: glob over flags.
        checks: glob over checks.
        location: code location of the job.
        job: that records decisions.
        op: of the job.
        count: flags it covers.
    """

    label: str
    address: str
    kind: str
    flags: str
    checks: str
    location: str
    job: str
    op: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a message.

    Attributes:
        heading: short title, "" for none.
        text: one or two sentences.
        facts: label and value, in order.
        table: the split by variant.
        points: a list, for example likely causes.
        links: label and address; addresses come from our own base address only.
        answers: decisions it offers, which a channel may show as buttons in place of `links`.
    """

    heading: str = ""
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    points: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The neutral message of an entry, rendered by each channel.

    Attributes:
        id: of the entry; stable over every attempt.
        status: of the incident, or the kind of message.
        headline: at most 80 characters, key fact first.
        lead: one sentence for a reader without statistics.
        sections: what broke, how sure, since when, what it blocks, likely causes, what to do next.
        threads: ids of the incidents it belongs to.
        closes: True when it resolves the incidents.
    """

    id: str
    status: MessageStatus
    headline: str
    lead: str = ""
    sections: tuple[Section, ...] = ()
    threads: tuple[str, ...] = ()
    closes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "headline", clip(self.headline, HEADLINE))


def plain_text(message: Message) -> str:
    """Return the message as plain text, for e-mail, logs and terminals."""
    lines = [message.headline, "=" * len(message.headline), ""]
    if message.lead:
        lines += [message.lead, ""]
    for section in message.sections:
        if section_lines := _section_lines(section):
            lines += [*section_lines, ""]
    return "\n".join([*lines, f"exd_dagster · {message.id[:12]}"]) + "\n"


def _section_lines(section: Section) -> list[str]:
    lines = [section.heading] if section.heading else []
    lines += [section.text] if section.text else []
    lines += ["", *aligned(section.table), ""] if section.table else []
    width = max((len(label) for label, _ in section.facts), default=0)
    lines += [f"{label:<{width}}  {value}" for label, value in section.facts]
    lines += [f"- {point}" for point in section.points]
    lines += [f"{label}: {address}" for label, address in section.links]
    return lines


def aligned(table: Table, most: int | None = None) -> list[str]:
    """Return a table as lines of text in columns, the header and up to `most` rows."""
    rows = [table.header, *table.rows[:most]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
