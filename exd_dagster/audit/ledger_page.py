"""What became of incidents, as one HTML file in the style of the page of `flag_trust`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape

from exd_dagster.alerts.messages.words import duration
from exd_dagster.alerts.policy.ledger import (
    CheckLearned,
    LedgerRow,
    by_check,
    noisiest,
    precision_words,
)
from exd_dagster.audit.page import chip, html_page, section
from exd_dagster.audit.rejudge import Tried

LISTED = 200
"""Incidents on the page, the newest; the table has them all."""


def ledger_page(
    rows: Sequence[LedgerRow],
    tried: Mapping[str, Tried | None],
    *,
    written_at: datetime,
    title: str = "Incident ledger",
) -> str:
    """Return the whole page; all text in it is escaped.

    Args:
        rows: the ledger, in any order.
        tried: by poor check, the best setting found.
        written_at: when the page was made (UTC).
        title: heading of the page.
    """
    learned = by_check(rows)
    sections = [
        section("checks", "Checks", _CHECKS_SAID, _checks(learned)) if learned else "",
        _poor([check for check in learned if check.poor], tried),
        section("flags", "Flags with the most false incidents", _FLAGS_SAID, _flags(rows)) if rows else "",
        section("incidents", "Incidents", _INCIDENTS_SAID, _incidents(rows)) if rows else "",
    ]
    return html_page(title, "".join(sections), chips=_chips(rows), written_at=written_at, style=_TABLES)


_OF_CHECK = (
    *("Check", "Incidents", "Real", "False", "Expected", "Precision"),
    *("Detected", "Acknowledged", "Resolved", "Causes"),
)
_CHECKS_SAID = (
    "Precision: the share of real ones among those called real or false, with its 95 % interval "
    "(Clopper-Pearson). Times are medians: detected after the begin of the fault; acknowledged and resolved "
    "after the evaluation that first failed."
)
_FLAGS_SAID = "Then those with the most incidents."
_INCIDENTS_SAID = (
    "The newest come first, each with its id under the flag. Where the answer is empty, nobody has said yet "
    "what it was: exd-dagster decide close --flag FLAG --incident ID --verdict real|false|expected --by YOU."
)


def _chips(rows: Sequence[LedgerRow]) -> str:
    incidents = {row.incident: row for row in rows}.values()
    if not incidents:
        return "<p>No incident yet.</p>"
    counts = (
        ("plain", "incidents", len(incidents)),
        ("not-trusted", "open", sum(row.resolved_at is None for row in incidents)),
        ("not-checked", "without an answer", sum(not row.verdict for row in incidents)),
    )
    return "".join(chip(tone, "incidents", str(n), what) for tone, what, n in counts)


def _checks(learned: Iterable[CheckLearned]) -> str:
    return _table(
        _OF_CHECK,
        [
            (
                check.check,
                str(check.incidents),
                str(check.real),
                str(check.false),
                str(check.expected),
                precision_words(check).replace(" (", "\n").rstrip(")"),
                _span(check.detected_after),
                _span(check.acknowledged_after),
                _span(check.resolved_after),
                ", ".join(f"{cause} {count}" for cause, count in check.causes.items()),
            )
            for check in learned
        ],
    )


def _poor(checks: Sequence[CheckLearned], tried: Mapping[str, Tried | None]) -> str:
    if not checks:
        return ""
    cards = "".join(
        f'<article class="warning"><h3>{escape(check.check)}</h3>'
        f"<p>{escape(advice(check, tried.get(check.check)))}</p></article>"
        for check in checks
    )
    return section("poor", "Failing for nothing", "Tried on the stored bins of the same flags.", cards)


def advice(check: CheckLearned, tried: Tried | None) -> str:
    """Return what would have avoided the false failures of a check, and what it would have cost."""
    said = f"{check.false} of {check.real + check.false} answered failures of {check.check} were false."
    if tried is None:
        return f"{said} None of them can be judged again from the stored bins, so no setting was tried."
    gone = f" {tried.gone} more cannot be judged again: their records were corrected." if tried.gone else ""
    if not tried.avoided:
        return f"{said} No setting that was tried would have avoided any of {tried.false}.{gone}"
    missed = (
        f"would have missed {tried.missed} of {tried.real} real ones"
        if tried.real
        else "there is no real one to say what it would have missed"
    )
    return f"{said} {tried.setting} would have avoided {tried.avoided} of {tried.false}, and {missed}.{gone}"


def _flags(rows: Sequence[LedgerRow]) -> str:
    counted = [(str(flag), str(n), str(false)) for flag, n, false in noisiest(rows)[:20]]
    return _table(("Flag", "Incidents", "False"), counted)


def _incidents(rows: Sequence[LedgerRow]) -> str:
    heads = ("Flag", "Check", "Failed", "Answer", "Cause", "Detected", "Acknowledged", "Resolved")
    newest = sorted(rows, key=lambda row: row.opened_at, reverse=True)[:LISTED]
    return _table(
        heads,
        [
            (
                f"{row.flag}\n{row.incident}",
                row.check,
                f"{row.opened_at:%Y-%m-%d %H:%M}",
                row.verdict + (f" ({row.answered_by})" if row.answered_by else ""),
                row.cause,
                _span(row.detected_after),
                _span(row.acknowledged_after),
                _span(row.resolved_after) if row.resolved_at else "open",
            )
            for row in newest
        ],
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(text)}</td>' for text in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """Return a cell; what follows a line break stands small below."""
    first, _, below = text.partition("\n")
    return escape(first) + (f"<br><small>{escape(below)}</small>" if below else "")


def _span(span: timedelta | None) -> str:
    return "" if span is None else duration(span)


_TABLES = """
.wide { overflow-x: auto; border: 1px solid var(--rule); border-radius: .5rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .6rem; border-top: 1px solid var(--rule); text-align: left; vertical-align: top;
  white-space: nowrap; }
td:last-child { white-space: normal; } td small { color: var(--soft); } .plain { --tone: var(--soft); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; }
"""
