"""Segment SRM: did the split break in one segment, while the flag as a whole hardly changed?

Every value of every dimension is tested on its own, at every closed hour; `evidence` says how the error
rate of all together is limited to alpha. Among failing segments, the one with the largest e-value is named.
The rest of its dimension is then tested without the segments that fail: where it agrees, and is so large that
the same fault would show, the flag is usable without them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from exd_dagster.bins.model import HOUR, OTHER, FlagBins, FlagSegments
from exd_dagster.config import FlagAudit
from exd_dagster.stats import words
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.inputs import Floats, Integers
from exd_dagster.stats.methods.change_point import ChangePoint, find_change
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.methods.intervals import confidence_sequence
from exd_dagster.stats.segments.evidence import Evidence, gather
from exd_dagster.stats.segments.verdict import SegmentRow, SegmentSrmVerdict
from exd_dagster.stats.window import Window, counted, split_window, tested_counts

CHECK = "segment_srm"
ALPHA = 0.001
ROWS = 12
"""Segments reported in full."""
SHOWS = 2
"""A fault shows in units whose expected evidence of it is so many times what a failure takes."""


def segment_srm(
    flag: FlagAudit,
    bins: FlagBins,
    segments: FlagSegments,
    alpha: float = ALPHA,
    carried: Carried | None = None,
) -> SegmentSrmVerdict:
    """Test the split of every segment of a flag.

    Args:
        flag: who is counted, and the declared split with its phases.
        bins: the flag's closed hourly bins.
        segments: the same units by segment.
        alpha: probability that any segment of a healthy flag ever fails.
        carried: states of earlier evaluations to go on from; None: every hour is evaluated.

    Returns:
        The verdict: pass, fail (severity WARN), insufficient while no segment has enough units, skipped
        without a split or a dimension.
    """
    closed = counted(flag, bins)
    window = split_window(flag, closed)
    dimensions = tuple(dict.fromkeys(segment.dimension for segment in segments.segments))
    common: dict[str, Any] = {"check": CHECK, "alpha": alpha, "dimensions": dimensions}
    if not any((period.shares > 0).sum() > 1 for period in window.periods):
        return SegmentSrmVerdict(verdict="skipped", reason="no_split", sentence=_NO_SPLIT, **common)
    if not dimensions:
        return SegmentSrmVerdict(verdict="skipped", reason="no_dimension", sentence=_NO_DIMENSION, **common)
    current = segments.between(window.start, closed.audited_through)
    counts = tested_counts(flag, closed, current)
    states = carried and carried.of(CHECK)
    evidence = gather(current.segments, counts, window.periods, alpha, ROWS, states)
    common |= {
        "audited_through": closed.audited_through,
        "iteration_start": window.start,
        "segments_tested": len(evidence.segments),
    }
    if not evidence.segments:
        return SegmentSrmVerdict(verdict="insufficient", reason="few_units", sentence=_FEW, **common)
    crossings = evidence.crossings(alpha)
    common["max_log_e_value"] = float(evidence.weighted.max())
    if (crossings == len(window.counts)).all():
        sentence = (
            f"Split as declared in each of {words.number(len(evidence.segments))} segments, by "
            f"{', '.join(dimensions)}."
        )
        shown = window.names[int(np.flatnonzero(window.periods[-1].shares > 0)[-1])]
        rows = _rows(evidence, window, crossings, shown)
        return SegmentSrmVerdict(
            verdict="pass",
            reason="split_as_declared",
            sentence=sentence,
            variant=shown,
            rows=rows,
            **common,
        )
    return _failure(SegmentSrmVerdict(verdict="fail", severity="WARN", **common), evidence, window, crossings)


_NO_SPLIT = "Skipped: no split of two variants is declared; add split={...} to test it."
_NO_DIMENSION = (
    "Skipped: no segment is known; name record columns with dimensions=[...], and materialize the bins again."
)
_FEW = "Too few units yet: no two segments of a dimension have enough."


def _failure(
    verdict: SegmentSrmVerdict, evidence: Evidence, window: Window, crossings: Integers
) -> SegmentSrmVerdict:
    failed = np.flatnonzero(crossings < len(window.counts))
    largest = evidence.log_e_values.max(axis=1)
    order = sorted(failed.tolist(), key=lambda i: -largest[i])
    apart = _apart(evidence, window, order, verdict.alpha)
    named = apart[0] if apart else order[0]
    inside = evidence.counts[named]
    change = find_change(inside, window.periods, window.names, int(crossings[named])).at(window.start, HOUR)
    hours = slice(change.bin, len(inside) if change.until is None else change.until)
    numbers = _numbers(inside[hours], evidence.outside[named][hours], change, window)
    segment = evidence.segments[named]
    rows = _rows(evidence, window, crossings, numbers["variant"])
    verdict = replace(
        verdict,
        reason="segment_mismatch" if apart else "mismatch_beyond_segment",
        state="ongoing" if change.until is None else "contained",
        bad_from=window.instant(change.bin),
        bad_until=None if change.until is None else window.instant(change.until),
        usable_until=window.instant(change.earliest + _empty_hours(inside[change.earliest : change.bin])),
        segment=str(segment),
        dimension=segment.dimension,
        value=segment.value,
        usable_without=tuple(str(evidence.segments[i]) for i in apart),
        failing=tuple(str(evidence.segments[i]) for i in order),
        first_crossing=int(crossings.min()),
        detected_at=window.instant(int(crossings.min()) + 1),
        change=change,
        rows=rows,
        **numbers,
    )
    return replace(verdict, sentence=_sentence(verdict))


def _apart(evidence: Evidence, window: Window, order: Sequence[int], alpha: float) -> list[int]:
    """Return failing segments of one dimension without which its other units have the declared split."""
    # The others must be so many in the hours at fault that the same fault would show in them. Dimensions
    # are tried in order of their strongest evidence; the segments in the same order.
    for dimension in dict.fromkeys(evidence.segments[i].dimension for i in order):
        failing = [i for i in order if evidence.segments[i].dimension == dimension]
        # the rest of a dimension shares units with values that were admitted later
        failing = [i for i in failing if evidence.segments[i].value != OTHER] or failing
        rest = evidence.counts[failing[0]] + evidence.outside[failing[0]]
        rest = rest - evidence.counts[failing].sum(axis=0)
        if log_e_values(rest, window.periods).max() >= -np.log(alpha):
            continue
        crossing = int(evidence.crossings(alpha)[failing[0]])
        change = find_change(evidence.counts[failing[0]], window.periods, window.names, crossing)
        if rest[change.bin : change.until].sum() * _divergence(change) >= -SHOWS * np.log(alpha):
            return failing
    return []


def _divergence(change: ChangePoint) -> float:
    """Return the expected log likelihood ratio of one unit of the fault: its Kullback-Leibler divergence."""
    after, declared = (np.array([*shares.values()]) for shares in (change.after, change.declared))
    seen = after > 0
    return float((after[seen] * np.log(after[seen] / np.maximum(declared[seen], 1e-12))).sum())


def _empty_hours(counts: Floats) -> int:
    """Return after how many hours the first unit came: in hours without units nothing was at fault."""
    units = counts.sum(axis=1) > 0
    return int(units.argmax()) if units.any() else len(counts)


def _numbers(inside: Floats, outside: Floats, change: ChangePoint, window: Window) -> dict[str, Any]:
    """Return the variant that is furthest from its declared share in the fault, and its shares."""
    name = change.furthest
    column = window.names.index(name)
    elsewhere = float(outside.sum())
    return {
        "variant": name,
        "share": change.after[name],
        "declared_share": change.declared[name],
        "outside_share": float(outside[:, column].sum()) / elsewhere if elsewhere else None,
        "units": int(inside.sum()),
        "unit_share": float(inside.sum() / max(inside.sum() + elsewhere, 1)),
    }


def _sentence(verdict: SegmentSrmVerdict) -> str:
    seen, wanted = words.against(verdict.share or 0.0, verdict.declared_share or 0.0)
    only = "Only " if len(verdict.usable_without) == 1 else ""
    elsewhere = "" if verdict.outside_share is None else f", elsewhere {words.percent(verdict.outside_share)}"
    head = (
        f"{only}{verdict.segment}: {verdict.variant} {seen} of {words.number(verdict.units or 0)} units "
        f"{_when(verdict)}, {wanted} declared{elsewhere}; "
        f"{words.percent(verdict.unit_share or 0.0, 2)} of the flag's units"
    )
    if not verdict.usable_without:
        return f"{head}; the rest of the flag is off too, or too small to tell."
    named = list(verdict.usable_without[:3])
    if more := len(verdict.usable_without) - len(named):
        named.append(f"{more} more")
    return f"{head}; usable without {' and '.join(named)}."


def _when(verdict: SegmentSrmVerdict) -> str:
    since = words.instant(verdict.bad_from) if verdict.bad_from else ""
    if verdict.bad_until is not None:
        return f"from {since} to {words.instant(verdict.bad_until)}"
    return f"since about {since}" if verdict.change and verdict.change.bin else "from the start"


def _rows(evidence: Evidence, window: Window, crossings: Integers, variant: str) -> tuple[SegmentRow, ...]:
    """Return the failing segments, the strongest first, then the largest others."""
    column = window.names.index(variant)
    failed = crossings < evidence.log_e_values.shape[1]
    units, largest = evidence.counts.sum(axis=(1, 2)), evidence.log_e_values.max(axis=1)
    order = sorted(range(len(units)), key=lambda i: (not failed[i], -largest[i] if failed[i] else -units[i]))
    weighted = evidence.weighted.max(axis=1)
    return tuple(
        _row(evidence, window, i, column, int(crossings[i]) if failed[i] else None, float(weighted[i]))
        for i in order[:ROWS]
    )


def _row(
    evidence: Evidence, window: Window, i: int, column: int, crossing: int | None, log_e_value: float
) -> SegmentRow:
    """Return one segment: since its fault, or else in the newest phase."""
    counts, segment = evidence.counts[i], evidence.segments[i]
    newest = [period for period in window.periods if period.first < len(counts)][-1]
    shown, shares, change = counts[newest.first :], newest.shares, None
    if crossing is not None:
        change = find_change(counts, window.periods, window.names, crossing)
        shown, shares = counts[change.bin : change.until], np.array([*change.declared.values()])
    units, active = shown.sum(axis=0), shares > 0
    low, high = 0.0, 1.0
    if active[column]:
        low, high = confidence_sequence(units[active], shares[active])[active[:column].sum()].tolist()
    return SegmentRow(
        dimension=segment.dimension,
        value=segment.value,
        units=int(counts.sum()),
        share=float(units[column] / max(units.sum(), 1)),
        declared=float(shares[column]),
        low=low,
        high=high,
        log_e_value=log_e_value,
        failed=change is not None,
        bad_from=None if change is None else window.instant(change.bin),
        bad_until=None if change is None or change.until is None else window.instant(change.until),
    )
