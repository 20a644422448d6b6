"""Foreign text made harmless: what flags and variants are called never becomes markup or a header."""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_BLANK = re.compile(r"\s+")


def visible(text: object) -> str:
    """Return one line of text: blanks collapsed, control and direction characters shown by their code."""
    joined = _BLANK.sub(" ", str(text)).strip()
    return "".join(_shown(char) for char in joined)


def _shown(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def clip(text: str, limit: int) -> str:
    """Cut to at most `limit` characters, never within a combining sequence, with an ellipsis."""
    if len(text) <= limit:
        return text
    cut = limit - 1
    while cut > 0 and unicodedata.combining(text[cut]):
        cut -= 1
    return text[:cut].rstrip() + "…"


def clip_name(name: str, limit: int = 100) -> str:
    """Shorten a name to at most `limit` characters and keep its end, where generated names differ."""
    if len(name) <= limit:
        return name
    end = len(name) - limit // 3
    while end < len(name) and unicodedata.combining(name[end]):
        end += 1
    return clip(name, limit - limit // 3) + name[end:]


def slack_escape(text: str) -> str:
    """Escape the three characters Slack gives a meaning to; `<!channel>` becomes plain text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
