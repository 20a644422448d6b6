"""How numbers read in the sentence of a verdict."""

from collections.abc import Mapping
from datetime import datetime


def percent(share: float, digits: int = 3) -> str:
    """Write a share as a percentage: .473 -> "47.3 %"."""
    return f"{float(f'{100 * share:.{digits}g}'):g} %"


def against(observed: float, declared: float) -> tuple[str, str]:
    """Write two shares with just enough digits that they read differently."""
    wanted = percent(declared)
    for digits in (3, 4, 5, 6):
        seen = percent(observed, digits)
        if seen != wanted:
            break
    return seen, wanted


def p_value(p: float) -> str:
    """Write a p-value: "p = 0.03", "p = 2e-09", "p < 1e-10"."""
    return "p < 1e-10" if p < 1e-10 else f"p = {p:.2g}"


def number(value: float) -> str:
    """Write a count with thousands separated by commas."""
    return f"{value:,.0f}"


def stray(reason: str, units: Mapping[str, int], total: float) -> str:
    """Say which variants without a declared share got units, and how many of `total`."""
    name = max(units, key=lambda variant: (units[variant], variant))
    who = f"{name} and {len(units) - 1} more" if len(units) > 1 else name
    n = sum(units.values())
    got = f"{number(n)} units ({percent(n / total)})"
    if reason == "undeclared_variant":
        return f"Undeclared variant {who}: {got}; declare it, ignore it, or find what serves it."
    return f"Declared with 0 %, variant {who} got {got}; add a phase if intended, or find what serves it."


def instant(moment: datetime) -> str:
    """Write a UTC instant to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def hours(start: datetime, end: datetime | None) -> str:
    """Write from when to when (UTC), or since when where there is no end."""
    return f"since {instant(start)}" if end is None else f"from {instant(start)} to {instant(end)}"
