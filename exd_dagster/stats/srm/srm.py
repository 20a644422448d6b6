"""Sample-ratio mismatch, single test: did the variants receive the units they were declared to receive?

Pearson's chi-square as `exd telemetry srm` defines it (upper tail, fail strictly below the level), the exact
test where an expected count is under 5, and the design-effect correction where only evaluations exist (Rao
and Scott 1981: X^2 / deff with deff = sum d^2 / sum d over the evaluations d of each unit).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from typing import Any, Literal

import numpy as np

from exd_dagster.errors import InputError
from exd_dagster.stats import words
from exd_dagster.stats.inputs import Floats, Period, checked_count, checked_level, checked_split
from exd_dagster.stats.methods.change_point import ChangePoint
from exd_dagster.stats.methods.chi_square import SMALLEST_EXPECTED, chi_square, stratified, upper_tail
from exd_dagster.stats.methods.exact import exact_p_value
from exd_dagster.stats.verdict import Answer, Severity, Verdict

STRAY_UNITS = 10
STRAY_SHARE = 0.001
"""Variants without a share, undeclared or declared with 0 %, fail the check above 10 units and .1 % of all
units; below they warn. No test is needed: under the declaration such a unit has probability 0, so what is
tolerated is dirt in the log, not chance."""

STRAY_REASONS = ("undeclared_variant", "zero_share_variant")

ONE_VARIANT = "Skipped: one variant gets every unit, so there is no split to test."

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class SrmVerdict(Verdict):
    """The chi-square verdict, with exd's own names for its numbers.

    Attributes:
        observed: units counted, by declared variant.
        expected: declared share, by variant; over several phases the share expected of the pooled units.
        n: units tested.
        chi_square: Pearson's statistic (stratified over phases, divided by the design effect if any).
        p_value: upper tail, or exact.
        threshold: the significance level: T001 below it.
        blocking_level: p must be below this for severity ERROR; `threshold` shared over the looks.
        degrees_of_freedom: of the statistic.
        method: chi_square, stratified, exact or design_effect.
        shares: observed share, by variant.
        effect: observed minus declared share in percentage points, by variant.
        effect_interval: its 95 % interval (Wilson), by variant.
        undeclared: units in variants that were never declared, by variant.
        zero_share: units in declared variants whose declared share was 0 % when they came, by variant.
        design_effect: deff, where evaluations were tested.
        remembered: True when the current numbers alone would pass, and those of an earlier look failed.
        failed_observed: units by declared variant at that look, in a repeated check.
        failed_expected: declared share by variant of those units.
        failed_n: units tested at that look.
        failed_p_value: p-value at that look.
        detected_at: end of that look's hour (UTC).
        change_point: start of the hour in which the split most likely broke (UTC), where hours are known.
        change: how sure that is, until when, and the split before and after.
        dead_arms: first hour without a unit (UTC) by declared variant that gets none any more.
        iteration_start: start of the iteration the counts are of (UTC), where hours are known.
        uptake_hours: hours left out because a declared change was being taken up.
        uptake_until: end of the uptake that the newest hour lies in (UTC).
    """

    observed: dict[str, int] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    n: int = 0
    chi_square: float | None = None
    p_value: float | None = None
    threshold: float = 0.001
    blocking_level: float = 0.001
    degrees_of_freedom: int = 0
    method: str = "chi_square"
    shares: dict[str, float] = field(default_factory=dict)
    effect: dict[str, float] = field(default_factory=dict)
    effect_interval: dict[str, tuple[float, float]] = field(default_factory=dict)
    undeclared: dict[str, int] = field(default_factory=dict)
    zero_share: dict[str, int] = field(default_factory=dict)
    design_effect: float | None = None
    remembered: bool = False
    failed_observed: dict[str, int] = field(default_factory=dict)
    failed_expected: dict[str, float] = field(default_factory=dict)
    failed_n: int | None = None
    failed_p_value: float | None = None
    detected_at: datetime | None = None
    change_point: datetime | None = None
    change: ChangePoint | None = None
    dead_arms: dict[str, datetime] = field(default_factory=dict)
    iteration_start: datetime | None = None
    uptake_hours: int = 0
    uptake_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts against what was declared, ready to be tested.

    Attributes:
        names: V tested variants, those with a declared share.
        observed: float (V,).
        shares: float (V,), declared shares; over several phases those expected of the pooled units.
        undeclared: units by variant outside the declaration.
        zero_share: units by declared variant, where its declared share is 0.
    """

    names: tuple[str, ...]
    observed: Floats
    shares: Floats
    undeclared: dict[str, int] = field(default_factory=dict)
    zero_share: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> float:
        """Units in variants with a share."""
        return float(self.observed.sum())

    @property
    def stray(self) -> int:
        """Units in variants without a share."""
        return sum(self.undeclared.values()) + sum(self.zero_share.values())


