"""Which flags may be used, as one HTML file without external requests, for phone and print."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from urllib.parse import quote

from exd_dagster.audit.page import chip, html_page, section, shown_time
from exd_dagster.audit.trust_row import Standing, TrustRow
from exd_dagster.config import FlagId
from exd_dagster.plots import as_data_uri

STANDINGS: dict[Standing, tuple[str, str, str]] = {
    "not-trusted": ("✕", "Not trusted", "What builds on these flags is withheld."),
    "not-checked": ("?", "Not checked", "No answer could be computed: neither healthy nor broken."),
    "waived": ("!", "Waived", "A check fails; a person waived it."),
    "warning": ("!", "Trusted with a warning", "A check fails and does not block."),
    "trusted": ("✓", "Trusted", "No check fails."),
}
"""Mark, name and meaning of each standing, most urgent first."""


def by_urgency(rows: Iterable[TrustRow]) -> list[TrustRow]:
    """Sort rows: worst standing first, within it ongoing before contained, then the newest, then by name."""
    order = list(STANDINGS)

    def urgency(row: TrustRow) -> tuple[int, bool, float, str, float]:
        since = row.since.timestamp() if row.since else 0.0
        return (
            order.index(row.standing),
            row.contained,
            -since,
            str(row.flag),
            -row.iteration_start.timestamp(),
        )

    return sorted(rows, key=urgency)


def anchor(flag: FlagId) -> str:
    """Return the fragment of the page that shows a flag's newest iteration, without the "#"."""
    return quote(str(flag), safe="/")


def trust_page(rows: Iterable[TrustRow], *, written_at: datetime, title: str = "Flag trust") -> str:
    """Return the whole page.

    Args:
        rows: one for each flag, environment and iteration, in any order.
        written_at: when the page was made (UTC).
        title: heading of the page, the fleet's name for example.

    Returns:
        An HTML document. All text in it is escaped; a link appears only for http, https and local addresses.
    """
    ordered = by_urgency(rows)
    iterations: dict[FlagId, list[TrustRow]] = {}
    for row in sorted(ordered, key=lambda row: row.iteration_start, reverse=True):
        iterations.setdefault(row.flag, []).append(row)
    groups = [(standing, list(group)) for standing, group in groupby(ordered, lambda row: row.standing)]
    sections = "".join(_section(standing, group, iterations) for standing, group in groups)
    chips = "".join(_chip(standing, len(group)) for standing, group in groups)
    return html_page(
        title,
        sections,
        chips=chips or "<p>No flag is audited yet.</p>",
        written_at=written_at,
        search=_search(ordered) if ordered else "",
        script=FILTER,
    )


def _search(rows: Sequence[TrustRow]) -> str:
    """Return the form that filters by text and owner; the script shows it."""
    owners = sorted({owner for row in rows for owner in row.owners})
    choices = "".join(f'<option value="{escape(owner)}">{escape(owner)}</option>' for owner in owners)
    return (
        '<form id="find" role="search" hidden><input id="text" type="search" aria-label="Search" '
        'placeholder="Search flags, checks, sentences"><select id="owner" aria-label="Owner">'
        f'<option value="">All owners</option>{choices}</select><output id="shown"></output></form>'
    )


def _chip(standing: Standing, count: int) -> str:
    mark, name, _ = STANDINGS[standing]
    return chip(standing, standing, f"{mark} {count}", name.lower())


def _section(
    standing: Standing, rows: Sequence[TrustRow], iterations: Mapping[FlagId, Sequence[TrustRow]]
) -> str:
    _, name, meaning = STANDINGS[standing]
    cards = "".join(_card(row, iterations[row.flag]) for row in rows)
    return section(standing, name, meaning, cards)


def _name_id(row: TrustRow, iterations: Sequence[TrustRow]) -> str:
    """Return the fragment of a row: of the newest iteration the flag's."""
    return anchor(row.flag) + ("" if row is iterations[0] else f"@{row.iteration_start:%Y-%m-%dT%H}")


