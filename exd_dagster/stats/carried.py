"""What one evaluation of a flag leaves for the next, so that a night costs that night and not its history.

A computation that goes through the bins in order saves its state at the end of a day, together with a
fingerprint of all it was computed from up to there: counts, declared splits, levels, and this code. The next
evaluation goes on from there where the fingerprint of its own input is the same, and begins at the first bin
where it is not: after late records in those bins, with another configuration, under another version. So its
verdict is that of the whole computation, its numbers differ from them by rounding alone.

Only what found nothing is saved: a failure is computed from the first bin, since its report needs all bins.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from exd_dagster.stats.inputs import Floats, Period

DAY = 24
SETTLED = 72
"""Bins before the last that no state includes: those that late records still change in an ordinary night."""

Inputs: TypeAlias = Callable[[int], Iterable[ArrayLike]]
"""Gives all that the state after so many bins is computed from, as arrays."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of one computation.

    Attributes:
        through: number of bins it includes.
        fingerprint: of what it was computed from.
        values: float (n,), as the computation wrote it.
    """

    through: int
    fingerprint: str
    values: Floats


@dataclass(frozen=True, slots=True)
class Carried:
    """The states of one flag's computations, by name: those found, and those that this evaluation saved.

    Attributes:
        known: of earlier evaluations.
        saved: of this one.
        used: names of those found that this evaluation went on from.
        part: put before each name.
    """

    known: Mapping[str, State] = field(default_factory=dict)
    saved: dict[str, State] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    part: str = ""

    def of(self, part: str) -> "Carried":
        """Return the same states, for one part of a check."""
        return replace(self, part=f"{self.part}{part} ")

    def find(self, name: str, bins: int, inputs: Inputs) -> State | None:
        """Return the state from which a computation over so many bins may go on, None for none."""
        state = self.known.get(self.part + name)
        if state is None or not 0 < state.through < bins:
            return None
        if state.fingerprint != _fingerprint(state.through, inputs):
            return None
        self.used.add(self.part + name)
        return state

    def save(self, name: str, through: int, inputs: Inputs, values: ArrayLike) -> None:
        """Save the state after so many bins."""
        flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
        self.saved[self.part + name] = State(through, _fingerprint(through, inputs), flat)


def settled(bins: int) -> int:
    """Return after how many of so many bins a state is saved: whole days, at least `SETTLED` bins ago."""
    return max((bins - SETTLED) // DAY * DAY, 0)


def declared(periods: Iterable[Period], through: int) -> list[ArrayLike]:
    """Return what is declared for the first bins, as part of `Inputs`."""
    begun = [period for period in periods if period.first < through]
    return [
        np.array([period.first for period in begun]),
        *(period.shares for period in begun),
        *(period.shares * np.nan if period.replaced is None else period.replaced for period in begun),
    ]


def whole(counts: Floats) -> ArrayLike:
    """Return counts in as few bytes as they need: a fingerprint costs by the byte."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _fingerprint(through: int, inputs: Inputs) -> str:
    digest = blake2b(_code(), digest_size=16)
    for given in inputs(through):
        array = np.asarray(given)
        constant = array.size > 1 and array.dtype.kind != "U" and bool((array == array.flat[0]).all())
        digest.update(f"{array.dtype.str}{array.shape}{constant}".encode())
        digest.update(array.flat[0].tobytes() if constant else array.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code() -> bytes:
    """Return a fingerprint of the code that computes."""
    digest = blake2b(digest_size=16)
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()
