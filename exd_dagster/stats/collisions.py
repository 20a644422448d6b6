r"""Are the assignments of two flags independent? A shared salt makes one experiment's arms another's.

Given the arms a that units of one flag have, the arms b of another flag are independent draws from one split
theta, whatever decides who is in both: that is what randomisation gives. Per phase of either flag,

    E_(b|a) = prod_a DM(n_a.) / sup_theta prod_b theta_b^n_.b,   DM: Dirichlet(1/2)-multinomial

is the likelihood of a split of its own for every arm a over the largest one of a single split, and so an
e-process (universal inference: Wasserman, Ramdas, Balakrishnan 2020). Units of several phases multiply: arms
of flags that ramp on the same day depend on the day, not on each other. Either direction is an e-process
where the second flag's split stays what it is; the smaller of both is one where either's does. Pairs are
combined by e-BH (Wang and Ramdas 2022) at LEVEL: since each is an e-process, the probability that a healthy
fleet ever shows a pair, on any of its nights, is at most that, for any dependence between pairs.

The k-th sample by hash (1/4^k of the units) has the weight 2^-(k + 1), so that a sample that shrinks as a
fleet grows remains one. Evidence alone is no collision: targeting rules and override lists that two flags
share force a few units into chosen arms of both. With a shared salt some combination of arms does not occur
at all; a pair is called a collision where one occurs less than half as often as independence expects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log

import numpy as np

from exd_dagster.bins.model import SharedUnits
from exd_dagster.config import FlagId
from exd_dagster.stats import words
from exd_dagster.stats.fleet import e_bh
from exd_dagster.stats.inputs import Floats, Integers
from exd_dagster.stats.verdict import StrictJson, Verdict

LEVEL = 0.001
"""Error rate over all pairs and nights of a fleet."""

MISSING = 0.5
"""Missing share of the rarest combination of arms, from which on a dependence is a collision."""

FEWEST_EXPECTED = 5.0
"""Expected units of a combination from which on it is looked at."""

MOST_LISTED = 20

AT_ONCE = 200_000_000
"""Pairs of exposures that are counted together."""


@dataclass(frozen=True, slots=True)
class Pair(StrictJson):
    """Two flags whose assignments depend on each other.

    Attributes:
        flags: both, as text.
        units: shared units counted.
        log_e_value: ln E against independence.
        arms: the rarest combination of arms, one of each flag.
        observed: units of that combination.
        expected: units of it if the flags were independent.
    """

    flags: tuple[str, str]
    units: int
    log_e_value: float
    arms: tuple[str, str]
    observed: int
    expected: float

    @property
    def missing(self) -> float:
        """Share of the expected units that are missing."""
        return max(0.0, 1 - self.observed / self.expected) if self.expected else 0.0

    @property
    def headline(self) -> str:
        """The key fact in a few words."""
        a, b = self.arms
        return f"{self.observed:,} of {self.expected:,.0f} users in {a} and {b}"

    def __str__(self) -> str:
        """Return it as a sentence without its full stop."""
        (first, second), (a, b) = self.flags, self.arms
        return (
            f"'{first}' and '{second}' do not divide users independently: of {self.units:,} shared units "
            f"{self.observed:,} are in {a} of the one and {b} of the other, {self.expected:,.0f} expected"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollisionVerdict(Verdict):
    """The verdict on all pairs of a fleet.

    Attributes:
        compared: pairs of flags with shared units.
        pairs: pairs that might be compared; e-BH counts them all.
        sampled: share of all units that was looked at.
        collisions: pairs that seem to share a salt, the strongest evidence first.
        dependent: pairs that depend on each other less: by targeting, overrides, prerequisites.
        apart: flags that are not compared, since the store has none of their units.
    """

    compared: int = 0
    pairs: int = 0
    sampled: float = 1.0
    collisions: tuple[Pair, ...] = ()
    dependent: tuple[Pair, ...] = ()
    apart: tuple[str, ...] = ()


def assignment_collision(
    shared: SharedUnits,
    arms: Mapping[FlagId, Sequence[Sequence[str]]],
    comparable: Callable[[FlagId, FlagId], bool],
) -> CollisionVerdict:
    """Compare the assignments of every pair of flags; a pure function.

    Args:
        shared: first exposures of shared units.
        arms: by flag, the variants with a share in each phase of its schedule.
        comparable: whether two flags should be independent.
    """
    fleet = _Fleet.of(arms)
    counted = _joint_counts(shared, fleet)
    allowed = np.array([[comparable(a, b) for b in fleet.flags] for a in fleet.flags], dtype=bool)
    first, second = np.nonzero(np.triu(allowed.reshape(len(fleet.flags), len(fleet.flags)), 1))
    evidence = np.zeros(len(first))
    compared = 0
    for a in np.unique(first).tolist():
        log_e, units = fleet.evidence(counted, a)
        mine = first == a
        evidence[mine] = log_e[second[mine]]
        compared += int((units[second[mine]] > 0).sum())
    evidence = evidence - (shared.quarter + 1) * log(2)
    found = np.flatnonzero(e_bh(evidence, LEVEL))
    found = found[np.argsort(-evidence[found], kind="stable")]
    pairs = [fleet.pair(counted, int(first[i]), int(second[i]), float(evidence[i])) for i in found]
    return _verdict(
        CollisionVerdict(
            check="assignment_collision",
            verdict="pass",
            compared=compared,
            pairs=len(first),
            sampled=0.25**shared.quarter,
            collisions=tuple(pair for pair in pairs if pair.missing >= MISSING),
            dependent=tuple(pair for pair in pairs if pair.missing < MISSING)[:MOST_LISTED],
            apart=tuple(map(str, shared.apart)),
        )
    )


def _verdict(found: CollisionVerdict) -> CollisionVerdict:
    sample = "" if found.sampled == 1 else f" in a sample of {words.percent(found.sampled)} of units"
    more = f"; {len(found.dependent)} pairs depend weakly, as by shared targeting" if found.dependent else ""
    left = len(found.apart)
    apart = (
        f" Not compared: {left} flag{'' if left == 1 else 's'} whose units are not in the store."
        if left
        else ""
    )
    if not found.compared:
        said = f"No two flags that should be independent share units yet.{apart}"
        return replace(found, verdict="skipped", reason="no_shared_unit", sentence=said)
    if not found.collisions:
        said = (
            f"Assignments are independent: {found.compared:,} pairs of flags compared{sample}{more}.{apart}"
        )
        return replace(found, sentence=said)
    rest = len(found.collisions) - 1
    others = f"; {rest} more pair{'' if rest == 1 else 's'} too" if rest else ""
    advice = "Give each flag a salt of its own, and start the later one afresh."
    said = f"{found.collisions[0]}{others}. {advice}{apart}"
    return replace(
        found,
        verdict="fail",
        severity="WARN",
        state="ongoing",
        reason="assignment_collision",
        collisions=found.collisions[:MOST_LISTED],
        sentence=said,
    )


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The columns of a table of counts: every variant with a share, by flag, phase and name.

    Attributes:
        flags: F flags with at least two arms in some phase.
        columns: flag, phase and variant of each of C columns.
        groups: first column of each of G phases.
        of: flag of each group, int (G,).
        sizes: arms of each group, (G,).
        starts: first group of each flag, int (F,).
    """

    flags: tuple[FlagId, ...]
    columns: tuple[tuple[FlagId, int, str], ...]
    groups: Integers
    sizes: Integers
    starts: Integers

    @classmethod
    def of(cls, arms: Mapping[FlagId, Sequence[Sequence[str]]]) -> "_Fleet":
        columns: list[tuple[FlagId, int, str]] = []
        flags: list[FlagId] = []
        groups: list[int] = []
        sizes: list[int] = []
        starts: list[int] = []
        for flag, phases in arms.items():
            divided = [(number, names) for number, names in enumerate(phases) if len(names) > 1]
            if not divided:
                continue
            flags.append(flag)
            starts.append(len(groups))
            for number, names in divided:
                groups.append(len(columns))
                sizes.append(len(names))
                columns += [(flag, number, name) for name in names]
        whole = (np.array(values, dtype=np.int64) for values in (groups, sizes, starts))
        return cls(tuple(flags), tuple(columns), *whole)

    def rows(self, flag: int) -> list[slice]:
        """Return the columns of each phase of a flag."""
        last = self.starts[flag + 1] if flag + 1 < len(self.starts) else len(self.groups)
        places = range(int(self.starts[flag]), int(last))
        return [slice(int(self.groups[g]), int(self.groups[g] + self.sizes[g])) for g in places]

    def evidence(self, counted: Floats, flag: int) -> tuple[Floats, Floats]:
        """Return ln E of a flag against every flag, and their shared units, float (F,) each."""
        given, giving = np.zeros(len(self.groups)), np.zeros(len(self.groups))
        units = np.zeros(len(self.groups))
        for rows in self.rows(flag):
            n = counted[rows]
            of_a = np.add.reduceat(n, self.groups, axis=1)
            of_b = n.sum(axis=0)
            total = of_a.sum(axis=0)
            joint = np.add.reduceat(_half(n), self.groups, axis=1).sum(axis=0)
            split_b = np.add.reduceat(_own(of_b), self.groups) - _own(total)
            split_a = _own(of_a).sum(axis=0) - _own(total)
            given += joint + _norm(of_a, self.sizes).sum(axis=0) - split_b
            giving += joint + np.add.reduceat(_norm(of_b, len(n)), self.groups) - split_a
            units += total
        log_e = np.minimum(np.add.reduceat(given, self.starts), np.add.reduceat(giving, self.starts))
        return np.asarray(log_e), np.asarray(np.add.reduceat(units, self.starts))

    def pair(self, counted: Floats, first: int, second: int, log_e: float) -> Pair:
        """Return the result of a pair: the combination of arms of which the largest share is missing."""
        rarest, units = (0.0, 0, 0.0, ("", "")), 0.0
        for rows in self.rows(first):
            for columns in self.rows(second):
                n = counted[rows, columns]
                units += n.sum()
                expected = n.sum(axis=1, keepdims=True) * n.sum(axis=0) / max(n.sum(), 1.0)
                missing = np.where(expected >= FEWEST_EXPECTED, 1 - n / np.maximum(expected, 1e-9), -np.inf)
                i, j = np.unravel_index(int(missing.argmax()), n.shape)
                names = self.columns[rows.start + int(i)][2], self.columns[columns.start + int(j)][2]
                rarest = max(rarest, (float(missing[i, j]), int(n[i, j]), float(expected[i, j]), names))
        _, observed, wanted, arms = rarest
        flags = (str(self.flags[first]), str(self.flags[second]))
        return Pair(flags, int(units), log_e, arms, observed, wanted)


