"""Traffic of one arm or segment that is lost while the rest of the flag is normal.

The test is `traffic_drop` of one part against the rest: the level of an hour (`Levels`) is what the rest of
the flag has in it, so that earlier weeks give the expected share of the rest in this hour of the week, and a
change of the whole flag does not count as a change of a part. The relative variance of the rest, 1 / rest,
is added to the dispersion. Hours with fewer than `FEWEST` units in the rest are neither judged nor learned
from: the mean of 1 / rest is far from 1 / mean there. Each of m parts is tested at a / m, so that all
together alarm as rarely as the whole flag does.

A value that another one replaces, such as a release, fades within days, and no earlier week says how much of
it is left. So a loss counts where it came at once: of its expected share of the flag, the first day of it has
kept at most `SUDDEN` of what the day before had.

Arms are tested on active units, from the newest declared split on, segments on newly exposed ones. Segments
by version and by reason are not: their shares move with every release.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from math import log
from typing import NamedTuple

import numpy as np

from exd_dagster.bins.model import ADMITTED, HOUR, OTHER, FlagBins, FlagSegments
from exd_dagster.config import FlagAudit, TrafficDropThresholds
from exd_dagster.stats import words
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.inputs import Floats
from exd_dagster.stats.traffic.declared import declared_hours, whole_hours
from exd_dagster.stats.traffic.levels import DAY, Levels
from exd_dagster.stats.traffic.seasonal import TESTS_FROM, WINDOWS, Declared
from exd_dagster.stats.traffic.traffic import TrafficVerdict, traffic_drop_test
from exd_dagster.stats.verdict import StrictJson, Verdict

CHECK = "segment_traffic"
MOST_PARTS = 12
"""Number of segments tested, the largest ones; the cost of an evaluation grows with it."""
FEWEST = 10
"""Units in the rest from which on an hour is compared with it."""
SUDDEN = 0.65
LONGEST = len(WINDOWS) - 1
"""Place of the longest window, 24 hours."""
MOVING = ("sdk_version", "manifest_version", "evaluation_reason")
"""Dimensions whose shares change with every release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow(StrictJson):
    """One arm or segment, for a table or a chart: its worst window if it fails, else the last 24 hours.

    Attributes:
        part: "variant = treatment", "browser = Safari".
        units: of the part in the window.
        expected: units that the window expected.
        low: lower end of four deviations around the expectation, as a share of it.
        high: upper end.
        failed: whether it fails.
        bad_from: start of the first hour at fault (UTC).
        bad_until: end of the last one, None while it is ongoing.
    """

    part: str
    units: float
    expected: float
    low: float
    high: float
    failed: bool = False
    bad_from: datetime | None = None
    bad_until: datetime | None = None

    @property
    def kept(self) -> float:
        """Units as a share of those expected."""
        return self.units / self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentTrafficVerdict(Verdict):
    """The verdict on the traffic of every part.

    Attributes:
        parts_tested: how many arms and segments were.
        part: the one that lost the largest share: "variant = treatment", "browser = Safari".
        latest_volume: its units in the window.
        expected_volume: what the window expected.
        window: hours in the window.
        p_value: P(volume this small or smaller).
        level: the window alarms below this p-value.
        failing: every part that fails, the largest loss first.
        rows: the failing parts, then the largest others.
    """

    parts_tested: int = 0
    part: str | None = None
    latest_volume: float | None = None
    expected_volume: float | None = None
    window: int | None = None
    p_value: float | None = None
    level: float | None = None
    failing: tuple[str, ...] = ()
    rows: tuple[PartRow, ...] = ()


class _Part(NamedTuple):
    """An arm or a segment: float (T,) units, those of the rest, and the first bin that may be compared."""

    name: str
    units: Floats
    rest: Floats
    first: int = 0
    is_arm: bool = False


