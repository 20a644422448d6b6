"""The rank of each variant: its place in order of name, so that ties are resolved the same way always."""

from collections.abc import Iterable, Mapping

from exd_dagster.bins.counting.audience import RANKS
from exd_dagster.errors import RecordsError


def place(known: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """Return a rank for every name, in order of name; known ranks are kept if there is space between them.

    Args:
        known: rank of each variant ranked before, in order of name.
        names: variants to rank, new and known.

    Raises:
        RecordsError: when there are more names than ranks.
    """
    ordered = sorted({*known, *names})
    if len(ordered) >= RANKS - 1:
        raise RecordsError(
            f"{len(ordered)} different variants were found, more than {RANKS - 2}; map variant_key to the "
            "column that names the variant"
        )
    ranks: dict[str, int] = {}
    waiting: list[str] = []
    low = 0
    for name, rank in [*((name, known.get(name)) for name in ordered), (None, RANKS)]:
        if rank is None:
            waiting.append(str(name))
            continue
        step = (rank - low) // (len(waiting) + 1)
        if step == 0:
            return _evenly(ordered)
        ranks.update((new, low + step * i) for i, new in enumerate(waiting, 1))
        waiting.clear()
        low = rank
        if name is not None:
            ranks[name] = rank
    return ranks


def _evenly(names: list[str]) -> dict[str, int]:
    step = RANKS // (len(names) + 1)
    return {name: step * i for i, name in enumerate(names, 1)}
