"""The rank of each variant: its place in order of name, so that ties fall the same way always."""

from collections.abc import Iterable, Mapping

from exd_dagster.bins.audience import RANKS
from exd_dagster.errors import RecordsError


def place(known: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """Return ranks for all names, in order of name; known ones keep theirs where there is room between them.

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
            f"column "
            "that names the variant"
        )
    ranks: dict[str, int] = {}
    low = 0
    for i, name in enumerate(ordered):
        if name not in known:
            following = next(((j, known[n]) for j, n in enumerate(ordered[i:], 1) if n in known), None)
            steps, high = following or (len(ordered) - i + 1, RANKS)
            if high - low <= steps - 1:
                return _evenly(ordered)
            ranks[name] = low + max((high - low) // steps, 1)
        else:
            ranks[name] = known[name]
        low = ranks[name]
    return ranks


def _evenly(names: list[str]) -> dict[str, int]:
    step = RANKS // (len(names) + 1)
    return {name: (i + 1) * step for i, name in enumerate(names)}
