"""Format the metadata of a check as short text; any key may be missing."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import exp, fsum
from typing import Any

from exd_dagster.alerts.messages.text import clip_name, visible
from exd_dagster.alerts.model import Facts, change_hour, instant
from exd_dagster.stats.checks import check_of

_SMALLEST = 1e-300
NAME = 60
"""Characters shown of a variant's name."""


def utc(at: datetime) -> str:
    """Return an instant as text, in UTC."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def short_utc(at: datetime) -> str:
    """Return an instant for a headline, without its year: "4 Mar 14:00 UTC"."""
    return f"{at.day} {at:%b %H:%M} UTC"


def duration(span: timedelta) -> str:
    """Return a duration as text: minutes, hours, then days."""
    minutes = max(span / timedelta(minutes=1), 0)
    if minutes < 90:
        return count(round(minutes), "minute")
    return count(round(minutes / 60), "hour") if minutes < 48 * 60 else count(round(minutes / 1440), "day")


def count(number: int, noun: str) -> str:
    """Return "1 flag" or "2 flags"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(names: Sequence[str], most: int, joint: str = ", ") -> str:
    """Return the first names and how many more there are: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return joint.join(names[:most]) + more


def cut(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines, and one that says how many more there are."""
    return [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]


def number(value: object) -> float | None:
    """Return a fact as a number; None when it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def probability(value: object) -> str:
    """Return a p-value as text; one too small to store reads "< 1e-300"."""
    p = number(value)
    if p is None:
        return "unknown"
    if p < _SMALLEST:
        return "< 1e-300"
    return f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def percent(share: float) -> str:
    """Return a share as a percentage with enough digits to differ from the other share."""
    text = f"{100 * share:.1f}"
    return (text[:-2] if text.endswith(".0") else text) + "%"


def counts(value: object) -> dict[str, float]:
    """Return the numbers of a mapping by variant; nothing where it is none."""
    if not isinstance(value, Mapping):
        return {}
    return {str(k): float(v) for k, v in value.items() if number(v) is not None}


def shares(value: object) -> dict[str, float]:
    """Return counts or shares by variant as shares that sum to 1."""
    units = counts(value)
    total = fsum(units.values())
    return {variant: number / total for variant, number in units.items()} if total > 0 else {}


def remembered(facts: Facts) -> bool:
    """True when a verdict is based on an earlier look, whose numbers the facts also contain."""
    return bool(facts.get("remembered") and facts.get("failed_observed"))


def failed_facts(facts: Facts) -> Facts:
    """Return the facts with the numbers that the verdict was made from in place of today's."""
    if not remembered(facts):
        return facts
    then = {name: facts.get(f"failed_{name}") for name in ("observed", "expected", "n")}
    return {**facts, **then}


def split_header(facts: Facts) -> tuple[str, ...]:
    """Return the columns of `split_rows`: when it failed, and now, where the two differ."""
    if not remembered(facts):
        return ("variant", "declared", "observed", "units")
    at = instant(facts.get("detected_at"))
    return ("variant", "declared", f"by {utc(at)}" if at else "when it failed", "units", "now", "units now")


def split_rows(facts: Facts) -> tuple[tuple[str, ...], ...]:
    """Return a row for each variant as `split_header` names its columns, or nothing without a split."""
    rows = _split_rows(failed_facts(facts))
    if not remembered(facts):
        return rows
    now = {row[0]: row[2:] for row in _split_rows(facts)}
    return tuple((*row, *now.get(row[0], ("", ""))) for row in rows)


def _split_rows(facts: Facts) -> tuple[tuple[str, ...], ...]:
    declared, observed = shares(facts.get("expected")), shares(facts.get("observed"))
    units = counts(facts.get("observed"))
    if not observed:
        return ()
    return tuple(
        (
            clip_name(visible(variant), NAME),
            percent(declared[variant]) if variant in declared else "not declared",
            percent(observed.get(variant, 0.0)),
            f"{units.get(variant, 0):,.0f}",
        )
        for variant in dict.fromkeys([*declared, *observed])
    )


