"""Within a segment at fault: is it all of it, or one value of a second dimension, "only 4.2.0 on Safari"?

Looked at once the segment has failed, and for the segment alone. It fails nothing: which value of which other
dimension differs from the rest of the segment is found by `likely_causes` (Benjamini and Hochberg at 5 % over
all values looked at, each compared with the rest of the segment). A dimension *explains* the fault where the
segment agrees with the declared split (p of the chi-square at least `AGREES`) without the values named, and
the units left would show the same fault: n times the Kullback-Leibler divergence of the fault is `SHOWS`
times -ln alpha.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from exd_dagster.bins.model import HOUR, OTHER
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Floats
from exd_dagster.stats.methods.chi_square import chi_square, upper_tail
from exd_dagster.stats.segments.verdict import SegmentSrmVerdict, Within
from exd_dagster.stats.srm.causes import Cause, Segments, likely_causes
from exd_dagster.stats.window import phase_hours

LONGEST = timedelta(hours=72)
"""The last so many hours of a fault are looked at."""
AGREES = 0.01
SHOWS = 2
MOST_CAUSES = 20


def hours_within(flag: FlagAudit, verdict: SegmentSrmVerdict) -> tuple[Phase, datetime, datetime] | None:
    """Return the hours of a failing segment to look into (UTC), and the phase that alone is served in them.

    None where nothing can be looked into: the segment is the rest of a dimension, or its hours are not known.
    """
    until = verdict.bad_until or verdict.audited_through
    if verdict.value in (None, OTHER) or verdict.bad_from is None or until is None:
        return None
    phase, first, _ = phase_hours(flag, until - HOUR, until)
    since = max(verdict.bad_from, until - LONGEST, first)
    return (phase, since, until) if since < until else None


def look_within(
    verdict: SegmentSrmVerdict, units: Segments, split: Mapping[str, float], since: datetime, until: datetime
) -> SegmentSrmVerdict:
    """Return the verdict on a failing segment, with what a second dimension says of it.

    Args:
        verdict: the failure.
        units: of the segment, by every other dimension, value and variant.
        split: declared share by variant.
        since: first hour of the units (UTC).
        until: end of them (UTC).
    """
    divided = {name: values for name, values in units.items() if len(values) > 1}
    looked = Within(
        dimensions=tuple(divided), values=sum(map(len, divided.values())), since=since, until=until
    )
    if not divided:
        what = f"no other dimension divides {verdict.segment}" if units else "its units are not in the log"
        return replace(verdict, within=replace(looked, sentence=f"Not looked into further: {what}."))
    causes = likely_causes(divided, split, limit=MOST_CAUSES)
    first = causes[0].dimension if causes else ""
    named = [cause for cause in causes if cause.dimension == first]
    shares = {name: share for name, share in split.items() if share > 0}
    for many in range(1, len(named) + 1):
        if _explains(divided[first], named[:many], shares, verdict.alpha):
            looked = replace(looked, named=tuple(named[:many]), explains=True)
            break
    else:
        looked = replace(looked, named=tuple(named[:1]))
    looked = replace(looked, sentence=_sentence(looked, str(verdict.segment)))
    return replace(verdict, within=looked, sentence=f"{verdict.sentence} {looked.sentence}")


def _explains(
    values: Mapping[str, Mapping[str, int]], named: list[Cause], split: Mapping[str, float], alpha: float
) -> bool:
    """Return whether the segment is as declared without these values, and the rest is enough to tell."""
    shares = np.array([*split.values()])

    def units(inside: bool) -> Floats:
        found = [
            [value.get(name, 0) for name in split]
            for text, value in values.items()
            if (text in {cause.value for cause in named}) == inside
        ]
        return np.asarray(np.array(found, dtype=np.float64).reshape(-1, len(shares)).sum(axis=0))

    faulty, rest = units(inside=True), units(inside=False)
    after = faulty / max(faulty.sum(), 1)
    seen = after > 0
    divergence = float((after[seen] * np.log(after[seen] / shares[seen])).sum())
    p = float(upper_tail(chi_square(rest, shares), max(len(shares) - 1, 1)))
    return p >= AGREES and rest.sum() * divergence >= -SHOWS * np.log(alpha)


def _sentence(looked: Within, segment: str) -> str:
    by = ", ".join(looked.dimensions)
    searched = f"exploratory, {looked.values} values of {by} compared"
    if not looked.named:
        return f"Within it no value of {by} stands out: it is all of {segment} (exploratory)."
    first = looked.named[0]
    names = " and ".join(f"{cause.dimension} = {cause.value}" for cause in looked.named[:3])
    names += f" and {len(looked.named) - 3} more" if len(looked.named) > 3 else ""
    seen, other = words.against(first.share, first.rest_share)
    if looked.explains:
        return (
            f"Within it only {names}: {first.variant} {seen} of {words.number(first.units)} units, "
            f"elsewhere in it {other} ({searched})."
        )
    return (
        f"Within it most at {names}: {first.variant} {seen} of {words.number(first.units)} units, elsewhere "
        f"in it {other}, which is off too or too small to tell ({searched})."
    )
