"""The one path from bins to verdicts: what the Dagster checks, the CLI and LiveMonitor all call."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import FlagAudit, Thresholds, floor_hour
from exd_dagster.errors import ExdError, InputError
from exd_dagster.stats import words
from exd_dagster.stats.dead_arms import with_dead_arms
from exd_dagster.stats.methods.change_point import ChangePoint, find_change
from exd_dagster.stats.methods.chi_square import expected_counts
from exd_dagster.stats.sequential.sequential import DEFAULT_ALPHA, SequentialSrmVerdict, judge_sequence
from exd_dagster.stats.srm.looks import Look, first_failed_look, look_levels
from exd_dagster.stats.srm.srm import (
    STRAY_REASONS,
    FailedLook,
    Sample,
    SrmVerdict,
    fit,
    judge,
    too_many_stray,
)
from exd_dagster.stats.traffic.declared import declared_hours
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test
from exd_dagster.stats.verdict import NEVER_COUNTED, Verdict
from exd_dagster.stats.window import Window, counted, split_window

V = TypeVar("V", bound=Verdict)
S = TypeVar("S", SrmVerdict, SequentialSrmVerdict)

RECENT = 24
"""Hours within which a variant without a share counts as still being served."""


@dataclass(frozen=True, slots=True)
class FlagVerdicts:
    """The three verdicts of one flag, in the order they are told."""

    srm: SrmVerdict
    sequential_srm: SequentialSrmVerdict
    traffic_drop: TrafficVerdict

    def __iter__(self) -> Iterator[Verdict]:
        return iter((self.srm, self.sequential_srm, self.traffic_drop))

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Verdicts that failed, of either severity."""
        return tuple(verdict for verdict in self if verdict.failed)

    @property
    def blocking(self) -> tuple[Verdict, ...]:
        """Verdicts that failed with severity ERROR."""
        return tuple(verdict for verdict in self if verdict.severity == "ERROR")


def audit_flag(
    flag: FlagAudit,
    bins: FlagBins,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
    *,
    judged: tuple[datetime, datetime] | None = None,
) -> FlagVerdicts:
    """Judge one flag from its closed bins; a pure function of its arguments that never raises for data.

    Args:
        flag: who is counted, and the declared split with its phases.
        bins: the flag's closed hourly bins.
        thresholds: the levels.
        judged: hours whose traffic alarms count, [start, end) in UTC; None: the last 24 closed ones.

    Returns:
        The three verdicts. A test that cannot be computed answers "not_checked" with the reason.

    Raises:
        InputError: when `judged` has no UTC offset or does not run forward; never for what the bins hold.
    """
    if judged is not None:
        _check_hours(*judged)
    closed = counted(flag, bins)
    if never_counted(closed):
        return _nothing_counted(flag, closed)
    window = cache(partial(split_window, flag, closed))  # computed once, inside the test that asks first
    worst_first = partial(with_dead_arms, level=thresholds.srm.significance_level)
    return FlagVerdicts(
        srm=_told(SrmVerdict, "srm", closed, lambda: worst_first(_srm(window(), thresholds), window())),
        sequential_srm=_told(
            SequentialSrmVerdict,
            "sequential_srm",
            closed,
            lambda: worst_first(_sequential(window(), thresholds), window()),
        ),
        traffic_drop=_told(
            TrafficVerdict, "traffic_drop", closed, lambda: _traffic(flag, closed, thresholds, judged)
        ),
    )


def _check_hours(start: datetime, end: datetime) -> None:
    for instant in (start, end):
        if instant.tzinfo is None:
            raise InputError(f"judged: {instant.isoformat()} has no UTC offset; write it as UTC")
    if start >= end:
        raise InputError(f"judged: start {start.isoformat()} is not before end {end.isoformat()}")


def never_counted(bins: FlagBins) -> bool:
    """Return whether hours closed in the log while the flag has never shown a unit."""
    return bool(len(bins) and bins.landed.any() and not bins.units.any() and not bins.new_units.any())


