"""Sequential SRM: the split, tested at every closed hour with one error rate for all looks together.

The combined e-process is the mean of two: `dirichlet` (a shift since the beginning, however small) and
`restart` (a fault that began at any later bin). It fails when ln E >= -ln alpha. By Ville's inequality a
healthy flag ever fails with probability at most alpha, at any number of looks at any times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from exd_dagster.errors import InputError, did_you_mean
from exd_dagster.stats import words
from exd_dagster.stats.carried import Carried, declared, settled, whole
from exd_dagster.stats.inputs import (
    Expected,
    Floats,
    Period,
    checked_counts,
    checked_level,
    checked_periods,
)
from exd_dagster.stats.methods.change_point import ChangePoint, find_change
from exd_dagster.stats.methods.chi_square import expected_counts
from exd_dagster.stats.methods.combined import Sums, declared_only, log_e_values, resumed, savable
from exd_dagster.stats.methods.intervals import confidence_sequence
from exd_dagster.stats.srm.srm import ONE_VARIANT
from exd_dagster.stats.verdict import Json, Verdict

Method = Literal["combined", "sprt"]
DEFAULT_ALPHA: dict[str, float] = {"combined": 0.001, "sprt": 0.01}
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialSrmVerdict(Verdict):
    """The anytime-valid verdict.

    Attributes:
        method: combined or sprt.
        alpha: probability that a healthy flag ever fails.
        n: units in declared variants.
        observed: units by variant, over all phases.
        expected: declared share by variant; over several phases the share expected of the pooled units.
        log_e_value: ln E now; the evidence that e-BH ranks.
        max_log_e_value: the largest ln E so far; it fails from -ln alpha on.
        anytime_p_value: 1/E at its largest, at most 1.
        first_crossing: first bin (from 0) at whose end it failed, None if it did not.
        detected_at: end of that bin (UTC), where hours are known.
        remembered: True when the current evidence alone would pass.
        failed_observed: units by variant at the end of that bin.
        failed_expected: declared share by variant of those units.
        failed_n: their number.
        log_e_values: ln E after each bin; not part of the metadata, and of the newest bins alone where the
            state of earlier ones was carried over.
        confidence_sequence: (low, high) of each variant's share in the newest phase, 95 % at all looks
            together.
        change_point: where the split most likely broke: the bin (from 0), or the start of its hour (UTC)
            where hours are known; None unless it failed.
        change: how sure that is, until when, and the split before and after.
        dead_arms: first hour without a unit (UTC) by declared variant that gets none any more.
        iteration_start: start of the iteration the counts are of (UTC), where hours are known.
        uptake_hours: hours in which a declared change was being taken up: tested against every mixture of the
            new split and the one before.
        uptake_until: end of the uptake that the newest hour lies in (UTC).
    """

    method: str = "combined"
    alpha: float = 0.001
    n: int = 0
    observed: dict[str, int] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    log_e_value: float = 0.0
    max_log_e_value: float = 0.0
    anytime_p_value: float = 1.0
    first_crossing: int | None = None
    detected_at: datetime | None = None
    remembered: bool = False
    failed_observed: dict[str, int] = field(default_factory=dict)
    failed_expected: dict[str, float] = field(default_factory=dict)
    failed_n: int | None = None
    log_e_values: tuple[float, ...] = ()
    confidence_sequence: dict[str, tuple[float, float]] = field(default_factory=dict)
    change_point: int | datetime | None = None
    change: ChangePoint | None = None
    dead_arms: dict[str, datetime] = field(default_factory=dict)
    iteration_start: datetime | None = None
    uptake_hours: int = 0
    uptake_until: datetime | None = None

    def as_metadata(self) -> dict[str, Json]:
        """Return every number but the series as strict JSON."""
        metadata = Verdict.as_metadata(replace(self, log_e_values=()))
        del metadata["log_e_values"]
        return metadata


def sequential_srm_test(
    new_units: ArrayLike,
    expected: Expected,
    *,
    method: Method = "combined",
    alpha: float | None = None,
    delta: float = 0.02,
) -> SequentialSrmVerdict:
    """Test the bins of one flag against its declared split, valid at every bin at once.

    Args:
        new_units: whole numbers (bins, variants), newly exposed units in bin order.
        expected: declared share by variant, in column order; or phases [(first_bin, split), ...], whose
            columns are the variants in order of first declaration. Units where the declared share is 0 are
            not tested.
        method: "combined", or "sprt": Wald's mixture for a shift of +-delta.
        alpha: level; None: .001 for combined, .01 for sprt.
        delta: shift in share, of method sprt.

    Returns:
        The verdict: pass, fail, insufficient before the first unit, skipped where no phase has two variants.

    Raises:
        InputError: for an unusable count, split, level or method.
    """
    if method not in DEFAULT_ALPHA:
        raise InputError(f"method '{method}' is not known.{did_you_mean(str(method), DEFAULT_ALPHA)}")
    level = checked_level(DEFAULT_ALPHA[method] if alpha is None else alpha, "alpha")
    if not 0 < delta < 0.5:
        raise InputError(f"delta is {delta}; a shift in share is between 0 and .5, for example .02")
    empty = np.size(new_units) == 0
    counts = np.zeros((0, 0)) if empty else checked_counts(new_units, "new_units", 2)
    names, periods = checked_periods(expected, None if empty else counts.shape[1])
    counts = counts.reshape(-1, len(names))
    return judge_sequence(counts, periods, names, method=method, alpha=level, delta=delta)


def judge_sequence(
    counts: Floats,
    periods: Sequence[Period],
    names: Sequence[str],
    *,
    method: str = "combined",
    alpha: float = 0.001,
    delta: float = 0.02,
    carried: Carried | None = None,
) -> SequentialSrmVerdict:
    """Return the verdict of checked input; see `sequential_srm_test`. `carried` are states to go on from."""
    counts = declared_only(counts, periods)
    numbers: dict[str, Any] = {"check": "sequential_srm", "method": method, "alpha": alpha}
    if not any((period.shares > 0).sum() > 1 for period in periods):
        return SequentialSrmVerdict(verdict="skipped", reason="one_variant", sentence=ONE_VARIANT, **numbers)
    series, largest = None, 0.0
    if carried is not None and method == "combined":
        series, largest = _carried(counts, periods, -float(np.log(alpha)), carried)
    if series is None:
        series = log_e_values(counts, periods, method=method, delta=delta)
    numbers |= _numbers(counts, periods, names, series, largest)
    if not counts.sum():
        sentence = "Too few units yet: none has been seen."
        return SequentialSrmVerdict(verdict="insufficient", reason="no_units", sentence=sentence, **numbers)
    crossings = np.flatnonzero(series >= -np.log(alpha))
    if not len(crossings):
        sentence = (
            f"Split as declared at every one of {len(counts)} looks: {words.number(counts.sum())} units, "
            f"anytime {words.p_value(numbers['anytime_p_value'])}."
        )
        return SequentialSrmVerdict(verdict="pass", reason="split_as_declared", sentence=sentence, **numbers)
    change = find_change(counts, periods, names, int(crossings[0]))
    return SequentialSrmVerdict(
        verdict="fail",
        severity="ERROR",
        reason="ratio_mismatch",
        state="ongoing" if change.until is None else "contained",
        sentence=_sentence(change, numbers),
        first_crossing=int(crossings[0]),
        remembered=bool(series[-1] < -np.log(alpha)),
        **_of_crossing(counts[: int(crossings[0]) + 1], periods, names),
        change_point=change.bin,
        change=change,
        **numbers,
    )


def _carried(
    counts: Floats, periods: Sequence[Period], limit: float, carried: Carried
) -> tuple[Floats | None, float]:
    """Return ln E after the unsettled bins, and the largest before them; None where it must be whole."""

    def inputs(bins: int) -> list[ArrayLike]:
        return [whole(counts[:bins]), *declared(periods, bins)]

    start, largest = None, 0.0
    if known := carried.find("sequential_srm", len(counts), inputs):
        largest, before, *rest = known.values.tolist()
        arms = counts.shape[1]
        start = Sums(known.through, np.array(rest[arms:]), np.array(before), np.array(rest[:arms]))
    save = savable(periods, settled(len(counts)))
    series, state = resumed(counts, periods, start, save)
    if max(largest, series.max(initial=0.0)) >= limit:
        return None, 0.0
    if state:
        highest = max(largest, series[: save - (start.bins if start else 0)].max(initial=0.0))
        values = np.concatenate([[highest], [state.carried], state.counts, state.log_sums])
        carried.save("sequential_srm", save, inputs, values)
    return series, largest


def _numbers(
    counts: Floats, periods: Sequence[Period], names: Sequence[str], series: Floats, largest: float
) -> dict[str, Any]:
    newest = [period for period in periods if period.first < max(len(counts), 1)][-1]
    active = newest.shares > 0
    units = counts.sum(axis=0)
    phase = counts[newest.first :, active].sum(axis=0) * (newest.replaced is None)
    ends = confidence_sequence(phase, newest.shares[active], 1 - CONFIDENCE)
    largest = max(largest, float(series.max(initial=0.0)))
    active_names = [name for name, used in zip(names, active, strict=True) if used]
    return {
        "n": int(units.sum()),
        "observed": {name: int(x) for name, x in zip(names, units, strict=True)},
        "expected": _pooled(counts, periods, names),
        "log_e_value": float(series[-1]) if len(series) else 0.0,
        "max_log_e_value": largest,
        "anytime_p_value": float(np.exp(-largest)),
        "log_e_values": tuple(series.tolist()),
        "confidence_sequence": {
            name: (float(low), float(high)) for name, (low, high) in zip(active_names, ends, strict=True)
        },
    }


def _of_crossing(counts: Floats, periods: Sequence[Period], names: Sequence[str]) -> dict[str, Any]:
    units = counts.sum(axis=0)
    return {
        "failed_observed": {name: int(x) for name, x in zip(names, units, strict=True)},
        "failed_expected": _pooled(counts, periods, names),
        "failed_n": int(units.sum()),
    }


def _pooled(counts: Floats, periods: Sequence[Period], names: Sequence[str]) -> dict[str, float]:
    """Return the share expected of all units together, of variants that ever had one."""
    wanted = expected_counts(counts, periods).sum(axis=0)
    pooled = wanted / wanted.sum() if len(periods) > 1 and wanted.sum() else periods[0].shares
    used = np.any([period.shares > 0 for period in periods], axis=0)
    return {name: float(s) for name, s, has in zip(names, pooled, used, strict=True) if has}


def _sentence(change: ChangePoint, numbers: dict[str, Any]) -> str:
    """Return the split within the fault, and today's once the fault is past."""
    name = change.furthest
    seen, wanted = words.against(change.after[name], change.declared[name])
    span = (
        f"since bin {change.bin}" if change.until is None else f"in bins {change.bin} to {change.until - 1}"
    )
    p = words.p_value(numbers["anytime_p_value"])
    said = f"Split broke: {name} got {seen} of units {span}, {wanted} declared (anytime {p})"
    if change.until is None:
        return f"{said}."
    now = words.percent(numbers["observed"][name] / max(numbers["n"], 1))
    return f"{said}; by now {now} of {words.number(numbers['n'])} units."