def key_fact(check: str, facts: Facts) -> str:
    """Return the one number a headline needs."""
    evidence = check_of(check).evidence
    if evidence == "traffic":
        latest, expected = number(facts.get("latest_volume")), number(facts.get("expected_volume"))
        if latest is not None and expected:
            return f"{percent(latest / expected)} of the expected volume"
        return "volume far below expected"
    if evidence != "split":
        return visible(str(facts.get("headline") or "")) or str(facts.get("reason") or "it fails").replace(
            "_", " "
        )
    then = failed_facts(facts)
    declared, observed = shares(then.get("expected")), shares(then.get("observed"))
    if declared and observed:
        return furthest(declared, observed)
    since = change_hour(facts) or instant(facts.get("bad_from"))
    return f"the split is off since {utc(since)}" if since else "the split is off"


def furthest(declared: Mapping[str, float], observed: Mapping[str, float]) -> str:
    """Return the share of the variant furthest from what was declared, beside it; of equals the last."""
    excess = {v: abs(observed.get(v, 0.0) - declared.get(v, 0.0)) for v in (*declared, *observed)}
    worst = max(reversed(excess), key=lambda variant: round(excess[variant], 9))
    got, wanted = percent(observed.get(worst, 0)), percent(declared.get(worst, 0))
    return f"{clip_name(visible(worst), 24)} {got} vs {wanted} expected"


def statistics(facts: Facts) -> list[tuple[str, str]]:
    """Return how sure the verdict is: p or e-value, statistic and sample size, as (label, value)."""
    lines = _when_it_failed(facts)
    now = " now" if lines else ""
    p = facts.get("anytime_p_value", facts.get("p_value"))
    if number(p) is not None:
        label = "p" if "anytime_p_value" in facts else f"p{now}"
        lines.append((label, probability(p) + _limit(facts)))
    log_e = number(facts.get("log_e_value"))
    if log_e is not None:
        lines.append(("Evidence", f"{_times(log_e)} to 1 against the declared split"))
    for label, name, digits in (
        (f"chi-square{now}", "chi_square", 1),
        (f"z{now}", "z_score", 1),
        (f"n{now}", "n", 0),
        ("Volume", "latest_volume", 0),
        ("Expected", "expected_volume", 0),
    ):
        if (value := number(facts.get(name))) is not None:
            lines.append((label, f"{value:,.{digits}f}"))
    since = change_hour(facts)
    if since:
        lines.append(("Changed about", utc(since)))
    if facts.get("code"):
        lines.append(("Code", str(facts["code"])))
    return lines


def _when_it_failed(facts: Facts) -> list[tuple[str, str]]:
    """Return the numbers of the look a verdict is based on; empty if it is based on today's."""
    at = instant(facts.get("detected_at"))
    if not remembered(facts) or at is None:
        return []
    lines = [("Failed at", utc(at)), ("n then", f"{number(facts.get('failed_n')) or 0:,.0f}")]
    p, limit = facts.get("failed_p_value"), number(facts.get("blocking_level"))
    if number(p) is not None:
        lines.append(("p then", probability(p) + (f" (limit {limit:.2g})" if limit is not None else "")))
    return lines


def _limit(facts: Facts) -> str:
    threshold = number(facts.get("threshold", facts.get("alpha")))
    return f" (limit {threshold:g})" if threshold is not None else ""


def _times(log_e: float) -> str:
    return f"{exp(log_e):,.0f}" if log_e < 14 else f"10^{log_e / 2.302585:.0f}"


def bad_hours(facts: Facts) -> str:
    """Return the number of bad hours as text: "12 bad hours remain"."""
    start, end = instant(facts.get("bad_from")), instant(facts.get("bad_until"))
    if start is None or end is None:
        return "the bad hours remain"
    hours = max(round((end - start) / timedelta(hours=1)), 1)
    return f"{count(hours, 'bad hour')} remain{'s' if hours == 1 else ''}"


def causes(facts: Facts) -> Sequence[str]:
    """Return the likely causes that the check found in the data, as sentences."""
    listed: Any = facts.get("causes") or ()
    if not isinstance(listed, (list, tuple)):
        return ()
    sentences = [item.get("sentence", "") if isinstance(item, Mapping) else str(item) for item in listed]
    return [sentence for sentence in sentences if sentence][:5]