def segment_traffic(
    flag: FlagAudit,
    bins: FlagBins,
    segments: FlagSegments,
    limits: TrafficDropThresholds = TrafficDropThresholds(),  # noqa: B008 - frozen
    *,
    judged: tuple[datetime, datetime] | None = None,
    carried: Carried | None = None,
) -> SegmentTrafficVerdict:
    """Test the traffic of every arm and of the largest segments.

    Args:
        flag: its split, phases, clock, holidays and events.
        bins: its closed hourly bins.
        segments: the newly exposed units by segment, over the same hours.
        limits: the level of the traffic test.
        judged: hours whose alarms count, [start, end) in UTC; None: the last 24 closed ones.
        carried: states of earlier evaluations to go on from; None: every hour is evaluated.

    Returns:
        The verdict: pass, fail (severity WARN), insufficient before hour 240 of the flag, skipped where it
        has one part alone.
    """
    whole = whole_hours(flag, bins)
    current = segments.between(whole.start, whole.audited_through)
    parts = [*_arms(flag, whole), *_largest(current)]
    if len(parts) < 2:
        return SegmentTrafficVerdict(check=CHECK, verdict="skipped", reason="one_part", sentence=_ONE_PART)
    if len(whole) <= TESTS_FROM:
        return SegmentTrafficVerdict(
            check=CHECK, verdict="insufficient", reason="learning", sentence=_LEARNING
        )
    hours = None if judged is None else (whole.index(judged[0]), whole.index(judged[1]))
    found = [(part, _judge(flag, whole, part, limits, len(parts), hours, carried)) for part in parts]
    lost = [(part, v) for part, v in found if v.verdict == "fail" and _sudden(part, v)]
    lost.sort(key=lambda each: -((each[1].expected_volume or 0.0) - (each[1].latest_volume or 0.0)))
    failing = {part.name for part, _ in lost}
    others = [_row(part.name, v) for part, v in found if part.name not in failing]
    others.sort(key=lambda row: -row.expected if row else 0.0)
    rows = tuple(row for row in (*(_row(p.name, v, whole) for p, v in lost), *others) if row)
    if not lost:
        sentence = f"Each of {len(parts)} arms and segments has its share of the flag's traffic."
        return SegmentTrafficVerdict(
            check=CHECK,
            verdict="pass",
            reason="as_expected",
            sentence=sentence,
            parts_tested=len(parts),
            rows=rows,
        )
    return replace(_failure(whole, lost, len(parts)), rows=rows)


_ONE_PART = "Skipped: the flag has one variant, and no dimension divides its units."
_LEARNING = f"Learning: an hour of the week is compared from hour {TESTS_FROM} on."


def _arms(flag: FlagAudit, bins: FlagBins) -> Iterator[_Part]:
    total = bins.units.sum(axis=1).astype(np.float64)
    changed = [later.start for phase, later in pairwise(flag.schedule) if later.split != phase.split]
    first = bins.index(max((start for start in changed if start < bins.audited_through), default=bins.start))
    for i, name in enumerate(bins.variants):
        own = bins.units[:, i].astype(np.float64)
        if name in flag.variants and len(flag.variants) > 1 and own.sum() >= ADMITTED:
            yield _Part(f"variant = {name}", own, total - own, first, is_arm=True)


def _largest(segments: FlagSegments) -> Iterator[_Part]:
    units = segments.new_units.sum(axis=2).astype(np.float64)
    names = np.array([segment.dimension for segment in segments.segments])
    order = sorted(range(len(units)), key=lambda i: -units[i].sum())
    chosen = [
        i
        for i in order
        if names[i] not in MOVING and segments.segments[i].value != OTHER and units[i].sum() >= ADMITTED
    ]
    for i in chosen[:MOST_PARTS]:
        rest = units[names == names[i]].sum(axis=0) - units[i]
        if rest.sum() >= ADMITTED:
            yield _Part(str(segments.segments[i]), units[i], rest)


def _judge(
    flag: FlagAudit,
    bins: FlagBins,
    part: _Part,
    limits: TrafficDropThresholds,
    parts: int,
    hours: tuple[int, int] | None,
    carried: Carried | None,
) -> TrafficVerdict:
    delivered = bins.delivered.copy()
    delivered[: part.first] = False
    declared, left_out = declared_hours(flag, bins, delivered, part.units, limits.baseline)
    test = partial(
        traffic_drop_test,
        part.units,
        declared=_against_rest(declared, part.rest),
        left_out=left_out,
        alarm_level=limits.alarm_level / parts,
        delivered=delivered,
        judged=hours,
    )
    verdict = test(carried=carried and carried.of(f"{CHECK} {part.name}"))
    if carried is None or verdict.scan is None or _last_window(verdict):
        return verdict
    return test()  # the last window lies in hours that were carried


