r"""Estimate which split was declared, from counts that may contain a fault. Pure.

The hours are cut where that explains the counts better: [a, b) is cut at t where

    G = 2 (L(a, t) + L(t, b) - L(a, b)),   L(a, b) = sum_i n_i ln(n_i / n)

is largest, as long as G > 10 + 3 (V - 1) ln T (binary segmentation; Scott and Knott 1974). Of the periods
that every arm was served in, one whose split people usually declare is taken, of equals the earliest: a fault
comes after what was declared. It is only a suggestion: a split taken from data cannot disagree with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

from exd_dagster.stats.inputs import Floats

RARE = 0.0075
"""A variant with a smaller share of the units looks undeclared: a typo, or a default served on errors."""
EQUAL_WITHIN = 0.15
"""Shares that all lie this near to equality (relative) suggest an even split."""
USUAL = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.4)
"""Smaller shares that people declare for two arms, beside one half."""
_FEWEST = 20
_SILENT = 1e-4


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A split that may have been declared, and what contradicts it.

    Attributes:
        split: share by variant, rare variants left out.
        usual: True for a split that people usually declare.
        periods: (first bin, end bin, observed share by variant) of each period with a split of its own.
        held: index of the period the split was taken from.
        absent: by variant, the first bin from which it has no unit although others have.
        late: by variant, the bin of its first unit, where others had units before.
        rare: share by variant that looks undeclared.
    """

    split: dict[str, float]
    usual: bool
    periods: tuple[tuple[int, int, dict[str, float]], ...]
    held: int
    absent: dict[str, int]
    late: dict[str, int]
    rare: dict[str, float]


def plausible_split(counts: Floats, names: Sequence[str]) -> Suggestion:
    """Suggest the declared split of one flag.

    Args:
        counts: float (T, V), units per hour of their first exposure.
        names: V variants.
    """
    total = counts.sum(axis=0)
    share = total / max(total.sum(), 1.0)
    common = np.array([not _rare(counts, arm) for arm in range(len(names))], dtype=bool)
    if not common.any():
        common[:] = True
    arms = [name for name, is_common in zip(names, common, strict=True) if is_common]
    kept = counts[:, common]
    cuts = [0, *sorted(_cuts(np.concatenate([np.zeros((1, len(arms))), kept.cumsum(axis=0)]))), len(kept)]
    parts = [(a, b, kept[a:b].sum(axis=0)) for a, b in pairwise(cuts)]
    held = min(range(len(parts)), key=lambda i: _implausible(*parts[i]))
    units = parts[held][2]
    split, usual = round_split(
        dict(zip(arms, (units / max(units.sum(), 1.0)).tolist(), strict=True)), float(units.sum())
    )
    return Suggestion(
        split=split,
        usual=usual,
        periods=tuple(
            (a, b, dict(zip(arms, (n / max(n.sum(), 1.0)).tolist(), strict=True))) for a, b, n in parts
        ),
        held=held,
        absent=_absent(kept, arms, split),
        late={name: len(kept) - end for name, end in _absent(kept[::-1], arms, split).items()},
        rare={n: float(s) for n, s, is_common in zip(names, share, common, strict=True) if not is_common},
    )


def _rare(counts: Floats, arm: int) -> bool:
    """True for a small share of all units, and of those while it was served."""
    hours = np.flatnonzero(counts[:, arm])
    if not len(hours):
        return True
    units = counts[:, arm].sum()
    while_served = counts[hours[0] : hours[-1] + 1].sum()
    return bool(units < RARE * counts.sum() and (units < RARE * while_served or units < _FEWEST))


def _cuts(total: Floats, first: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield where the split changed; `total` are cumulative counts, float (T + 1, V)."""
    end = len(total) - 1 if end is None else end
    if end - first < 2:
        return
    at = np.arange(first + 1, end)
    gain = 2 * (
        _log(total[at] - total[first]) + _log(total[end] - total[at]) - _log(total[end] - total[first])
    )
    if gain.max() > 10 + 3 * (total.shape[1] - 1) * np.log(len(total)):
        cut = int(at[int(np.argmax(gain))])
        yield cut
        yield from _cuts(total, first, cut)
        yield from _cuts(total, cut, end)


def _log(counts: Floats) -> Floats:
    """Return the largest ln likelihood of counts, float (..., V), whatever the split."""
    n = counts.sum(axis=-1, keepdims=True)
    return np.asarray((counts * np.log(np.maximum(counts, 1.0) / np.maximum(n, 1.0))).sum(axis=-1))


def _implausible(first: int, _end: int, units: Floats) -> tuple[int, int, int, int]:
    """Order periods: enough units, every arm served, usual split (even before others), the earliest."""
    n = float(units.sum())
    served = int((units >= 0.005 * max(n, 1.0)).sum())
    _, usual = round_split({str(i): float(share) for i, share in enumerate(units / max(n, 1.0))}, n)
    return int(n < _FEWEST), -served, 0 if _near_even(units) else 1 if usual else 2, first


def _near_even(units: Floats) -> bool:
    share = units / max(float(units.sum()), 1.0)
    return bool((np.abs(share * len(share) - 1) <= EQUAL_WITHIN).all())


def _absent(counts: Floats, arms: Sequence[str], split: Mapping[str, float]) -> dict[str, int]:
    """Return, by arm, the first bin after its last unit, where chance hardly leaves it without any since."""
    absent = {}
    for i, name in enumerate(arms):
        served = np.flatnonzero(counts[:, i])
        after = int(served[-1]) + 1 if len(served) else 0
        others = float(counts[after:].sum())
        if others and (1 - min(split[name], 1.0)) ** others < _SILENT:
            absent[name] = after
    return absent


def round_split(shares: Mapping[str, float], units: float = float("inf")) -> tuple[dict[str, float], bool]:
    """Return a split people may have declared near to shares, and whether it is a usual one.

    Args:
        shares: observed share by variant.
        units: they were seen of; a usual split is taken within three standard errors, or half a percent.
    """
    even, spread = 1 / len(shares), {name: 3 * sqrt(s * (1 - s) / units) for name, s in shares.items()}
    if all(abs(share - even) <= max(EQUAL_WITHIN * even, spread[name]) for name, share in shares.items()):
        return _whole(dict.fromkeys(shares, round(1 / len(shares), 4))), True
    grid = [*USUAL, *(1 - share for share in USUAL)] if len(shares) == 2 else [k / 20 for k in range(1, 20)]
    near = {name: grid[int(np.argmin(np.abs(np.array(grid) - share)))] for name, share in shares.items()}
    fits = all(abs(near[name] - share) <= max(spread[name], 0.005) for name, share in shares.items())
    if fits and abs(sum(near.values()) - 1) < 1e-9:
        return _whole({name: round(share, 4) for name, share in near.items()}), True
    return _whole({name: round(share, 2) for name, share in shares.items()}), False


def _whole(split: dict[str, float]) -> dict[str, float]:
    """Return the split with a sum of 1; the first variant takes what rounding left."""
    first = next(iter(split))
    rest = sum(share for name, share in split.items() if name != first)
    return {**split, first: round(1 - rest, 4)}