@dataclass(frozen=True, slots=True)
class FailedLook:
    """The first look of a repeated check that failed.

    Attributes:
        sample: the counts at that look.
        p_value: of it.
        at: end of the look's hour (UTC).
    """

    sample: Sample
    p_value: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Fit:
    """The statistic of one sample."""

    statistic: float
    p: float
    degrees: int
    method: str


def srm_test(
    observed: Mapping[str, int],
    expected: Mapping[str, float],
    *,
    significance_level: float = 0.001,
    min_sample_size: int = 100,
    looks: int = 1,
    sum_squares: float | None = None,
    counted: Literal["units", "evaluations"] = "units",
) -> SrmVerdict:
    """Test counts against the declared split.

    Args:
        observed: units by variant, each unit counted once.
        expected: declared share by variant, summing to 1; variants are matched by name.
        significance_level: fails below it (T001).
        min_sample_size: below so many units the verdict is "insufficient" (T002).
        looks: number of looks the level is divided by: below `significance_level / looks` a failure is an
            ERROR, above it a WARN. 1: a single test.
        sum_squares: sum over units of (evaluations of the unit)^2, when `observed` counts evaluations.
        counted: what `observed` counts; evaluations need `sum_squares`.

    Returns:
        The verdict: pass, fail, insufficient, or skipped where fewer than two variants have a share.

    Raises:
        InputError: for an unusable count, share or level, and for evaluations without `sum_squares`.
    """
    level = checked_level(significance_level, "significance_level")
    if looks < 1:
        raise InputError(f"looks is {looks}; it must be 1 or more")
    split = checked_split(expected)
    counts = {name: checked_count(count, f"observed['{name}']") for name, count in observed.items()}
    deff = _design_effect(sum(counts.values()), sum_squares, counted)
    names = tuple(name for name, share in split.items() if share > 0)
    units = np.array([float(counts.get(name, 0)) for name in names])
    sample = Sample(
        names,
        units,
        np.array([split[name] for name in names]),
        {name: count for name, count in counts.items() if count and name not in split},
        {name: count for name, count in counts.items() if count and split.get(name) == 0.0},
    )
    return judge(
        sample,
        fit(sample, deff),
        level=level,
        blocking_level=level / looks,
        min_sample_size=min_sample_size,
        deff=deff,
    )


def _design_effect(total: int, sum_squares: float | None, counted: str) -> float | None:
    if sum_squares is None:
        if counted == "evaluations":
            raise InputError(
                "raw evaluations are not independent and are never tested as they are; count each unit once, "
                "or give sum_squares, the sum over units of (evaluations of the unit)^2"
            )
        return None
    if not total <= sum_squares <= float(total) ** 2:
        raise InputError(
            f"sum_squares is {sum_squares}; for {total} evaluations it must be between {total} and {total**2}"
        )
    return float(sum_squares) / total if total else 1.0


