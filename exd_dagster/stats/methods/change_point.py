"""When a split broke, and whether it recovered: the posterior of the change, from the bins.

A fault is one interval of bins [from, until) in which units were assigned by some other split. How much
better that explains the counts than the declared split is the Dirichlet-multinomial evidence of those bins
alone (`dirichlet.log_mixture`); with every onset equally likely beforehand, the evidence of [from, until)
over all `from` is the posterior of the onset.

In bins in which a declared change is taken up, "the declared split" is the mixture of the old and the new
one under which the bin is likeliest, so that no change is dated by its uptake alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from exd_dagster.stats.inputs import Floats, Integers, Period, after, bounds
from exd_dagster.stats.methods.chi_square import expected_counts
from exd_dagster.stats.methods.combined import log_e_values
from exd_dagster.stats.methods.dirichlet import log_mixture
from exd_dagster.stats.methods.mixture import nearest
from exd_dagster.stats.verdict import StrictJson

CREDIBLE_LEVEL = 0.95
HEALED = 3.0
"""A fault has ended when ending it earlier explains the counts e^3 = 20 times better."""

HEALED_BY_PHASE = 0.7
"""Twice better is enough where it ended before the newest phase: a new phase is served anew."""


@dataclass(frozen=True, slots=True)
class ChangePoint(StrictJson):
    """Where the split most likely broke.

    Attributes:
        bin: most likely first bin at fault (from 0).
        earliest: first bin of the 95 % credible interval.
        latest: last bin of it.
        until: first bin that agrees again; None while the fault goes on.
        before: observed share by variant before the earliest bin; empty when nothing is before.
        after: observed share by variant within the fault.
        declared: share by variant that was declared for the units within the fault.
        hour: start of `bin` (UTC), where hours are known; `earliest_hour` and `latest_hour` likewise.
    """

    bin: int
    earliest: int
    latest: int
    until: int | None
    before: dict[str, float]
    after: dict[str, float]
    declared: dict[str, float]
    hour: datetime | None = None
    earliest_hour: datetime | None = None
    latest_hour: datetime | None = None

    @property
    def furthest(self) -> str:
        """The variant furthest from its declared share within the fault; of equals the last."""
        gaps = {name: abs(self.after[name] - share) for name, share in self.declared.items()}
        return [name for name, gap in gaps.items() if gap >= max(gaps.values()) - 1e-12][-1]

    def at(self, start: datetime, step: timedelta) -> "ChangePoint":
        """Return the same change with its bins as instants, for bins of length `step` from `start` on."""
        hour, earliest, latest = (start + step * i for i in (self.bin, self.earliest, self.latest))
        return replace(self, hour=hour, earliest_hour=earliest, latest_hour=latest)


def find_change(
    counts: Floats, periods: Sequence[Period], names: Sequence[str], detected: int, alpha: float = 0.001
) -> ChangePoint:
    """Locate the fault that was detected at the end of bin `detected`.

    Bins after it that agree again are tested again at level `alpha`: a fault that returns is the same
    failure.

    Args:
        counts: float (T, V), newly exposed units per bin.
        periods: the declared split of every bin.
        names: V variants.
        detected: bin at whose end the test failed.
        alpha: level at which a fault counts as having returned.
    """
    evidence = Evidence(counts, periods)
    until = _ending(evidence, _onset(evidence, 0, detected), detected, len(counts))
    best, earliest, latest = _credible(evidence.since(np.arange(until), until))
    end = until
    while end < len(counts):
        series = log_e_values(counts[end:], after(periods, end))
        returned = np.flatnonzero(series >= -np.log(alpha))
        if not len(returned):
            break
        again = end + int(returned[0])
        end = _ending(evidence, _onset(evidence, end, again), again, len(counts))
    return ChangePoint(
        bin=best,
        earliest=earliest,
        latest=latest,
        until=end if end < len(counts) else None,
        before=_shares(counts[:earliest], names),
        after=_shares(counts[best:until], names),
        declared=_shares(expected_counts(counts, periods)[best:until], names),
    )


def _onset(evidence: "Evidence", first: int, detected: int) -> int:
    """Return the most likely first bin, from `first` on, of the fault seen at the end of `detected`."""
    return first + _last_maximum(evidence.since(np.arange(first, detected + 1), detected + 1))


def _ending(evidence: "Evidence", onset: int, detected: int, bins: int) -> int:
    """Return the first bin that agrees again, or the number of bins while none clearly does."""
    ends = np.arange(detected + 1, bins + 1)
    ended = evidence.until(onset, ends)
    best = int(ends[int(np.argmax(ended))])
    enough = HEALED_BY_PHASE if best <= evidence.newest_phase else HEALED
    return best if ended.max() - ended[-1] > enough else bins


class Evidence:
    """ln likelihood ratio of "another split in bins [from, until)" against the declared one."""

    __slots__ = ("_apart", "_parts", "_total")

    def __init__(self, counts: Floats, periods: Sequence[Period]) -> None:
        self._total = np.concatenate([np.zeros((1, counts.shape[1])), counts.cumsum(axis=0)])
        self._parts = bounds(periods, len(counts))
        alone = np.zeros(len(counts) + 1)
        for first, end, period in self._parts:
            if period.replaced is not None:
                mixed = nearest(counts[first:end], period.shares, period.replaced)
                alone[first + 1 : end + 1] = list(map(log_mixture, counts[first:end], mixed))
        self._apart = alone.cumsum()

    @property
    def newest_phase(self) -> int:
        """First bin of the newest phase that has bins; -1 when it is the only one."""
        return self._parts[-1][0] if len(self._parts) > 1 else -1

    def since(self, onsets: Integers, until: int) -> Floats:
        """Return the evidence of [onset, until) for each onset."""
        return self._between(onsets, np.full(len(onsets), until))

    def until(self, onset: int, ends: Integers) -> Floats:
        """Return the evidence of [onset, end) for each end."""
        return self._between(np.full(len(ends), onset), ends)

    def _between(self, starts: Integers, ends: Integers) -> Floats:
        evidence = np.zeros(len(starts))
        for first, end, period in self._parts:
            low, high = np.clip(starts, first, end), np.clip(ends, first, end)
            high = np.maximum(low, high)
            if period.replaced is None:
                evidence += log_mixture(self._total[high] - self._total[low], period.shares)
            else:
                evidence += self._apart[high] - self._apart[low]
        return evidence


def _last_maximum(values: Floats) -> int:
    """Bins without units tie with the next; the last of equals is the first bin that shows the fault."""
    return int(np.flatnonzero(values >= values.max() - 1e-9)[-1])


def _credible(log_posterior: Floats) -> tuple[int, int, int]:
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    held = order[: int(np.searchsorted(weights[order].cumsum(), CREDIBLE_LEVEL)) + 1]
    best = _last_maximum(log_posterior)
    return best, min(int(held.min()), best), max(int(held.max()), best)


def _shares(counts: Floats, names: Sequence[str]) -> dict[str, float]:
    units = counts.sum(axis=0)
    if not units.sum():
        return {}
    return {name: float(x) for name, x in zip(names, units / units.sum(), strict=True)}
