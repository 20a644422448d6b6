r"""Evidence for every segment at once, under one error rate over segments and time.

Let N be the units of every segment in every hour, whatever their variant. While variants are assigned as
declared, independently of what divides the units, the variants of the units of a segment are, given N,
independent draws from the declared split. So, given N, the combined e-process E_g of a segment g (`combined`)
has mean 1 at any stopping time, whatever the other segments do.

A segment is *admitted* at the end of the first hour by which it and the rest of its dimension have
`ADMITTED` units each. Segments are numbered i = 1, 2, ... in the order of admission (within an hour the
largest first) and bear the prior weight

    w_i = c / ((i + c - 1)(i + c)),    c = 20,    which telescopes to sum_i w_i = 1.

Admission, number and weight of a segment follow from N alone, and never change. A segment fails at the first
hour t, from its admission on, at which w_g E_g(t) >= 1 / alpha. By Ville's inequality, given N, a healthy
segment ever fails with probability at most alpha w_g. Summed,

    P(any healthy segment ever fails) <= alpha sum_g w_g <= alpha,

for any dependence between segments and dimensions, any number of them, and new ones on any night: Ville's
inequality (1939) over time, a weighted Bonferroni bound over segments (Genovese, Roeder and Wasserman, "False
discovery control with p-value weighting", Biometrika 93, 2006; for e-values Wang and Ramdas, "False discovery
rate control with e-values", JRSS B 84, 2022, whose e-BH would name more segments once one has failed, but
controls the share of false ones, not the chance of any).

The remaining values of a dimension form one more segment: those not admitted by the end of the hour, and
those that the store does not keep by name. It is tested in the same way, since its units too follow from N.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exd_dagster.bins.model import ADMITTED, OTHER, Segment
from exd_dagster.stats.carried import Carried, Inputs, declared, settled, whole
from exd_dagster.stats.inputs import Booleans, Floats, Integers, Period
from exd_dagster.stats.methods.combined import Sums, log_bounds, log_e_values, resumed, savable

HEAD = 20
"""c: about so many segments that are admitted first bear nearly equal weights."""

TOGETHER = 2**22
"""Approximate number of values in memory in the restart e-process of a block of segments."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence on S segments after each of T bins.

    Attributes:
        segments: those that were admitted, in order of admission.
        counts: float (S, T, V), newly exposed units.
        outside: float (S, T, V), those of the rest of the segment's dimension.
        admitted: int (S,), bin at whose end each was admitted.
        log_weights: float (S,), ln w.
        log_e_values: float (S, T), ln E; -inf of segments that a bound keeps below the threshold throughout.
    """

    segments: tuple[Segment, ...]
    counts: Floats
    outside: Floats
    admitted: Integers
    log_weights: Floats
    log_e_values: Floats

    @property
    def weighted(self) -> Floats:
        """ln(w E) from the admission on, float (S, T); -inf before."""
        begun = np.arange(self.log_e_values.shape[1]) >= self.admitted[:, None]
        return np.where(begun, self.log_e_values + self.log_weights[:, None], -np.inf)

    def crossings(self, alpha: float) -> Integers:
        """Return the first bin at whose end each segment fails, int (S,); T where it does not."""
        failed = self.weighted >= -np.log(alpha)
        return np.asarray(np.where(failed.any(axis=1), failed.argmax(axis=1), failed.shape[1]))


def gather(
    segments: Sequence[Segment],
    counts: Floats,
    periods: Sequence[Period],
    alpha: float | None = None,
    shown: int = 0,
    carried: Carried | None = None,
) -> Evidence:
    """Return the evidence for every segment that was admitted.

    Args:
        segments: S names; the values of a dimension count each of its units once.
        counts: float (S, T, V), newly exposed units in declared variants.
        periods: the declared split of every bin.
        alpha: only segments that could fail at this level are evaluated; None: all.
        shown: and the largest so many.
        carried: states to go on from at level `alpha`, unless a segment fails; None: every bin is computed.
            Of the bins before a state, `log_e_values` has the largest since the admission alone, at the last.
    """
    every = _by_dimension(segments, counts)
    bins = admitted_at(counts, every - counts)
    named, tested, outside = _with_rests(segments, counts, every, bins)
    bins = admitted_at(tested, outside)
    order = _order(named, tested, bins)
    tested, outside = tested[order], outside[order]
    weights = log_weights(len(order))
    evaluated = np.ones(len(order), dtype=bool)
    if alpha is not None:
        evaluated = _may_fail(tested, periods, -np.log(alpha) - weights)
        evaluated[np.argsort(-tested.sum(axis=(1, 2)), kind="stable")[:shown]] = True
    log_e = np.full(tested.shape[:2], -np.inf)
    found = Evidence(tuple(named[i] for i in order), tested, outside, bins[order], weights, log_e)
    if carried is not None and alpha is not None:
        gone_on = replace(found, log_e_values=_carried(found, np.flatnonzero(evaluated), periods, carried))
        if (gone_on.crossings(alpha) == tested.shape[1]).all():
            return gone_on
    log_e[evaluated] = _in_blocks(tested[evaluated], periods, log_e_values)
    return found


def log_weights(segments: int) -> Floats:
    """Return ln w_i of the first so many segments, float (S,)."""
    i = np.arange(1, segments + 1, dtype=np.float64)
    return np.asarray(np.log(HEAD) - np.log(i + HEAD - 1) - np.log(i + HEAD))


def admitted_at(inside: Floats, outside: Floats) -> Integers:
    """Return the bin at whose end inside and outside have enough units, int (S,); T where they never have."""
    enough = np.minimum(*(part.sum(axis=-1).cumsum(axis=-1) for part in (inside, outside))) >= ADMITTED
    return np.asarray(np.where(enough.any(axis=-1), enough.argmax(axis=-1), enough.shape[-1]))


def _by_dimension(segments: Sequence[Segment], counts: Floats) -> Floats:
    """Return the counts of each segment's whole dimension, float (S, T, V)."""
    whole = np.zeros_like(counts)
    names = np.array([segment.dimension for segment in segments])
    for name in dict.fromkeys(names.tolist()):
        whole[names == name] = counts[names == name].sum(axis=0)
    return whole