def _nothing_counted(flag: FlagAudit, bins: FlagBins) -> FlagVerdicts:
    """Say which name the log does not hold, or else what became of the flag's records."""
    apart = Counter({name: bins.fact_total(name) for name in _APART})
    if names := [name for name in bins.unmatched if "dimensions" not in name.place]:
        why = "; ".join(map(str, names))
    elif +apart:
        reasons = sorted({fact.detail for fact in bins.facts if fact.name == "excluded_reason"})
        parts = [f"{count:,} {_APART[name]}" for name, count in apart.most_common() if count]
        named = f" ({', '.join(reasons[:5])})" if reasons else ""
        why = f"no record of flag '{flag.id}' counts: {', '.join(parts)}{named}"
    else:
        why = f"flag '{flag.id}' has no record in this log that counts"
    sentence = f"Not checked: {why}; nothing was counted since {words.instant(flag.start)}."
    common: dict[str, Any] = {
        "verdict": "not_checked",
        "reason": NEVER_COUNTED,
        "sentence": sentence,
        "audited_through": _last_landed(bins),
    }
    begun = [phase.split for phase in flag.schedule if phase.start <= bins.audited_through][-1:]
    return FlagVerdicts(
        SrmVerdict(check="srm", expected=begun[0] if begun else {}, **common),
        SequentialSrmVerdict(check="sequential_srm", **common),
        TrafficVerdict(check="traffic_drop", **common),
    )


_APART = {
    "excluded_reason": "left out for their reason",
    "null_units": "without a unit",
    "null_variants": "without a variant",
}


def _told(kind: type[V], check: str, bins: FlagBins, test: Callable[[], V]) -> V:
    """Run one test; whatever keeps it from an answer becomes the answer."""
    if not len(bins) or not bins.landed.any():
        reason = "nothing_landed" if len(bins) else "no_closed_hour"
        since = f"since the flag's start, {words.instant(bins.start)}"
        what = "no record has landed" if len(bins) else "no hour of the log has closed"
        sentence = f"Not checked: {what} {since}."
        return kind(check=check, verdict="not_checked", reason=reason, sentence=sentence)
    try:
        verdict = test()
    except (ExdError, ArithmeticError, LookupError, ValueError) as error:
        sentence = f"Not checked: the test could not be computed ({type(error).__name__}: {error})."
        verdict = kind(check=check, verdict="not_checked", reason="not_computable", sentence=sentence)
    return replace(verdict, audited_through=_last_landed(bins))


def _last_landed(bins: FlagBins) -> datetime:
    """Return the end of the last hour in which the log holds any record (UTC)."""
    return bins.start + HOUR * int(np.flatnonzero(bins.landed)[-1] + 1)


def _srm(window: Window, thresholds: Thresholds) -> SrmVerdict:
    if not window.stretches:
        return SrmVerdict(check="srm", verdict="skipped", reason="no_split_declared", sentence=_NO_SPLIT)
    limits, counts = thresholds.srm, window.settled_counts
    sample = pooled_sample(window)
    phased = len(window.stretches) > 1
    found = fit(sample, history=(counts, window.stretches) if phased and len(counts) else None)
    look = first_failed_look(
        counts,
        window.stretches,
        alpha=limits.significance_level,
        min_sample_size=limits.min_sample_size,
    )
    levels = look_levels(max(len(window.counts), 1), limits.significance_level)
    verdict = judge(
        sample,
        found,
        level=limits.significance_level,
        blocking_level=look.level if look else float(levels[-1]),
        min_sample_size=limits.min_sample_size,
        failed=_failed(window, look) if look else None,
        stray_failed=_first_stray(window) is not None,
    )
    if verdict.reason == "few_units":
        verdict = _with_forecast(verdict, window, limits.min_sample_size)
    if verdict.reason in STRAY_REASONS:
        verdict = _with_stray_hours(verdict, window)
    elif verdict.failed:
        verdict = _with_split_change(verdict, window, look)
    return _of_iteration(verdict, window)


_NO_SPLIT = "Skipped: no split is declared; add split={...} to test it."


def _failed(window: Window, look: Look) -> FailedLook:
    return FailedLook(pooled_sample(window, look.bin + 1), look.p_value, window.instant(look.bin + 1))