def _sudden(part: _Part, verdict: TrafficVerdict) -> bool:
    """Return whether the loss of a failing verdict came within a day; that of an arm need not."""
    scan, first, last = verdict.scan, verdict.first_bad, verdict.last_bad
    if part.is_arm or first is None or last is None:
        return True
    before, since = slice(max(first - DAY, 0), first), slice(first, min(first + DAY, last + 1))
    if scan is None:  # nothing came, where earlier days had units: the day before is one of them
        usual = (verdict.expected_volume or 0.0) / (last + 1 - first)
        return bool(part.units[before].mean() > SUDDEN * usual) if first else True
    return _kept(part, scan.expected, since) <= SUDDEN * _kept(part, scan.expected, before)


def _kept(part: _Part, expected: Floats, hours: slice) -> float:
    """Return a part's share of the flag over the share that was expected; 1 where nothing was."""
    wanted, units, rest = expected[hours], part.units[hours], part.rest[hours]
    known = np.isfinite(wanted) & (rest > 0)
    wanted, units, rest = wanted[known], units[known], rest[known]
    if not wanted.sum():
        return 1.0
    return float(units.sum() / (units + rest).sum() / (wanted.sum() / (wanted + rest).sum()))


def _against_rest(declared: Declared, rest: Floats) -> Declared:
    """Return the hours with what the rest has in each as their level; a level phases declare is in it."""
    # The level is about 1: relative to the power of four next to the mean, which new hours seldom change.
    enough = rest >= FEWEST
    mean = 4.0 ** round(log(rest[enough].mean(), 4)) if enough.any() else 1.0
    level = np.where(enough, rest, mean) / mean
    known = declared.levels
    return replace(
        declared,
        levels=Levels(level, known.judged & enough, known.learned & enough, 1 / np.maximum(rest, 1.0)),
    )


def _last_window(verdict: TrafficVerdict) -> tuple[int, int] | None:
    """Return place and last bin of the newest window of 24 hours that was tested, None without any."""
    scan = verdict.scan
    if scan is None:
        return None
    tested = np.flatnonzero(np.isfinite(scan.window_expected[LONGEST] * scan.dispersion[LONGEST]))
    return (LONGEST, int(tested[-1])) if len(tested) else None


def _row(name: str, verdict: TrafficVerdict, failed_in: FlagBins | None = None) -> PartRow | None:
    """Return one part; None where no hour of it could be compared."""
    scan = verdict.scan
    if failed_in is not None:
        units, expected, phi = verdict.latest_volume, verdict.expected_volume, verdict.dispersion
    elif scan is None:
        return None
    else:
        window = _last_window(verdict)
        if window is None:
            return None
        units, expected = float(scan.volumes[window]), float(scan.window_expected[window])
        phi = float(scan.dispersion[window])
    if units is None or not expected:
        return None
    allowed = 4 * float(np.sqrt(1 / expected + (phi or 0.0)))
    begun, over = verdict.first_bad, verdict.state == "contained"
    start = failed_in.start if failed_in else None
    return PartRow(
        part=name,
        units=units,
        expected=expected,
        low=max(1 - allowed, 0.0),
        high=1 + allowed,
        failed=failed_in is not None,
        bad_from=None if start is None else start + HOUR * (begun or 0),
        bad_until=None if start is None or not over else start + HOUR * ((verdict.last_bad or 0) + 1),
    )


def _failure(bins: FlagBins, lost: list[tuple[_Part, TrafficVerdict]], parts: int) -> SegmentTrafficVerdict:
    part, worst = lost[0]
    first, last = worst.first_bad or 0, worst.last_bad or 0
    bad_from = bins.start + HOUR * first
    bad_until = None if worst.state == "ongoing" else bins.start + HOUR * (last + 1)
    kept = words.percent((worst.latest_volume or 0.0) / max(worst.expected_volume or 0.0, 1e-300), 2)
    sentence = (
        f"{part.name}: traffic fell to {kept} of its share of the flag ({worst.window} h window, "
        f"{words.number(worst.latest_volume or 0)} of {words.number(worst.expected_volume or 0)} units) "
        f"{words.hours(bad_from, bad_until)}, while the rest was normal."
    )
    return SegmentTrafficVerdict(
        check=CHECK,
        verdict="fail",
        severity="WARN",
        reason="traffic_drop",
        sentence=sentence,
        state=worst.state,
        bad_from=bad_from,
        bad_until=bad_until,
        usable_until=bad_from,
        parts_tested=parts,
        part=part.name,
        latest_volume=worst.latest_volume,
        expected_volume=worst.expected_volume,
        window=worst.window,
        p_value=worst.p_value,
        level=worst.level,
        failing=tuple(each.name for each, _ in lost),
    )
