"""What of a flag's bins a test may use: the current iteration, phase by phase, without mixed hours."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from exd_dagster.bins.model import HOUR, FlagBins
from exd_dagster.config import FlagAudit, Phase, floor_hour
from exd_dagster.stats.inputs import Booleans, Floats, Stretch


@dataclass(frozen=True, slots=True)
class Window:
    """The newly exposed units of the current iteration, ready for the split tests.

    Attributes:
        start: start of the first bin (UTC).
        names: V declared variants, in order of declaration.
        counts: float (T, V); hours in which the split changed are empty, units without a declared share are
            0.
        stretches: declared split of every bin; none when no split is declared.
        undeclared: units by variant outside the declaration.
        stray: float (T,), such units by hour.
    """

    start: datetime
    names: tuple[str, ...]
    counts: Floats
    stretches: tuple[Stretch, ...]
    undeclared: dict[str, int]
    stray: Floats

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


def split_window(flag: FlagAudit, bins: FlagBins) -> Window:
    """Return what the split tests may use of closed bins."""
    begun = max((start for start in flag.iterations if start <= bins.audited_through), default=flag.start)
    current = bins.between(floor_hour(begun), bins.audited_through)
    phases = _phases(flag, begun, current.audited_through)
    stretches = [
        (current.index(ceil_hour(phase.start)) if i else 0, phase.split) for i, phase in enumerate(phases)
    ]
    names = tuple(dict.fromkeys(name for _, split in stretches for name in split))
    whole = ~_mixed(flag, current)
    shares = np.array([[split.get(name, 0.0) for name in current.variants] for _, split in stretches])
    phase_of = np.searchsorted([first for first, _ in stretches], np.arange(len(current)), side="right") - 1
    declared = (shares > 0)[phase_of] if stretches else np.zeros(current.new_units.shape, dtype=bool)
    units = current.new_units * whole[:, None]
    stray = np.where(declared, 0, units)
    tested = np.where(declared, units, 0).astype(np.float64)
    column = {name: i for i, name in enumerate(current.variants)}
    columns = [tested[:, column[n]] if n in column else np.zeros(len(current)) for n in names]
    return Window(
        start=current.start,
        names=names,
        counts=np.stack(columns, axis=1) if columns else np.zeros((len(current), 0)),
        stretches=tuple(
            Stretch(first, np.array([split.get(name, 0.0) for name in names])) for first, split in stretches
        ),
        undeclared={n: int(stray[:, i].sum()) for n, i in column.items() if stray[:, i].any()},
        stray=stray.sum(axis=1).astype(np.float64),
    )


def _phases(flag: FlagAudit, begun: datetime, end: datetime) -> list[Phase]:
    """Return the phase in force when the iteration began, then those that began since."""
    earlier = [phase for phase in flag.schedule if phase.start <= begun][-1:]
    later = [phase for phase in flag.schedule if begun < phase.start < end]
    return earlier + later


def _mixed(flag: FlagAudit, bins: FlagBins) -> Booleans:
    """Return True for hours in whose middle the declared split changed."""
    mixed = np.zeros(len(bins), dtype=bool)
    for phase in flag.schedule[1:]:
        if (
            phase.start != floor_hour(phase.start)
            and bins.start <= floor_hour(phase.start) < bins.audited_through
        ):
            mixed[bins.index(phase.start)] = True
    return mixed
