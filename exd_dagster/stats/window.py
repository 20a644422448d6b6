"""What of a flag's bins a test may use: the current iteration, and what may be served in each hour.

From the hour in which a phase starts until its uptake is over, a unit may be served what was declared before:

- the phase before in the same iteration: both splits are allowed (`Period.replaced`);
- several phases before, where they follow one another faster than they are taken up: the hour is left out;
- the iteration before: its units are no part of this one, so the hour is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins, FlagSegments
from exd_dagster.config import FlagAudit, Phase, floor_hour
from exd_dagster.stats.inputs import Booleans, Floats, Period


@dataclass(frozen=True, slots=True)
class Window:
    """The newly exposed units of the current iteration, ready for the split tests.

    Attributes:
        start: start of the first bin (UTC).
        names: V declared variants, in order of declaration.
        counts: float (T, V), 0 in hours left out and where a variant has no declared share.
        steady: bool (T,), False while a declared change is being taken up.
        own: first bin whose units all belong to this iteration.
        periods: declared split of every bin; none when no split is declared.
        undeclared: units by variant that no phase declares.
        zero_share: units by declared variant, in hours in which its declared share is 0.
        stray: float (T,), units of both kinds by hour.
        taking_up: start of the phase that is being taken up in the last bin, and when its uptake ends (UTC);
            None when there is none.
    """

    start: datetime
    names: tuple[str, ...]
    counts: Floats
    steady: Booleans
    own: int
    periods: tuple[Period, ...]
    undeclared: dict[str, int]
    zero_share: dict[str, int]
    stray: Floats
    taking_up: tuple[datetime, datetime] | None

    @property
    def steady_counts(self) -> Floats:
        """`counts` without hours in which a declared change is being taken up, float (T, V)."""
        return self.counts * self.steady[:, None]

    def instant(self, index: int) -> datetime:
        """Return the start of bin `index` (UTC)."""
        return self.start + HOUR * index


def counted(flag: FlagAudit, bins: FlagBins) -> FlagBins:
    """Return the bins up to the flag's end, an hour cut by the end included."""
    if flag.end is None or flag.end >= bins.audited_through:
        return bins
    return bins.between(bins.start, ceil_hour(flag.end))


def ceil_hour(instant: datetime) -> datetime:
    """Return the first full hour at or after `instant`."""
    floor = floor_hour(instant)
    return floor if floor == instant else floor + HOUR


def iteration_begun(flag: FlagAudit, through: datetime) -> datetime:
    """Return the first instant of the iteration that `through` lies in (UTC)."""
    return max((start for start in flag.iterations if start <= through), default=flag.start)


def phase_hours(flag: FlagAudit, instant: datetime, through: datetime) -> tuple[Phase, datetime, datetime]:
    """Return the phase in force at `instant`, and the hours up to `through` in which it alone is served.

    Args:
        flag: a flag with a declared split.
        instant: within the flag's life (UTC); where clients still take the phase up, its hours begin at once.
        through: end of the hours that are known (UTC).
    """
    schedule = flag.schedule
    number = max((i for i, phase in enumerate(schedule) if floor_hour(phase.start) <= instant), default=0)
    phase, later = schedule[number], schedule[number + 1 :]
    steady = ceil_hour(flag.taken_up(phase))
    first = steady if number and steady <= instant else floor_hour(phase.start)
    return phase, first, min([through, *(following.start for following in later[:1])])


class _Piece(NamedTuple):
    """Bins [first, end) in which phase number `phase` is in force.

    `served` are the different splits that may be served, float (V,) each, the one in force first.
    """

    first: int
    end: int
    phase: int
    served: list[Floats]


def split_window(flag: FlagAudit, bins: FlagBins) -> Window:
    """Return what the split tests may use of closed bins."""
    begun = iteration_begun(flag, bins.audited_through)
    current = bins.between(floor_hour(begun), bins.audited_through)
    phases = _phases(flag, begun, current.audited_through)
    names = tuple(dict.fromkeys(name for phase in phases for name in phase.split))
    pieces = _pieces(flag, current, phases, names)
    own = current.index(ceil_hour(flag.taken_up(phases[0]))) if begun > flag.start else 0
    allowed, steady, left_out = _served(pieces, len(current), len(names))
    steady[:own], left_out[:own] = False, True
    column = {name: i for i, name in enumerate(current.variants)}
    outside = current.new_units.copy("K")
    outside[:own] = 0
    counts = np.zeros_like(allowed, dtype=np.float64)
    for i, name in enumerate(names):
        if name in column:
            counts[:, i] = np.where(allowed[:, i] & ~left_out, current.new_units[:, column[name]], 0)
            outside[:, column[name]] *= ~allowed[:, i]
    strays = {name: int(outside[:, i].sum()) for name, i in column.items() if outside[:, i].any()}
    return Window(
        start=current.start,
        names=names,
        counts=counts,
        steady=steady,
        own=own,
        periods=_periods(pieces),
        undeclared={name: units for name, units in strays.items() if name not in flag.variants},
        zero_share={name: units for name, units in strays.items() if name in flag.variants},
        stray=outside.sum(axis=1).astype(np.float64),
        taking_up=_taking_up(flag, phases, steady),
    )


