"""The frame and the style of pages: one HTML file without external requests, for phone and print."""

from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from html import escape


def html_page(
    title: str,
    sections: str,
    *,
    chips: str,
    written_at: datetime,
    search: str = "",
    script: str = "",
    style: str = "",
) -> str:
    """Return the whole page; only its own script may run.

    Args:
        title: heading, as text.
        sections: HTML of the body.
        chips: HTML of what stands under the heading.
        written_at: when the page was made (UTC).
        search: HTML of a form next to the chips.
        script: JavaScript.
        style: further CSS.
    """
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return _PAGE.format(
        title=escape(title),
        style=_STYLE + style,
        chips=chips,
        search=search,
        sections=sections,
        written=shown_time(written_at),
        script=f"<script>{script}</script>\n" if script else "",
        script_src=f"; script-src 'sha256-{digest}'" if script else "",
    )


def section(name: str, heading: str, meaning: str, body: str) -> str:
    """Return a section of a page; all but its body is plain text of our own."""
    return f'<section id="{name}"><h2>{heading}</h2><p>{meaning}</p>{body}</section>'


def chip(tone: str, name: str, number: str, what: str) -> str:
    """Return a number that stands under the heading and leads to the section `name`."""
    return f'<a class="chip {tone}" href="#{name}"><b>{number}</b> {what}</a>'


def shown_time(instant: datetime | None) -> str:
    """Return an instant (UTC) as HTML, "" for none."""
    if instant is None:
        return ""
    return f'<time datetime="{instant:%Y-%m-%dT%H:%MZ}">{instant:%Y-%m-%d %H:%M} UTC</time>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{script_src}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><nav>{chips}</nav>{search}</header>
<main>{sections}</main>
<footer>Written {written} by exd_dagster.</footer>
{script}</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; --soft: #5f6770;
  --rule: #dfe3e8; --bad: #c62a2f; --unsure: #6b5bd0; --warn: #9a5b00; --good: #18794e; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1117; --card: #181b22; --ink: #e6e8eb;
  --soft: #9aa2ac; --rule: #2b3038; --bad: #ff7b7f; --unsure: #a99cff; --warn: #f0a742; --good: #4cc38a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem clamp(1rem, 4vw, 2.5rem); background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .75rem; font-size: 1.6rem; letter-spacing: -.01em; }
h2 { margin: 2.25rem 0 0; font-size: 1.15rem; }
h2 + p { margin: .1rem 0 1rem; color: var(--soft); }
h3 { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere; }
h3 a { color: inherit; text-decoration: none; }
h3 small { color: var(--soft); font-weight: 400; }
a { color: inherit; }
nav { display: flex; flex-wrap: wrap; gap: .5rem; }
form { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; margin-top: 1rem; }
[hidden] { display: none !important; }
input, select { min-width: 0; max-width: 100%; padding: .4rem .7rem; border: 1px solid var(--rule);
  border-radius: .5rem; background: var(--card); color: var(--ink); font: inherit; }
input { flex: 1 1 14rem; }
output { color: var(--soft); font-size: .85rem; }
.chip { padding: .25rem .75rem; border: 1px solid var(--tone); border-radius: 99rem; color: var(--tone);
  text-decoration: none; }
.not-trusted { --tone: var(--bad); } .not-checked { --tone: var(--unsure); }
.waived, .warning { --tone: var(--warn); } .trusted { --tone: var(--good); }
article { margin: .75rem 0; padding: 1rem 1.25rem; border: 1px solid var(--rule);
  border-left: 4px solid var(--tone); border-radius: .5rem; background: var(--card); break-inside: avoid; }
article.trusted { content-visibility: auto; contain-intrinsic-size: auto 12rem; } /* the many */
article:target { outline: 2px solid var(--tone); }
article > p { margin: .35rem 0 .6rem; overflow-wrap: anywhere; }
.mark { color: var(--tone); font-weight: 700; }
figure { margin: .5rem 0 .75rem; overflow-x: auto; direction: rtl; } /* newest hours in view */
img { display: block; margin-right: auto; width: 640px; max-width: max(100%, 30rem); height: auto; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .5rem 1.25rem;
  margin: 0; }
@media (min-width: 40rem) { dl { grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); } }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: .95rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #bbb; --bad: #a00;
  --unsure: #43a; --warn: #740; --good: #063; } body { padding: 0; max-width: none; font-size: .85rem; }
  form { display: none; } article.trusted { content-visibility: visible; } }
"""