def fit(
    sample: Sample, deff: float | None = None, history: tuple[Floats, Sequence[Period]] | None = None
) -> Fit:
    """Return the statistic and p-value of a sample.

    Args:
        sample: cumulative counts.
        deff: design effect, where evaluations are tested.
        history: counts (T, V) and periods, where the split changed on the way: tested phase by phase.
    """
    degrees = len(sample.names) - 1
    if history is not None:
        statistic, ranks = (float(series[-1]) for series in stratified(*history))
        return Fit(statistic, float(upper_tail(statistic, max(int(ranks), 1))), int(ranks), "stratified")
    if degrees < 1 or sample.n == 0:
        return Fit(0.0, 1.0, max(degrees, 0), "chi_square")
    statistic = float(chi_square(sample.observed, sample.shares))
    if deff is not None:
        statistic /= deff
        return Fit(statistic, float(upper_tail(statistic, degrees)), degrees, "design_effect")
    if sample.n * sample.shares.min() < SMALLEST_EXPECTED:
        return Fit(statistic, exact_p_value(sample.observed, sample.shares), degrees, "exact")
    return Fit(statistic, float(upper_tail(statistic, degrees)), degrees, "chi_square")


def judge(
    sample: Sample,
    found: Fit,
    *,
    level: float = 0.001,
    blocking_level: float = 0.001,
    min_sample_size: int = 100,
    deff: float | None = None,
    failed: FailedLook | None = None,
    stray_failed: bool = False,
) -> SrmVerdict:
    """Turn a statistic into a verdict: the rule shared by the single test and the repeated check.

    `failed` is the look that failed first at its blocking level, `stray_failed`
    whether units without a share were too many at an earlier look: once failed, failed.
    """
    numbers = _numbers(sample, found, deff) | {
        "threshold": level, "blocking_level": blocking_level, **_of_look(failed),
    }  # fmt: skip
    wanted = _still_wanted(sample, found, min_sample_size)
    tested, enough = found.degrees > 0, not wanted
    p = found.p if tested and enough else 1.0
    if p < blocking_level:
        return _mismatch(sample, "ERROR", p, numbers)
    if failed is not None:
        return _remembered(sample, failed, numbers)
    if stray_failed or too_many_stray(sample.stray, sample.n):
        return _stray(sample, "ERROR", numbers)
    if p < level:
        return _mismatch(sample, "WARN", p, numbers)
    if sample.stray:
        return _stray(sample, "WARN", numbers)
    if not tested:
        return _answer("skipped", "one_variant", ONE_VARIANT, **numbers)
    if not enough:
        return _answer("insufficient", "few_units", f"Too few units yet: {wanted}.", code="T002", **numbers)
    sentence = f"Split as declared: {words.number(sample.n)} units, {words.p_value(p)}."
    return _answer("pass", "split_as_declared", sentence, **numbers)


def _still_wanted(sample: Sample, found: Fit, min_sample_size: int) -> str:
    """Return why the sample cannot be tested; "" if it can."""
    if sample.n < min_sample_size:
        return f"{words.number(sample.n)} of {min_sample_size}"
    expected = np.where(sample.shares > 0, sample.n * sample.shares, np.inf)
    rarest = int(np.argmin(expected))
    if found.method == "stratified" and expected[rarest] < SMALLEST_EXPECTED:
        return f"{sample.names[rarest]} expects {expected[rarest]:.1f}, a ramp needs 5 of each"
    return ""


def too_many_stray(units: float, declared: float) -> bool:
    """Return whether units in variants without a share, beside `declared` in others, fail the check."""
    return units > STRAY_UNITS and units > STRAY_SHARE * (units + declared)


def _answer(verdict: Answer, reason: str, sentence: str, **numbers: Any) -> SrmVerdict:
    return SrmVerdict(check="srm", verdict=verdict, reason=reason, sentence=sentence, **numbers)


def worst_variant(observed: Floats, shares: Floats) -> int:
    """Return the variant furthest from its share, in standard errors; of equals the last."""
    n = max(float(observed.sum()), 1.0)
    distance = np.abs(observed - n * shares) / np.sqrt(np.maximum(n * shares * (1 - shares), 1e-300))
    return int(np.flatnonzero(distance >= distance.max() * (1 - 1e-9))[-1])


