"""Draw a message's Block Kit blocks as Slack shows them, for a picture in the documentation."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
body { margin: 0; padding: 16px 20px; color: #1d1c1d;
  font: 15px/1.46 Lato, "Helvetica Neue", Arial, "Noto Color Emoji", sans-serif; }
.who { display: flex; gap: 8px; align-items: baseline; margin-bottom: 4px; } .who b { font-weight: 900; }
.app { padding: 0 3px; border-radius: 2px; background: #ddd; color: #616061; font: 700 10px Arial; }
h2 { margin: 4px 0 8px; font-size: 18px; } p { margin: 6px 0; white-space: pre-wrap; }
pre { margin: 6px 0; padding: 8px; border: 1px solid #ddd; border-radius: 4px; background: #f8f8f8; }
button { margin: 4px 8px 4px 0; padding: 6px 12px; border: 1px solid #bbb; border-radius: 4px;
  background: #fff; font: inherit; font-weight: 700; }
small { color: #616061; }
"""


def slack_html(blocks: Iterable[Mapping[str, Any]]) -> str:
    """Return an HTML page with the blocks of one message; only the kinds that alerts use."""
    who = '<div class="who"><b>exd_dagster</b><span class="app">APP</span></div>'
    body = who + "".join(map(_block, blocks))
    return f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style><body>{body}</body>'


def _block(block: Mapping[str, Any]) -> str:
    if block["type"] == "header":
        return f"<h2>{_shown(block['text'])}</h2>"
    if block["type"] == "actions":
        return "".join(f"<button>{_shown(button['text'])}</button>" for button in block["elements"])
    if block["type"] == "context":
        return f"<p><small>{_shown(block['elements'][0])}</small></p>"
    text = block["text"]["text"]
    if text.startswith("```"):
        return f"<pre>{text.strip('`').strip()}</pre>"
    if block["text"]["type"] == "mrkdwn":
        links = [part.strip("<>").split("|") for part in text.split(" · ")]
        return "<p>" + " · ".join(f'<a href="{escape(url)}">{label}</a>' for url, label in links) + "</p>"
    return f"<p>{text}</p>"


def _shown(text: Mapping[str, Any]) -> str:
    """The text of a block is escaped already, as Slack wants it."""
    return str(text["text"])