def _with_rests(
    segments: Sequence[Segment], counts: Floats, whole: Floats, admitted: Integers
) -> tuple[list[Segment], Floats, Floats]:
    """Replace the rarer values of each dimension by its rest, as of each bin."""
    waiting = np.arange(counts.shape[1]) < admitted[:, None]
    unnamed = np.array([segment.value == OTHER for segment in segments], dtype=bool)
    waiting[unnamed] = True
    rests: dict[str, int] = {}
    for i, segment in enumerate(segments):
        rests.setdefault(segment.dimension, i)
    kept = [i for i in range(len(segments)) if not unnamed[i]]
    named = [segments[i] for i in kept]
    tested, totals = [counts[i] for i in kept], [whole[i] for i in kept]
    for name, first in rests.items():
        own = np.array([segment.dimension == name for segment in segments])
        named.append(Segment(name, OTHER, segments[first].since))
        tested.append((counts[own] * waiting[own][..., None]).sum(axis=0))
        totals.append(whole[first])
    shape = (len(named), *counts.shape[1:])
    inside = np.array(tested).reshape(shape)
    return named, inside, np.array(totals).reshape(shape) - inside


def _order(segments: Sequence[Segment], counts: Floats, admitted: Integers) -> list[int]:
    """Return the admitted segments in order of admission, the largest first within a bin."""
    units = counts.sum(axis=-1).cumsum(axis=-1)
    found = [i for i in range(len(segments)) if admitted[i] < counts.shape[1]]
    return sorted(
        found, key=lambda i: (admitted[i], -units[i, admitted[i]], segments[i].dimension, segments[i].value)
    )


def _may_fail(counts: Floats, periods: Sequence[Period], thresholds: Floats) -> Booleans:
    """Return which segments have a bound of ln E at or above their threshold in any bin, bool (S,)."""
    bound = _in_blocks(counts, periods, log_bounds)
    return np.asarray((bound >= thresholds[:, None]).any(axis=1))


def _blocks(counts: Floats) -> Iterator[slice]:
    """Yield the segments that are evaluated together."""
    size = max(TOGETHER // max(counts[:1].size * 14, 1), 1)
    for first in range(0, len(counts), size):
        yield slice(first, first + size)


def _in_blocks(
    counts: Floats, periods: Sequence[Period], evaluate: Callable[[Floats, Sequence[Period]], Floats]
) -> Floats:
    """Return what is evaluated of every segment, float (S, T), some of them at a time."""
    blocks = [evaluate(counts[rows], periods) for rows in _blocks(counts)]
    return np.concatenate([np.zeros((0, counts.shape[1])), *blocks])


def _carried(found: Evidence, evaluated: Integers, periods: Sequence[Period], carried: Carried) -> Floats:
    """Return ln E as of `gather`, from the states of the segments that have one; save those of this night."""
    bins, arms = found.counts.shape[1:]
    save = savable(periods, settled(bins))
    names, inputs = list(map(str, found.segments)), [_inputs(each, periods) for each in found.counts]
    known = {i: carried.find(names[i], bins, inputs[i]) for i in evaluated.tolist()}
    values = np.full((len(names), bins), -np.inf)
    for first in {state.through if state else 0 for state in known.values()}:
        rows = [i for i, state in known.items() if (state.through if state else 0) == first]
        start, through = None, max(save, first)
        if first:
            stored = np.array([state.values for state in known.values() if state and state.through == first])
            values[rows, first - 1] = stored[:, 0]
            start = Sums(first, stored[:, 2 + arms :], stored[:, 1], stored[:, 2 : 2 + arms])
        values[rows, first:], saved = _gone_on(found.counts[rows], periods, start, save)
        for i, sums in zip(rows, saved, strict=False):  # none where there are no new ones
            since = values[i, max(int(found.admitted[i]), first - 1, 0) : through]
            highest = np.array([since.max(initial=-np.inf), sums.carried])
            state_values = np.concatenate([highest, sums.counts, sums.log_sums])
            carried.save(names[i], save, inputs[i], state_values)
    return values


def _gone_on(
    counts: Floats, periods: Sequence[Period], start: Sums | None, save: int
) -> tuple[Floats, list[Sums]]:
    """Return ln E of every segment from a state on, some at a time, and their states to save, if any."""
    series, states = list[Floats](), list[Sums]()
    for rows in _blocks(counts):
        begun = start and Sums(start.bins, start.log_sums[rows], start.carried[rows], start.counts[rows])
        part, state = resumed(counts[rows], periods, begun, save)
        series.append(part)
        if state:
            each = zip(state.log_sums, state.carried, state.counts, strict=True)
            states += [Sums(save, *row) for row in each]
    return np.concatenate(series), states


def _inputs(counts: Floats, periods: Sequence[Period]) -> Inputs:
    return lambda bins: [whole(counts[:bins]), *declared(periods, bins)]