def pooled_sample(window: Window, bins: int | None = None) -> Sample:
    """Return the units of an iteration with a declared split, and the shares expected over its phases.

    Args:
        window: the iteration.
        bins: count the first so many only; None: all. Units without a share are those of all.
    """
    counts = window.settled_counts[:bins]
    expected = expected_counts(counts, window.stretches).sum(axis=0)
    pooled = expected / expected.sum() if expected.sum() else window.stretches[-1].shares
    used = np.any([stretch.shares > 0 for stretch in window.stretches], axis=0)
    names = tuple(name for name, has_share in zip(window.names, used.tolist(), strict=True) if has_share)
    return Sample(names, counts.sum(axis=0)[used], pooled[used], window.undeclared, window.zero_share)


def _first_stray(window: Window) -> tuple[int, float, float] | None:
    """Return the first bin at whose end units without a share were too many, their number, and all."""
    looks = enumerate(zip(window.stray.cumsum(), window.counts.sum(axis=1).cumsum(), strict=True))
    return next(
        ((i, stray, stray + declared) for i, (stray, declared) in looks if too_many_stray(stray, declared)),
        None,
    )


def _of_iteration(verdict: S, window: Window) -> S:
    """Say which iteration was tested, and how a declared change that is being taken up was dealt with."""
    verdict = replace(verdict, iteration_start=window.start, uptake_hours=int((~window.settled).sum()))
    if window.taking_up is None:
        return verdict
    start, until = map(words.instant, window.taking_up)
    sentence = f"{verdict.sentence[:-1]}; clients may take until {until} to follow the change of {start}."
    return replace(verdict, sentence=sentence, uptake_until=window.taking_up[1])


def _with_forecast(verdict: SrmVerdict, window: Window, wanted: int) -> SrmVerdict:
    """Say when there will be enough units, at the rate so far."""
    if not 0 < verdict.n < wanted:
        return verdict
    hours = len(window.counts) * wanted / verdict.n
    if hours > 24 * 365:
        return verdict
    when = words.instant(window.instant(int(hours) + 1))
    return replace(verdict, sentence=f"{verdict.sentence[:-1]}; at this rate enough by {when}.")


def _with_stray_hours(verdict: SrmVerdict, window: Window) -> SrmVerdict:
    hours = np.flatnonzero(window.stray)
    first, last = int(hours[0]), int(hours[-1])
    ongoing = last >= len(window.counts) - RECENT
    failed = _first_stray(window)
    if failed is not None:
        verdict = _with_stray_look(verdict, window, *failed)
    return replace(
        verdict,
        state="ongoing" if ongoing else "contained",
        bad_from=window.instant(first),
        bad_until=None if ongoing else window.instant(last + 1),
        usable_until=window.instant(first),
    )


def _with_stray_look(
    verdict: SrmVerdict, window: Window, look: int, stray: float, units: float
) -> SrmVerdict:
    """Say when the units without a share were too many, and how many, where they no longer are."""
    at = window.instant(look + 1)
    verdict = replace(verdict, detected_at=at)
    if too_many_stray(window.stray.sum(), window.counts.sum()):
        return verdict
    then = f"{words.percent(stray / units)} of {words.number(units)} units"
    sentence = f"{verdict.sentence[:-1]}; by {words.instant(at)} it was {then}, which failed."
    return replace(verdict, remembered=True, sentence=sentence)


def _with_split_change(verdict: SrmVerdict, window: Window, look: Look | None) -> SrmVerdict:
    """Say when the split broke; where only a warning is due, that would be saying too much."""
    detected = look.bin if look else len(window.counts) - 1
    change = find_change(window.counts, window.stretches, window.names, detected).at(window.start, HOUR)
    verdict = replace(_with_change(verdict, change, window), change_point=change.hour, change=change)
    if look is None:
        return verdict
    broke = f"broke about {words.instant(window.instant(change.bin))}"
    when = broke if change.bin else "wrong from the start"
    if change.until is not None:
        when += f", as declared again from {words.instant(window.instant(change.until))}"
    sentence = f"{verdict.sentence[:-1]}; split {when}."
    return replace(verdict, sentence=sentence)


