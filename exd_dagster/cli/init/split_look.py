"""The report of `init` on observed splits: suggestions, deviations, flags left out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from exd_dagster.alerts.messages.text import clip_name, visible
from exd_dagster.cli.survey import SeenFlag
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Floats
from exd_dagster.stats.srm.plausible_split import plausible_split

FEW = 10
"""A flag with fewer units is not written by default."""
_NAMED = 5
_NAME = 40
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SplitLook:
    """What was seen of one flag's split.

    Attributes:
        split: share by variant that may have been declared.
        seen: of what that was taken, in a few words.
        remarks: what does not agree with it, one sentence each.
    """

    split: Mapping[str, float]
    seen: str
    remarks: tuple[str, ...]


def look_at_split(start: datetime, names: Sequence[str], counts: Floats) -> SplitLook:
    """Suggest a split, and report what disagrees with it in the log.

    Args:
        start: first hour (UTC).
        names: V variants.
        counts: float (T, V), units by hour of their first exposure.
    """
    found = plausible_split(counts, names)

    def at(hour: int) -> str:
        return words.instant(start + _HOUR * hour)

    first, end, shares = found.periods[found.held]
    kept = [list(names).index(name) for name in found.split]
    units = counts[first:end, kept].sum()
    seen = f"seen {' / '.join(f'{100 * share:.1f}' for share in shares.values())} % of {units:,.0f} units"
    said = [f"{shown(name)}: no unit since {at(hour)}" for name, hour in found.absent.items()]
    said += [f"{shown(name)}: no unit before {at(hour)}" for name, hour in found.late.items()]
    if len(found.periods) > 1:
        seen += f" from {at(first)} to {at(end)}"
        parts = "; ".join(f"{in_words(part)} until {at(last)}" for _, last, part in found.periods[:_NAMED])
        said.append(f"the split changed: {parts}; declare phases= if that was meant")
    said += [
        f"{shown(name)}: {words.percent(share, 2)} of the units, not in the split; a typo, or a default?"
        for name, share in found.rare.items()
    ]
    if not found.usual:
        said.append(f"no usual split is near {in_words(shares)}; declare the one that was configured")
    return SplitLook(found.split, seen, tuple(said))


def shown(name: str) -> str:
    """Return the name of a flag or variant for the terminal, at most 40 characters."""
    return clip_name(visible(name), _NAME)


def in_words(shares: Mapping[str, float]) -> str:
    """Return shares by variant as text."""
    return ", ".join(f"{shown(name)} {words.percent(share)}" for name, share in shares.items())


def remarks(flags: Sequence[SeenFlag], looks: Sequence[SplitLook]) -> list[str]:
    """Return what to check before a split is confirmed, as text."""
    lines = [
        f"  {shown(flag.key)}: {remark}"
        for flag, look in zip(flags, looks, strict=True)
        for remark in look.remarks
    ]
    advice = "A split suggested from a log cannot disagree with it: compare it with the configuration."
    return [*(["Check these before you confirm a split:", *lines] if lines else []), advice, ""]


def why_left_out(flag: SeenFlag) -> str:
    """Return why a flag is not written by default; "" for none."""
    if not flag.total:
        return "no record names a unit"
    if flag.total < FEW:
        return f"fewer than {FEW} units"
    return "one variant only" if len(flag.units) < 2 else ""


def left_out(seen: Sequence[SeenFlag], listed: Sequence[SeenFlag]) -> list[str]:
    """Return which flags of the log are not in the file, by reason, for the terminal."""
    reasons: dict[str, list[str]] = defaultdict(list)
    keys = {(flag.namespace, flag.key) for flag in listed}
    for flag in seen:
        if flag in listed:
            continue
        elsewhere = "has more units in another environment" if (flag.namespace, flag.key) in keys else ""
        reasons[elsewhere or why_left_out(flag) or "fewer units than those listed"].append(shown(str(flag)))
    lines = [
        f"  {len(names)}, {why}: {', '.join(names[:_NAMED])}" + (", ..." if len(names) > _NAMED else "")
        for why, names in reasons.items()
    ]
    return ["Left out of the file (--flag KEY lists one):", *lines, ""] if lines else []