def _mismatch(sample: Sample, severity: Severity, p: float, numbers: dict[str, Any]) -> SrmVerdict:
    i = worst_variant(sample.observed, sample.shares)
    seen, wanted = words.against(float(sample.observed[i] / max(sample.n, 1.0)), float(sample.shares[i]))
    sentence = (
        f"{'SRM' if severity == 'ERROR' else 'Possible SRM'}: {sample.names[i]} got {seen} of "
        f"{words.number(sample.n)} units, {wanted} declared ({words.p_value(p)})."
    )
    return _answer("fail", "ratio_mismatch", sentence, severity=severity, code="T001", **numbers)


def _remembered(sample: Sample, failed: FailedLook, numbers: dict[str, Any]) -> SrmVerdict:
    """Quote the look that failed, and today's share beside it."""
    then = failed.sample
    i = worst_variant(then.observed, then.shares)
    seen, wanted = words.against(float(then.observed[i] / max(then.n, 1.0)), float(then.shares[i]))
    today = sample.observed[sample.names.index(then.names[i])] / max(sample.n, 1.0)
    sentence = (
        f"SRM: {then.names[i]} got {seen} of {words.number(then.n)} units by {words.instant(failed.at)}, "
        f"{wanted} declared ({words.p_value(failed.p_value)}); by now {words.percent(float(today))} of "
        f"{words.number(sample.n)}."
    )
    numbers = numbers | {"severity": "ERROR", "code": "T001", "remembered": True}
    return _answer("fail", "ratio_mismatch", sentence, **numbers)


def _of_look(failed: FailedLook | None) -> dict[str, Any]:
    if failed is None:
        return {}
    then = failed.sample
    return {
        "failed_observed": {name: int(x) for name, x in zip(then.names, then.observed, strict=True)},
        "failed_expected": {name: float(s) for name, s in zip(then.names, then.shares, strict=True)},
        "failed_n": int(then.n),
        "failed_p_value": failed.p_value,
        "detected_at": failed.at,
    }


def _stray(sample: Sample, severity: Severity, numbers: dict[str, Any]) -> SrmVerdict:
    """Name the variants without a share; the kind with more units gives the reason and comes first."""
    total = sample.stray + sample.n
    parts = [
        (sum(units.values()), reason, words.stray(reason, units, total))
        for reason, units in zip(STRAY_REASONS, (sample.undeclared, sample.zero_share), strict=True)
        if units
    ]
    parts.sort(key=lambda part: -part[0])
    sentence = " ".join(part[2] for part in parts)
    return _answer("fail", parts[0][1], sentence, severity=severity, **numbers)


def _numbers(sample: Sample, found: Fit, deff: float | None) -> dict[str, Any]:
    n, tested = sample.n, found.degrees > 0 and sample.n > 0
    shares = sample.observed / n if n else np.zeros(len(sample.names))
    intervals = [wilson(x, n / (deff or 1.0)) for x in shares] if n else []
    return {
        "observed": {name: int(x) for name, x in zip(sample.names, sample.observed, strict=True)},
        "expected": {name: float(s) for name, s in zip(sample.names, sample.shares, strict=True)},
        "n": int(n),
        "chi_square": found.statistic if tested else None,
        "p_value": found.p if tested else None,
        "degrees_of_freedom": found.degrees,
        "method": found.method,
        "shares": {name: float(x) for name, x in zip(sample.names, shares, strict=True)} if n else {},
        "effect": {
            name: 100 * float(x - s) for name, x, s in zip(sample.names, shares, sample.shares, strict=True)
        } if n else {},
        "effect_interval": {
            name: (100 * (low - float(s)), 100 * (high - float(s)))
            for name, (low, high), s in zip(sample.names, intervals, sample.shares, strict=True)
        } if n else {},
        "undeclared": dict(sample.undeclared),
        "zero_share": dict(sample.zero_share),
        "design_effect": deff,
    }  # fmt: skip


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share seen in n units (Wilson 1927)."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))
