"""Render a message for Slack: Block Kit within Slack's limits, and plain text."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from exd_dagster.alerts.messages.answers import ASKS_WHY
from exd_dagster.alerts.messages.message import Answer, Message, Section, Table, aligned, plain_text
from exd_dagster.alerts.messages.text import clip, slack_escape

SECTION_LIMIT = 3000
HEADER_LIMIT = 150
BLOCK_LIMIT = 50
BUTTON_LIMIT = 75
TOTAL_LIMIT = 12_000
"""Characters of all blocks together: Slack documents no limit, and refuses from about 13,200 on."""
TEXT_LIMIT = 3900
_ROWS = 20
_MARKS = {
    "firing": "🔴",
    "acknowledged": "🟡",
    "contained": "🟠",
    "resolved": "🟢",
    "not_monitored": "🟣",
    "not_checked": "⚪",
    "digest": "📋",
    "summary": "🗂️",
    "undelivered": "📭",
    "test": "🔵",
}


def slack_summary(message: Message) -> str:
    """Return the text of the notification, shown where blocks are not."""
    return _escaped(f"{_MARKS[message.status]} {message.headline}\n{message.lead}".rstrip(), TEXT_LIMIT)


def slack_text(message: Message) -> str:
    """Return the whole message as text, for the case that Slack refuses its blocks."""
    return _escaped(f"{_MARKS[message.status]} {plain_text(message)}", TEXT_LIMIT)


def slack_blocks(
    message: Message, *, buttons: bool = False, sign: Callable[[Answer], str] | None = None
) -> list[dict[str, Any]]:
    """Return the message as Block Kit blocks. Foreign text is plain text or a code block, never markup.

    Args:
        message: what to say.
        buttons: True for an app, which shows answers as buttons; a webhook shows them as links.
        sign: gives the value of a button that answers in Slack, "" where it can only open an address;
            None: all buttons open an address.
    """
    headline = f"{_MARKS[message.status]} {message.headline}"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": plain_block(headline, HEADER_LIMIT)}]
    if message.lead:
        blocks.append(_section(message.lead))
    for section in message.sections:
        blocks += _section_blocks(section, buttons, sign)
    return [*_fitting(blocks), context_block(f"exd_dagster · {message.id[:12]}")]


def context_block(text: str) -> dict[str, Any]:
    """Return a line of small text."""
    return {"type": "context", "elements": [plain_block(text, HEADER_LIMIT)]}


def _fitting(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return as many blocks as one message allows, with a note if some were left out."""
    sizes = accumulate(_size(block["text"]["text"]) if "text" in block else 0 for block in blocks)
    fitting = sum(size <= TOTAL_LIMIT - HEADER_LIMIT for size in sizes)
    if fitting == len(blocks) < BLOCK_LIMIT:
        return blocks
    kept = min(fitting, BLOCK_LIMIT - 2)
    return [*blocks[:kept], _section("… the rest is too long for Slack; the checks in Dagster have it.")]


def _section_blocks(
    section: Section, buttons: bool, sign: Callable[[Answer], str] | None
) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    heading = "Answer" if section.answers and sign else section.heading  # here, not only in Dagster
    text = "\n".join(part for part in (heading, section.text) if part)
    if text:
        blocks.append(_section(text))
    if section.table:
        blocks.append(_code(_table_text(section.table)))
    lines = [f"{label}: {value}" for label, value in section.facts]
    lines += [f"• {point}" for point in section.points]
    blocks += [_section(part) for part in _parts(lines)]
    if section.answers and buttons:
        elements = [_button(answer, sign(answer) if sign else "") for answer in section.answers]
        blocks.append({"type": "actions", "elements": elements})
    elif section.links:
        links = " · ".join(
            f"<{slack_escape(address)}|{slack_escape(label)}>" for label, address in section.links
        )
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links}})
    return blocks


def _button(answer: Answer, value: str) -> dict[str, Any]:
    """Return a button that answers with its value, or without one opens an address and does nothing else."""
    shown = {"type": "button", "text": plain_block(answer.label, BUTTON_LIMIT)}
    if value:
        asked = {"confirm": _confirm(answer)} if answer.count > 1 and answer.kind not in ASKS_WHY else {}
        return {**shown, **asked, "action_id": f"exd:{answer.kind}", "value": value}
    return {**shown, "action_id": f"open:{answer.label}", "url": answer.address}


def _confirm(answer: Answer) -> dict[str, Any]:
    """Return the question before one press decides about several flags."""
    return {
        "title": plain_block(f"{answer.count} flags", 100),
        "text": plain_block(f"{answer.label}: this decides about every flag of this message.", 300),
        "confirm": plain_block("Yes", 30),
        "deny": plain_block("No", 30),
    }


def _parts(lines: list[str]) -> list[str]:
    """Join lines into as few section texts as possible."""
    parts: list[str] = []
    for line in lines:
        joined = f"{parts[-1]}\n{line}" if parts else ""
        if joined and _size(slack_escape(joined)) <= SECTION_LIMIT:
            parts[-1] = joined
        else:
            parts.append(line)
    return parts


def _size(text: str) -> int:
    """Return the length as Slack counts it, in UTF-16 units: an emoji is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": plain_block(text, SECTION_LIMIT)}


def plain_block(text: str, limit: int) -> dict[str, Any]:
    """Return plain text, escaped, of at most `limit` characters."""
    return {"type": "plain_text", "text": _escaped(text, limit), "emoji": False}


def _escaped(text: str, limit: int) -> str:
    """Escape, then cut the unescaped text until the escaped one fits: never within an entity."""
    kept = clip(text, limit)
    while (over := _size(slack_escape(kept)) - limit) > 0:
        kept = clip(kept, len(kept) - (over + 4) // 5 - 1)
    return slack_escape(kept)


def _code(text: str) -> dict[str, Any]:
    body = _escaped(text.replace("`", "'"), SECTION_LIMIT - 8)
    return {"type": "section", "text": {"type": "mrkdwn", "text": f"```\n{body}\n```"}}


def _table_text(table: Table) -> str:
    left_out = len(table.rows) - _ROWS
    return "\n".join([*aligned(table, _ROWS), *([f"+{left_out} more"] if left_out > 0 else [])])