def _card(row: TrustRow, iterations: Sequence[TrustRow]) -> str:
    mark, name, _ = STANDINGS[row.standing]
    place = " / ".join(part for part in (row.flag.namespace, row.flag.environment) if part)
    name_id = _name_id(row, iterations)
    picture = f'<figure><img src="{as_data_uri(row.picture)}" alt=""></figure>' if row.picture else ""
    others = ", ".join(
        f'<a href="#{_name_id(other, iterations)}">{other.iteration_start:%Y-%m-%d}</a>'
        for other in iterations
        if other is not row
    )
    known = [*_facts(row), *([("Other iterations", others)] if others else [])]
    facts = "".join(f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in known)
    owners = escape("\n".join(row.owners))
    return (
        f'<article id="{name_id}" class="{row.standing}" data-owners="{owners}"><h3>'
        f'<span class="mark" title="{name}">{mark}</span> '
        f'<a href="#{name_id}">{escape(row.flag.key)}</a> <small>{escape(place)}</small></h3>'
        f"<p>{escape(row.sentence)}</p>{picture}<dl>{facts}</dl></article>"
    )


def _facts(row: TrustRow) -> list[tuple[str, str]]:
    """Return (name, HTML) of further facts."""
    waived = f"by {escape(row.waived_by)}" if row.waived_by else ""
    if row.waived_until:
        waived += f" until {shown_time(row.waived_until)}"
    facts = (
        ("Since", shown_time(row.since) if row.since != row.audited_through else ""),
        ("Usable until", _usable(row)),
        ("Usable without", escape(", ".join(row.usable_without))),
        ("Audited through", shown_time(row.audited_through)),
        ("Failing checks", escape(", ".join(row.failing))),
        ("Fleet", "among the discoveries of the fleet (e-BH)" if row.discovery else ""),
        ("Assignment shared with", escape(", ".join(row.collides_with))),
        ("Reports with other units", escape(", ".join(row.off_reports))),
        ("Waived", waived),
        ("Mode", "" if row.mode == "block" else row.mode),
        ("Iteration began", shown_time(row.iteration_start)),
        ("Owners", escape(", ".join(row.owners))),
        ("Checks", _link(row.asset_url)),
        ("Run", _link(row.run_url)),
    )
    return [(what, value) for what, value in facts if value]


def _usable(row: TrustRow) -> str:
    nothing = row.usable_until is not None and row.usable_until <= row.iteration_start
    return "no hour is usable" if nothing else shown_time(row.usable_until)


def _link(url: str) -> str:
    """Link to Dagster; anything but http, https or a path of this host stays plain text."""
    if url.startswith(("https://", "http://", "/")):
        return f'<a href="{escape(url)}" rel="noreferrer">open in Dagster</a>'
    return escape(url)


FILTER = """
const find = document.getElementById('find');
if (find) {
  const text = document.getElementById('text'), owner = document.getElementById('owner');
  const cards = [...document.querySelectorAll('article')].map(
    card => ({card, words: card.textContent.toLowerCase(), owners: card.dataset.owners.split('\\n')}));
  const filter = () => {
    const words = text.value.toLowerCase().split(/\\s+/);
    let shown = 0;
    for (const each of cards) {
      const fits = words.every(word => each.words.includes(word))
        && (!owner.value || each.owners.includes(owner.value));
      each.card.hidden = !fits;
      shown += fits;
    }
    for (const section of document.querySelectorAll('section'))
      section.hidden = !section.querySelector('article:not([hidden])');
    document.getElementById('shown').value = `${shown} of ${cards.length}`;
    const query = new URLSearchParams();
    if (text.value) query.set('q', text.value);
    if (owner.value) query.set('owner', owner.value);
    try {
      history.replaceState(null, '', (query.size ? '?' + query : location.pathname) + location.hash);
    } catch { /* a page opened from a mail or a sandbox has no history to write */ }
  };
  const given = new URLSearchParams(location.search);
  text.value = given.get('q') || '';
  owner.value = given.get('owner') || '';
  if (owner.selectedIndex < 0) owner.value = '';
  find.hidden = false;
  find.addEventListener('input', filter);
  find.addEventListener('submit', event => event.preventDefault());
  filter();
}
"""
"""Filters the cards by text and owner, and keeps both in the address: a view can be sent as a link."""
