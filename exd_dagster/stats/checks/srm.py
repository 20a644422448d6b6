"""The check `srm`: the unit counts against the declared split, over all looks so far."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from exd_dagster.bins.model import HOUR
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.checks.split import NO_SPLIT, of_iteration, with_change
from exd_dagster.stats.dead_arms import with_dead_arms
from exd_dagster.stats.methods.change_point import find_change
from exd_dagster.stats.methods.chi_square import expected_counts
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
from exd_dagster.stats.window import Window

RECENT = 24
"""Hours within which a variant without a share counts as still being served."""


def _judge(case: Case) -> SrmVerdict:
    return with_dead_arms(_compared(case), case.window, level=case.thresholds.srm.significance_level)


def _compared(case: Case) -> SrmVerdict:
    window = case.window
    if not window.periods:
        return SrmVerdict(check="srm", verdict="skipped", reason="no_split_declared", sentence=NO_SPLIT)
    limits, counts = case.thresholds.srm, window.steady_counts
    sample = pooled_sample(window)
    phased = len(window.periods) > 1
    found = fit(sample, history=(counts, window.periods) if phased and len(counts) else None)
    look = first_failed_look(
        counts,
        window.periods,
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
    return of_iteration(verdict, window)


def _failed(window: Window, look: Look) -> FailedLook:
    return FailedLook(pooled_sample(window, look.bin + 1), look.p_value, window.instant(look.bin + 1))


def pooled_sample(window: Window, bins: int | None = None) -> Sample:
    """Return the units of an iteration with a declared split, and the shares expected over its phases.

    Args:
        window: the iteration.
        bins: count the first so many only; None: all. Units without a share are those of all.
    """
    counts = window.steady_counts[:bins]
    expected = expected_counts(counts, window.periods).sum(axis=0)
    pooled = expected / expected.sum() if expected.sum() else window.periods[-1].shares
    used = np.any([period.shares > 0 for period in window.periods], axis=0)
    names = tuple(name for name, has_share in zip(window.names, used.tolist(), strict=True) if has_share)
    return Sample(names, counts.sum(axis=0)[used], pooled[used], window.undeclared, window.zero_share)


def _first_stray(window: Window) -> tuple[int, float, float] | None:
    """Return the first bin at whose end too many units had no share, their number, and the total."""
    if not window.stray.any():
        return None
    looks = enumerate(
        zip(window.stray.cumsum().tolist(), window.counts.sum(axis=1).cumsum().tolist(), strict=True)
    )
    return next(
        ((i, stray, stray + declared) for i, (stray, declared) in looks if too_many_stray(stray, declared)),
        None,
    )


def _with_forecast(verdict: SrmVerdict, window: Window, wanted: int) -> SrmVerdict:
    """Return when there will be enough units, at the rate so far."""
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
    """Return when too many units had no share, and how many, if they no longer do."""
    at = window.instant(look + 1)
    verdict = replace(verdict, detected_at=at)
    if too_many_stray(window.stray.sum(), window.counts.sum()):
        return verdict
    then = f"{words.percent(stray / units)} of {words.number(units)} units"
    sentence = f"{verdict.sentence[:-1]}; by {words.instant(at)} it was {then}, which failed."
    return replace(verdict, remembered=True, sentence=sentence)


def _with_split_change(verdict: SrmVerdict, window: Window, look: Look | None) -> SrmVerdict:
    """Return when the split broke; a warning alone does not support a date."""
    detected = look.bin if look else len(window.counts) - 1
    change = find_change(window.counts, window.periods, window.names, detected).at(window.start, HOUR)
    verdict = replace(with_change(verdict, change, window), change_point=change.hour, change=change)
    if look is None:
        return verdict
    broke = f"broke about {words.instant(window.instant(change.bin))}"
    when = broke if change.bin else "wrong from the start"
    if change.until is not None:
        when += f", as declared again from {words.instant(window.instant(change.until))}"
    sentence = f"{verdict.sentence[:-1]}; split {when}."
    return replace(verdict, sentence=sentence)


def _declared(case: Case) -> Mapping[str, Any]:
    """Return the split in force, which is known before any unit is counted."""
    begun = [phase.split for phase in case.flag.schedule if phase.start <= case.closed.audited_through]
    return {"expected": begun[-1] if begun else {}}


SRM = Check(
    name="srm",
    question="Do the counts of units agree with the declared split? Chi-square, exact where counts are "
    "small; corrected for repeated looks.",
    judge=_judge,
    alert_type="SRM_SHUTOFF_TRIGGERED",
    wording=Wording(
        title="SRM",
        heading="Split of all units",
        meaning="Users are not split between the variants as declared; results of this flag would be wrong.",
    ),
    verdict=SrmVerdict,
    blocks="by default",
    evidence="split",
    shutoff=True,
    declared=_declared,
)
