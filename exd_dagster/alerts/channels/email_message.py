"""Render a message as an e-mail: multipart plain and HTML, one thread per incident."""

from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from html import escape

from exd_dagster.alerts.messages.message import Message, Section, Table, plain_text
from exd_dagster.alerts.messages.text import clip

SUBJECT_LIMIT = 150
DOMAIN = "exd-dagster.invalid"
_COLOURS = {
    "firing": "#b42318",
    "acknowledged": "#a15c07",
    "contained": "#b54708",
    "resolved": "#067647",
    "not_monitored": "#6941c6",
    "not_checked": "#475467",
    "digest": "#344054",
    "summary": "#344054",
    "undelivered": "#7a2e0e",
    "test": "#175cd3",
}


def message_id(entry: str) -> str:
    """Return the Message-ID of an entry: the same on every attempt, so a mail store can drop a duplicate."""
    return f"<{entry}@{DOMAIN}>"


def email_message(message: Message, sender: str, to: Sequence[str], now: datetime) -> EmailMessage:
    """Return the e-mail of a message.

    Args:
        message: the message.
        sender: address in From.
        to: addresses in To.
        now: for the Date header (UTC).

    Raises:
        ValueError: for an address with a control character.
    """
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = clip(message.headline, SUBJECT_LIMIT)
    mail["From"] = _address(sender)
    mail["To"] = [_address(address) for address in to]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = message_id(message.id)
    if message.threads:
        roots = " ".join(message_id(root) for root in message.threads[:10])
        mail["References"] = roots
        mail["In-Reply-To"] = message_id(message.threads[0])
    mail["Auto-Submitted"] = "auto-generated"
    mail["List-Id"] = f"exd_dagster alerts <alerts.{DOMAIN}>"
    mail.set_content(plain_text(message))
    mail.add_alternative(html_body(message), subtype="html")
    _fixed_boundary(mail, message.id)
    return mail


def _fixed_boundary(mail: EmailMessage, entry: str) -> None:
    """Derive the boundary from the entry, so that the same message is the same bytes."""
    mail.set_boundary("exd-" + sha256(entry.encode()).hexdigest()[:32])


def _address(text: str) -> Address:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"address {text!r} contains a control character; remove it")
    return Address(addr_spec=text)


def html_body(message: Message) -> str:
    """Return the message as HTML: everything escaped, nothing remote, links to our own base address only."""
    colour = _COLOURS[message.status]
    parts = [
        "<!doctype html>",
        '<html><body style="font-family:sans-serif;color:#101828;max-width:640px">',
        f'<h2 style="color:{colour};border-left:6px solid {colour};padding-left:10px">'
        f"{escape(message.headline)}</h2>",
    ]
    if message.lead:
        parts.append(f"<p><strong>{escape(message.lead)}</strong></p>")
    for section in message.sections:
        parts += _section(section)
    parts.append(f'<p style="color:#667085;font-size:12px">exd_dagster · {message.id[:12]}</p>')
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"<h3>{escape(section.heading)}</h3>"] if section.heading else []
    parts += [f"<p>{escape(section.text)}</p>"] if section.text else []
    parts += [_table(section.table)] if section.table else []
    if section.facts:
        rows = (
            f'<tr><td style="color:#667085;padding-right:16px">{escape(label)}</td>'
            f"<td>{escape(value)}</td></tr>"
            for label, value in section.facts
        )
        parts.append('<table style="margin:8px 0">' + "".join(rows) + "</table>")
    if section.points:
        parts.append("<ul>" + "".join(f"<li>{escape(point)}</li>" for point in section.points) + "</ul>")
    if section.links:
        anchors = (f'<a href="{escape(url)}">{escape(label)}</a>' for label, url in section.links)
        parts.append("<p>" + " · ".join(anchors) + "</p>")
    return parts


def _table(table: Table) -> str:
    cell = 'style="border:1px solid #d0d5dd;padding:4px 10px;text-align:left"'
    head = "".join(f"<th {cell}>{escape(name)}</th>" for name in table.header)
    rows = ("".join(f"<td {cell}>{escape(value)}</td>" for value in row) for row in table.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>'
