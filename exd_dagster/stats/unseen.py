"""Declared names that never occur in the bins: misspelt variants, phases without units."""

from collections.abc import Iterator

from exd_dagster.bins.model import FlagBins, Unmatched
from exd_dagster.config import FlagAudit
from exd_dagster.errors import nearest_name
from exd_dagster.stats import words


def misspelt_variants(flag: FlagAudit, bins: FlagBins) -> list[Unmatched]:
    """Return declared variants that never showed while another of a like name, undeclared, did."""
    shown = dict(zip(bins.variants, bins.evaluations.sum(axis=0).tolist(), strict=True))
    strays = [name for name, count in shown.items() if count and name not in flag.variants]
    near = {name: nearest_name(name, strays) for name in flag.variants if not shown.get(name)}
    return [Unmatched("variant", name, stray, shown[stray]) for name, stray in near.items() if stray]


def idle_phases(flag: FlagAudit, bins: FlagBins) -> Iterator[str]:
    """Yield a phrase for each later phase that no unit was tested against.

    Args:
        flag: its phases and its end.
        bins: its closed bins; nothing is yielded for a flag without any unit.
    """
    if not bins.units.any():
        return
    through = bins.audited_through
    later = flag.schedule[1:]
    for number, phase in enumerate(later, 1):
        end = min([through, flag.end or through, *(after.start for after in later[number:])])
        hours, named = bins.between(phase.start, end), f"the phase of {words.instant(phase.start)}"
        if flag.end is not None and phase.start >= flag.end:
            yield f"{named} begins after the flag's end, {words.instant(flag.end)}: correct phases= or end="
        elif phase.start >= through:
            yield f"{named} has not begun: the log is audited through {words.instant(through)}"
        elif hours.delivered.any() and not hours.units.any():
            yield f"{named} has no unit up to {words.instant(end)}: correct phases="