def _half(n: Floats) -> Floats:
    """Return ln Gamma(n + 1/2) - ln Gamma(1/2)."""
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 0.5) - gammaln(0.5))


def _norm(n: Floats, arms: Integers | int) -> Floats:
    """Return ln Gamma(k/2) - ln Gamma(n + k/2)."""
    from scipy.special import gammaln

    return np.asarray(gammaln(arms / 2) - gammaln(n + arms / 2))


def _own(n: Floats) -> Floats:
    """Return n ln n, 0 for 0."""
    from scipy.special import xlogy

    return np.asarray(xlogy(n, n))


def _joint_counts(shared: SharedUnits, fleet: _Fleet) -> Floats:
    """Return how many units have both of two cells, float (C, C)."""
    from scipy.sparse import csr_array

    place = {name: i for i, name in enumerate(fleet.columns)}
    column = np.array([place.get(name, -1) for name in shared.names], dtype=np.int64)
    at = column[shared.cells] if len(column) else shared.cells
    units, at = shared.units[at >= 0], at[at >= 0]
    counted = np.zeros((len(place), len(place)))
    order = np.argsort(units, kind="stable")
    units, at = units[order], at[order]
    _, first, size = np.unique(units, return_index=True, return_counts=True)
    cost = np.cumsum(size.astype(np.int64) ** 2)
    starts = [*first.tolist(), len(at)]
    edges = [0, *(np.flatnonzero(np.diff(cost // AT_ONCE)) + 1).tolist(), len(first)]
    for low, high in pairwise(edges):
        begin, end = starts[low], starts[high]
        row = np.repeat(np.arange(high - low), size[low:high])
        block = csr_array((np.ones(end - begin), (row, at[begin:end])), shape=(high - low, len(place)))
        dense = end - begin > 0.02 * (high - low) * len(place) and (high - low) * len(place) < 2**27
        counted += block.toarray().T @ block.toarray() if dense else (block.T @ block).toarray()
    return counted