def _with_change(verdict: V, change: ChangePoint, window: Window) -> V:
    """Give a failed verdict its instants; only hours before the credible interval are called usable."""
    return replace(
        verdict,
        state="ongoing" if change.until is None else "contained",
        bad_from=window.instant(change.bin),
        bad_until=None if change.until is None else window.instant(change.until),
        usable_until=window.instant(change.earliest),
    )


def _sequential(window: Window, thresholds: Thresholds) -> SequentialSrmVerdict:
    check, limits = "sequential_srm", thresholds.sequential_srm
    if not window.stretches:
        return SequentialSrmVerdict(
            check=check, verdict="skipped", reason="no_split_declared", sentence=_NO_SPLIT
        )
    alpha = DEFAULT_ALPHA[limits.method] if limits.alpha is None else limits.alpha
    verdict = judge_sequence(
        window.counts, window.stretches, window.names, method=limits.method, alpha=alpha, delta=limits.delta
    )
    if verdict.change is None or verdict.first_crossing is None:
        return _of_iteration(verdict, window)
    change = verdict.change.at(window.start, HOUR)
    verdict = replace(
        _with_change(verdict, change, window),
        change_point=change.hour,
        change=change,
        detected_at=window.instant(verdict.first_crossing + 1),
        sentence=_in_hours(verdict.sentence, change, window),
    )
    return _of_iteration(verdict, window)


def _in_hours(sentence: str, change: ChangePoint, window: Window) -> str:
    """Name the fault's bins by their instants."""
    first = words.instant(window.instant(change.bin))
    if change.until is None:
        since = f"since about {first}" if change.bin else "from the start"
        return sentence.replace(f"since bin {change.bin}", since)
    last = words.instant(window.instant(change.until))
    return sentence.replace(f"in bins {change.bin} to {change.until - 1}", f"from {first} to {last}")


def _traffic(
    flag: FlagAudit, bins: FlagBins, thresholds: Thresholds, judged: tuple[datetime, datetime] | None
) -> TrafficVerdict:
    whole = bins if flag.end is None else bins.between(bins.start, floor_hour(flag.end))
    landed = whole.landed.copy()
    if flag.start != floor_hour(flag.start):  # the first hour is cut by the flag's start
        landed[: whole.index(flag.start) + 1] = False
    if judged is not None and flag.end is not None and judged[0] >= floor_hour(flag.end):
        judged = None  # the flag is over: its last day answers
    limits = thresholds.traffic_drop
    volumes = whole.units.sum(axis=1)
    declared, left_out = declared_hours(flag, whole, landed, volumes.astype(float), limits.baseline)
    verdict = traffic_drop_test(
        volumes,
        declared=declared,
        left_out=left_out,
        method=limits.method,
        alarm_level=limits.alarm_level,
        drop_fraction=thresholds.evaluation_rate_anomaly.drop_fraction,
        window=limits.window,
        z_threshold=limits.z_threshold,
        landed=landed,
        judged=None if judged is None else (whole.index(judged[0]), whole.index(judged[1])),
    )
    if verdict.speaks_from is not None:
        return _with_speaking_time(verdict, whole.start + HOUR * verdict.speaks_from)
    if verdict.first_bad is None or verdict.last_bad is None:
        return verdict
    bad_from = whole.start + HOUR * verdict.first_bad
    bad_until = whole.start + HOUR * (verdict.last_bad + 1)
    return replace(
        verdict,
        bad_from=bad_from,
        bad_until=None if verdict.state == "ongoing" else bad_until,
        usable_until=bad_from,
        sentence=f"{verdict.sentence[:-1]} {_hours_at_fault(verdict, bad_from, bad_until)}.",
    )


def _hours_at_fault(verdict: TrafficVerdict, first: datetime, end: datetime) -> str:
    if verdict.state == "ongoing":
        return f"since {words.instant(first)}"
    return f"from {words.instant(first)} to {words.instant(end)}"


def _with_speaking_time(verdict: TrafficVerdict, speaks: datetime) -> TrafficVerdict:
    head = verdict.sentence.split(";", maxsplit=1)[0]
    return replace(verdict, sentence=f"{head}; speaks from {words.instant(speaks)}.")
