"""Traffic drop: did units stop arriving?

`seasonal` (default) compares the trailing 1, 3, 6 and 24 hours with the same hours of earlier weeks. It
tests from hour 240; before that it only detects the absence of all units. `zscore` is the plain rule of
`zscore.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from exd_dagster.errors import InputError, did_you_mean
from exd_dagster.stats import words
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.inputs import Booleans, Floats, checked_counts, checked_level
from exd_dagster.stats.methods.zscore import zscore
from exd_dagster.stats.traffic.seasonal import (
    TESTS_FROM,
    WINDOWS,
    Declared,
    SeasonalScan,
    lower_tail,
    nothing_declared,
    scan,
)
from exd_dagster.stats.verdict import Json, Severity, Verdict

TrafficMethod = Literal["seasonal", "zscore"]
METHODS = get_args(TrafficMethod)
JUDGED_HOURS = 24
BLOCKING_WINDOWS = (3, 6, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficVerdict(Verdict):
    """The traffic verdict: for the worst of the windows that end last, else the newest hour.

    Attributes:
        method: seasonal or zscore.
        latest_volume: units in the window.
        expected_volume: expected units of the window; None while learning.
        p_value: P(volume this small or smaller), method seasonal.
        z_score: method zscore.
        window: hours in the window.
        dispersion: phi of the window, method seasonal.
        level: the window alarms below this p-value.
        first_bad: first bin at fault (from 0); None unless it failed.
        last_bad: last bin at fault.
        tests_from: bin from which it tests, while learning: 240 hours after the first unit.
        left_out_hours: hours not evaluated because of a holiday or an event.
        scan: every hour against its expectation, for a chart; not part of the metadata.
    """

    method: str = "seasonal"
    latest_volume: float | None = None
    expected_volume: float | None = None
    p_value: float | None = None
    z_score: float | None = None
    window: int = 1
    dispersion: float | None = None
    level: float | None = None
    first_bad: int | None = None
    last_bad: int | None = None
    tests_from: int | None = None
    left_out_hours: int = 0
    scan: SeasonalScan | None = field(default=None, repr=False, compare=False)

    def as_metadata(self) -> dict[str, Json]:
        """Return every number but the scan as strict JSON."""
        metadata = Verdict.as_metadata(replace(self, scan=None))
        del metadata["scan"]
        return metadata


def traffic_drop_test(
    volumes: ArrayLike,
    *,
    method: TrafficMethod = "seasonal",
    alarm_level: float = 1e-4,
    drop_fraction: float = 0.5,
    window: int = 7,
    z_threshold: float = 3.0,
    delivered: ArrayLike | None = None,
    judged: tuple[int, int] | None = None,
    declared: Declared | None = None,
    left_out: Mapping[int, str] = MappingProxyType({}),
    carried: Carried | None = None,
) -> TrafficVerdict:
    """Test the volumes of one flag.

    Args:
        volumes: whole numbers (bins,), units per bin; hourly for method seasonal.
        method: "seasonal" or "zscore".
        alarm_level: a; a seasonal window alarms below a/4.
        drop_fraction: a failure is an ERROR only when at least this share of the expected volume is lost.
        window: bins of history, method zscore.
        z_threshold: method zscore fails below minus this.
        delivered: bool (bins,), False for hours that are unknown; None: all known.
        judged: bins [first, end) whose alarms count; None: the last 24. The newest delivered hour is always
            evaluated.
        declared: clock, phases and days of the flag, method seasonal; None: nothing is declared.
        left_out: why a bin is not evaluated, by bin, method seasonal.
        carried: states of earlier evaluations to go on from, method seasonal; None: every bin is evaluated.

    Returns:
        The verdict: pass, fail, insufficient (empty input, or learning), not_checked (nothing was delivered).

    Raises:
        InputError: for an unusable volume, level or method.
    """
    if method not in METHODS:
        raise InputError(f"method '{method}' is not known.{did_you_mean(str(method), METHODS)}")
    checked_level(alarm_level, "alarm_level")
    checked_level(drop_fraction, "drop_fraction")
    if window < 1:
        raise InputError(f"window is {window}; the history has 1 bin or more")
    series = checked_counts(volumes, "volumes", 1)
    known = np.ones(len(series), dtype=bool) if delivered is None else np.asarray(delivered, dtype=bool)
    if known.shape != series.shape:
        raise InputError(f"delivered has shape {known.shape}, volumes {series.shape}; give one per bin")
    if not len(series):
        return _answer("insufficient", "no_bins", "No closed hour yet.", method=method)
    if method == "zscore":
        return _by_zscore(series, window, z_threshold, drop_fraction)
    first, end = judged or (len(series) - JUDGED_HOURS, len(series))
    hours = np.zeros(len(series), dtype=bool)
    hours[max(first, 0) : end] = True
    declared_changes = declared or nothing_declared(len(series))
    if not left_out:
        return _by_season(series, known, hours, alarm_level, drop_fraction, declared_changes, carried)
    note, count = _why(left_out, hours)
    open_hours = known.copy()
    open_hours[list(left_out)] = False
    if count and known[hours].any() and not open_hours[hours].any():
        return _answer("not_checked", "left_out", f"Not evaluated: {note}.", left_out_hours=count)
    verdict = _by_season(series, open_hours, hours, alarm_level, drop_fraction, declared_changes, carried)
    if not count:
        return verdict
    sentence = f"{verdict.sentence[:-1]}; {count} h not evaluated: {note}."
    return replace(verdict, sentence=sentence, left_out_hours=count)


def _why(left_out: Mapping[int, str], judged: Booleans) -> tuple[str, int]:
    """Return why hours are not evaluated, and how many."""
    notes = [left_out[int(hour)] for hour in np.flatnonzero(judged) if int(hour) in left_out]
    return ", ".join(dict.fromkeys(notes)), len(notes)


def _by_season(
    volumes: Floats,
    delivered: Booleans,
    judged: Booleans,
    level: float,
    drop: float,
    declared: Declared,
    carried: Carried | None,
) -> TrafficVerdict:
    if not delivered[judged].any():
        return _answer(
            "not_checked", "nothing_landed", "Not checked: no record was delivered for these hours."
        )
    end = int(np.flatnonzero(delivered)[-1])
    judged[end] = True
    launch = int((volumes > 0).argmax())
    if not volumes.any():
        return _answer("insufficient", "no_units", "No unit yet: nothing to compare with.", latest_volume=0.0)
    known = delivered & (np.arange(len(volumes)) >= launch)  # hours before the first unit are not history
    levels = declared.levels
    if len(volumes) - launch <= TESTS_FROM:
        return _while_learning(volumes / levels.level * levels.level[end], known, launch, level)
    if not levels.judged[end]:
        return _while_learning(volumes, known, launch, level, phase=True)
    seen = scan(volumes, known, level, declared, carried, int(judged.argmax()))
    alarms = np.flatnonzero(seen.alarm & judged)
    if not len(alarms):
        return _passes(seen, end, level)
    if carried is not None:  # an episode may have begun in hours that were carried
        seen = scan(volumes, known, level, declared)
    newest = int(alarms[-1])
    episode = _episode(seen, newest)
    first, last = _extent(seen, volumes, episode, level)
    ongoing = _ongoing(seen, last, end, level)
    row, hour = (int(np.argmin(seen.p[:, newest])), newest) if ongoing else _deepest(seen, episode, level)
    blocking = _blocking_row(seen, end, level, drop) if ongoing else None
    severity: Severity = "WARN" if blocking is None else "ERROR"
    numbers = _numbers(seen, row if blocking is None else blocking, hour, level)
    return _answer(
        "fail",
        "traffic_drop",
        _sentence(numbers),
        severity=severity,
        state="ongoing" if ongoing else "contained",
        first_bad=first,
        last_bad=last,
        **numbers,
    )


def _episode(seen: SeasonalScan, newest: int) -> slice:
    """Return the unbroken run of alarms that ends at bin `newest`."""
    quiet = np.flatnonzero(~seen.alarm[:newest])
    return slice(int(quiet[-1]) + 1 if len(quiet) else 0, newest + 1)


def _deepest(seen: SeasonalScan, episode: slice, level: float) -> tuple[int, int]:
    """Return (row, bin) of the alarm that lost the largest share; of equals the longest, newest window."""
    kept = _kept(seen, episode, level)
    row, offset = np.argwhere(kept <= kept.min() + 1e-12)[-1]
    return int(row), episode.start + int(offset)


def _kept(seen: SeasonalScan, episode: slice, level: float) -> Floats:
    """Return volume / expected of the windows that alarmed in the episode, float (4, hours); 1 for others."""
    alarmed = seen.p[:, episode] < level / len(WINDOWS)
    share = seen.volumes[:, episode] / np.maximum(np.nan_to_num(seen.window_expected[:, episode]), 1e-300)
    return np.asarray(np.where(alarmed, share, 1.0))


def _ongoing(seen: SeasonalScan, last_bad: int, end: int, level: float) -> bool:
    """Return True while the newest delivered hour, bin `end`, is at fault, or its 1 or 3 h window alarms."""
    return last_bad == end or bool((seen.p[:2, end] < level / len(WINDOWS)).any())


def _blocking_row(seen: SeasonalScan, end: int, level: float, drop: float) -> int | None:
    """Return the most surprising window that ends last, is 3 hours or longer, and lost enough volume."""
    rows = [
        row
        for row, window in enumerate(WINDOWS)
        if window in BLOCKING_WINDOWS
        and seen.p[row, end] < level / len(WINDOWS)
        and seen.volumes[row, end] <= (1 - drop) * seen.window_expected[row, end]
    ]
    return min(rows, key=lambda row: float(seen.p[row, end]), default=None)


def _numbers(seen: SeasonalScan, row: int, hour: int, level: float) -> dict[str, Any]:
    return {
        "latest_volume": float(seen.volumes[row, hour]),
        "expected_volume": float(seen.window_expected[row, hour]),
        "p_value": float(seen.p[row, hour]),
        "window": WINDOWS[row],
        "dispersion": float(seen.dispersion[row, hour]),
        "level": level / len(WINDOWS),
        "scan": seen,
    }


def _sentence(numbers: dict[str, Any]) -> str:
    volume, expected, window = numbers["latest_volume"], numbers["expected_volume"], numbers["window"]
    return (
        f"Traffic fell to {words.percent(volume / expected, 2)} of the expected level "
        f"({window} h window, {words.number(volume)} of {words.number(expected)} units)."
    )


def _extent(seen: SeasonalScan, volumes: Floats, episode: slice, level: float) -> tuple[int, int]:
    """Return first and last bin at fault of an episode."""
    # Within the windows that alarmed, hours count as lost while they stay below the midpoint between what
    # was expected and the deepest window: the period of largest total loss below that line.
    first = [
        window for row, window in enumerate(WINDOWS) if seen.p[row, episode.start] < level / len(WINDOWS)
    ]
    begin = max(episode.start - max(first) + 1, 0)
    line = seen.expected[begin : episode.stop] * (1 + float(_kept(seen, episode, level).min())) / 2
    total = np.concatenate([np.zeros(1), np.nan_to_num(line - volumes[begin : episode.stop]).cumsum()])
    gains = total[1:] - np.minimum.accumulate(total)[:-1]
    last = int(np.argmax(gains))
    onset = int(np.argmin(total[: last + 1]))
    return begin + onset, begin + last


def _passes(seen: SeasonalScan, hour: int, level: float) -> TrafficVerdict:
    expected = seen.window_expected[0, hour]
    if not np.isfinite(expected):
        return _answer("not_checked", "no_history", "Not checked: this hour of the week has no earlier week.")
    numbers = _numbers(seen, 0, hour, level)
    volume, phi = seen.volumes[0, hour], seen.dispersion[0, hour]
    if np.isfinite(phi):
        numbers["p_value"] = float(lower_tail(volume, expected, phi))
    sentence = (
        f"Traffic as expected: {words.number(numbers['latest_volume'])} units, "
        f"{words.number(expected)} expected."
    )
    return _answer("pass", "as_expected", sentence, **numbers)


def _while_learning(
    volumes: Floats, delivered: Booleans, launch: int, level: float, *, phase: bool = False
) -> TrafficVerdict:
    """Detect only absence: no unit at all where the same hours of other days had many."""
    # That is before hour 240, and in the first day of a phase without declared coverage.
    empty = _trailing_empty(volumes, delivered)
    usual = _usual(volumes, delivered, empty) if empty else 0.0
    if empty and exp(-usual / 4) < level / len(WINDOWS):
        hours = "hour" if empty == 1 else f"{empty} hours"
        return _answer(
            "fail", "no_data",
            f"No unit in the last {hours}, where the same hours of earlier days had {words.number(usual)}.",
            severity="ERROR" if empty >= min(BLOCKING_WINDOWS) else "WARN", state="ongoing",
            latest_volume=0.0, expected_volume=usual, window=empty, p_value=exp(-usual / 4),
            level=level / len(WINDOWS), first_bad=len(volumes) - empty, last_bad=len(volumes) - 1,
        )  # fmt: skip
    if phase:
        return _answer(
            "insufficient", "new_phase", "Learning the level of the new phase, which declares no coverage: "
            "its first day is tested for missing traffic only; declare the phase's coverage to evaluate it.",
            latest_volume=float(volumes[-1]),
        )  # fmt: skip
    start = launch + TESTS_FROM
    day = min((len(volumes) - launch) // 24 + 1, 10)
    return _answer(
        "insufficient", "learning", f"Learning: day {day} of 10; tests from hour {start}.",
        latest_volume=float(volumes[-1]), tests_from=start,
    )  # fmt: skip


def _trailing_empty(volumes: Floats, delivered: Booleans) -> int:
    """Return how many of the newest hours are delivered and without a unit, at most 24."""
    busy = np.flatnonzero((volumes > 0) | ~delivered)
    return min(len(volumes) - 1 - int(busy[-1]) if len(busy) else len(volumes), 24)


def _usual(volumes: Floats, delivered: Booleans, hours: int) -> float:
    """Return the units the newest `hours` hours had on earlier days, on average; 0 without an earlier day."""
    usual = 0.0
    for hour in range(len(volumes) - hours, len(volumes)):
        days = np.arange(hour - 24, -1, -24)
        days = days[delivered[days]]
        usual += float(volumes[days].mean()) if len(days) else 0.0
    return usual


def _by_zscore(volumes: Floats, window: int, threshold: float, drop: float) -> TrafficVerdict:
    found = zscore(volumes, window=window, z_threshold=threshold, drop_fraction=drop)
    numbers: dict[str, Any] = {
        "method": "zscore", "latest_volume": found.latest, "expected_volume": found.mean, "z_score": found.z,
    }  # fmt: skip
    if not found.anomaly:
        return _answer(
            "pass", "as_expected", f"Traffic within {threshold:g} deviations of its recent mean.", **numbers
        )
    lost = found.latest <= (1 - drop) * found.mean
    return _answer(
        "fail",
        "traffic_drop",
        f"Traffic fell to {words.percent(found.latest / found.mean, 2)} of its recent mean "
        f"({words.number(found.latest)} of {words.number(found.mean)} units, z = {found.z:.1f}).",
        severity="ERROR" if lost else "WARN", state="ongoing",
        first_bad=len(volumes) - 1, last_bad=len(volumes) - 1, **numbers,
    )  # fmt: skip


def _answer(verdict: Any, reason: str, sentence: str, **numbers: Any) -> TrafficVerdict:
    return TrafficVerdict(check="traffic_drop", verdict=verdict, reason=reason, sentence=sentence, **numbers)