def tested_counts(flag: FlagAudit, bins: FlagBins, segments: FlagSegments) -> Floats:
    """Return what the split tests may use of the units of segments, float (S, T, V).

    Args:
        flag: whose.
        bins: its closed bins.
        segments: over the hours of `split_window(flag, bins)`.
    """
    usable = split_window(flag, replace(bins, new_units=np.ones_like(bins.new_units)))
    column = {name: i for i, name in enumerate(segments.variants)}
    counts: Floats = np.zeros((len(segments.segments), *usable.counts.T.shape)).swapaxes(1, 2)
    for i, name in enumerate(usable.names):
        if name in column:
            counts[..., i] = segments.new_units[..., column[name]] * usable.counts[:, i]
    return counts


def _phases(flag: FlagAudit, begun: datetime, end: datetime) -> list[Phase]:
    """Return the phase in force when the iteration began, then those that began since."""
    earlier = [phase for phase in flag.schedule if phase.start <= begun][-1:]
    later = [phase for phase in flag.schedule if begun < phase.start < end]
    return earlier + later


def _pieces(flag: FlagAudit, bins: FlagBins, phases: Sequence[Phase], names: Sequence[str]) -> list[_Piece]:
    """Cut the bins where a phase starts and where it has been taken up."""
    splits = [np.array([phase.split.get(name, 0.0) for name in names]) for phase in phases]
    starts = [0, *(bins.index(floor_hour(phase.start)) for phase in phases[1:])]
    ends = [0, *(bins.index(ceil_hour(flag.taken_up(phase))) for phase in phases[1:])]
    edges = sorted({0, *starts, *ends, len(bins)})
    pieces = []
    for first, end in pairwise(edges if len(bins) else [0, 0]):
        begun = [number for number in range(len(phases)) if starts[number] <= first]
        taking = [number for number in begun[1:] if first < ends[number]]
        served: list[Floats] = []
        for number in (*begun[-1:], *taking, *(number - 1 for number in taking)):
            if not any(np.array_equal(splits[number], split) for split in served):
                served.append(splits[number])
        if served:
            pieces.append(_Piece(first, end, begun[-1], served))
    return pieces


def _served(pieces: Sequence[_Piece], bins: int, variants: int) -> tuple[Booleans, Booleans, Booleans]:
    """Return which variants may be served (T, V), and hours (T,) with one split and with more than two."""
    allowed, one, many = (
        np.zeros((bins, variants), dtype=bool, order="F"),
        np.ones(bins, dtype=bool),
        np.zeros(bins, bool),
    )
    for piece in pieces:
        rows = slice(piece.first, piece.end)
        allowed[rows] = np.any(np.array(piece.served) > 0, axis=0)
        one[rows], many[rows] = len(piece.served) == 1, len(piece.served) > 2
    return allowed, one, many


def _periods(pieces: Sequence[_Piece]) -> tuple[Period, ...]:
    """Return the declared split of every bin: a period for each phase, and for each uptake of one."""
    periods: list[Period] = []
    last = None
    for piece in pieces:
        replaced = piece.served[1] if len(piece.served) == 2 else None
        kind = piece.phase, None if replaced is None else tuple(replaced)
        if kind != last:
            periods.append(Period(piece.first, piece.served[0], replaced))
        last = kind
    return tuple(periods)


def _taking_up(
    flag: FlagAudit, phases: Sequence[Phase], steady: Booleans
) -> tuple[datetime, datetime] | None:
    """Return the start and the end of the uptake that lasts longest, where the last bin is not steady."""
    if steady.all() or steady[-1]:
        return None
    newest = max(phases, key=flag.taken_up)
    return newest.start, flag.taken_up(newest)
