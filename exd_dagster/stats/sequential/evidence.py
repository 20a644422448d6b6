"""The combined sequential test, one closed hour at a time: a small state that can be stored and replayed.

Its result equals that of `sequential.log_e_values` over the same bins. For late data keep the state of each
bin and replay from the one before the change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, inf, log, log1p
from typing import Any

import numpy as np

from exd_dagster.errors import InputError
from exd_dagster.stats.inputs import Floats, checked_split
from exd_dagster.stats.methods.dirichlet import CONCENTRATIONS, SERIES_FROM, remainder
from exd_dagster.stats.methods.restart import (
    component_count,
    log_ratios,
    log_remaining,
    log_weights,
    mixture_log_ratios,
)
from exd_dagster.stats.verdict import Json, plain

Shares = tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceState:
    """The state of the combined test of one flag.

    Attributes:
        variants: V names.
        shares: declared share of each, in the current phase.
        replaced: share of each in the phase before, while `shares` are being taken up; empty else.
        bins: bins seen.
        counts: units by variant in the current phase.
        carried: ln E of the Dirichlet-multinomial part at the end of the phases before.
        log_sums: ln S_c of the restart part, float (C,); -inf before the first bin.
        kept: of the onsets before the uptake, float (C,), while there is one; None else.
        log_e_value: ln E now.
        max_log_e_value: the largest ln E so far.
    """

    variants: tuple[str, ...]
    shares: Shares
    bins: int
    counts: Shares
    carried: float
    log_sums: Floats
    log_e_value: float = 0.0
    max_log_e_value: float = 0.0
    replaced: Shares = ()
    kept: Floats | None = None

    @classmethod
    def begin(cls, expected: Mapping[str, float]) -> "EvidenceState":
        """Return the state before the first bin of an iteration."""
        split = checked_split(expected)
        nothing = np.full(component_count(len(split)), -inf)
        return cls(tuple(split), tuple(split.values()), 0, (0.0,) * len(split), 0.0, nothing)

    def next_phase(
        self, expected: Mapping[str, float], replaced: Mapping[str, float] | None = None
    ) -> "EvidenceState":
        """Return the state at the first bin of a phase with another declared split of the same variants.

        Args:
            expected: share by variant, from the next bin on.
            replaced: the split of the phase before, where clients may still be served it in the next bins;
                call again without it before the first bin after the uptake.
        """
        before = () if replaced is None else self._in_order(replaced)
        return replace(
            self,
            shares=self._in_order(expected),
            counts=(0.0,) * len(self.variants),
            carried=self._carried,
            log_sums=np.full_like(self.log_sums, -inf) if before else self._log_sums,
            replaced=before,
            kept=self._log_sums if before else None,
        )

    def _in_order(self, expected: Mapping[str, float]) -> Shares:
        split = checked_split(expected)
        if set(split) != set(self.variants):
            raise InputError(f"expected names {sorted(split)}, the state {sorted(self.variants)}")
        return tuple(split[name] for name in self.variants)

    @property
    def _log_sums(self) -> Floats:
        """Return ln S_c of all onsets, float (C,)."""
        return self.log_sums if self.kept is None else np.logaddexp(self.log_sums, self.kept)

    @property
    def _carried(self) -> float:
        """Return ln E of the Dirichlet-multinomial part, to which an uptake adds nothing."""
        return self.carried if self.replaced else self.carried + _log_mixture(self.counts, self.shares)

    def update(self, new_units: Sequence[int]) -> "EvidenceState":
        """Return the state after one more bin.

        Args:
            new_units: newly exposed units of each variant, in the order of `variants`.
        """
        counts = tuple([x + y for x, y in zip(self.counts, new_units, strict=True)])
        weight, remaining = _weights(self.bins // _PAGE)[self.bins % _PAGE]
        log_sums = np.logaddexp(self.log_sums, weight)
        log_sums += np.dot(new_units, _table(self.shares, self.replaced))
        sums = log_sums if self.kept is None else np.logaddexp(log_sums, self.kept)
        since = float(np.logaddexp.reduce(sums)) - log(len(sums))
        whole = self.carried if self.replaced else self.carried + _log_mixture(counts, self.shares)
        log_e = _log_add(whole, _log_add(since, remaining)) - _LOG_2
        return EvidenceState(
            self.variants,
            self.shares,
            self.bins + 1,
            counts,
            self.carried,
            log_sums,
            log_e,
            max(self.max_log_e_value, log_e),
            self.replaced,
            self.kept,
        )

    def as_metadata(self) -> dict[str, Json]:
        """Return the state as strict JSON; floats keep every digit."""
        return {
            "variants": list(self.variants),
            "shares": list(self.shares),
            "bins": self.bins,
            "counts": list(self.counts),
            "carried": self.carried,
            "log_sums": _finite(self.log_sums),
            "log_e_value": self.log_e_value,
            "max_log_e_value": self.max_log_e_value,
            "replaced": list(self.replaced),
            "kept": None if self.kept is None else _finite(self.kept),
        }

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any]) -> "EvidenceState":
        """Return the state that `as_metadata` wrote."""
        empty = np.full(component_count(len(stored["variants"])), -inf)
        replaced = tuple(stored.get("replaced", ()))
        sums, kept = (
            empty if stored.get(name) is None else np.array(stored[name], dtype=np.float64)
            for name in ("log_sums", "kept")
        )
        return cls(
            variants=tuple(stored["variants"]),
            shares=tuple(stored["shares"]),
            bins=int(stored["bins"]),
            counts=tuple(stored["counts"]),
            carried=float(stored["carried"]),
            log_sums=sums,
            log_e_value=float(stored["log_e_value"]),
            max_log_e_value=float(stored["max_log_e_value"]),
            replaced=replaced,
            kept=kept if replaced else None,
        )


def _finite(log_sums: Floats) -> Json:
    """Return the sums as JSON; None before the first bin, when all are -inf."""
    return plain(log_sums) if np.isfinite(log_sums).all() else None


_LOG_2 = log(2)
_PAGE = 1024


@lru_cache(maxsize=64)
def _weights(page: int) -> list[tuple[float, float]]:
    """Return (ln w, ln remaining) of 1024 bins."""
    weights, remaining = log_weights(page * _PAGE, _PAGE), log_remaining(page * _PAGE, _PAGE)
    return list(zip(weights.tolist(), remaining.tolist(), strict=True))


@lru_cache(maxsize=4096)
def _table(shares: Shares, replaced: Shares) -> Floats:
    if replaced:
        return mixture_log_ratios(np.array(shares), np.array(replaced))
    return log_ratios(np.array(shares))


def _log_add(a: float, b: float) -> float:
    """Return ln(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high + log1p(exp(low - high)) if high > -inf else high


@lru_cache(maxsize=4096)
def _anchors(shares: Shares) -> list[tuple[float, float, list[tuple[int, float, float]]]]:
    """Return, for each k, what does not change with the counts: k, its remainders, (index, s, k s) by arm."""
    arms = [(i, share) for i, share in enumerate(shares) if share > 0]
    return [
        (
            k,
            float(remainder(k)) - sum(float(remainder(k * share)) for _, share in arms),
            [(i, share, k * share) for i, share in arms],
        )
        for k in CONCENTRATIONS
    ]


def _log_mixture(counts: Shares, shares: Shares) -> float:
    """Return `dirichlet.log_mixture` of one count vector: the same formula on plain floats, for speed."""
    anchors = _anchors(shares)
    if len(anchors[0][2]) < 2:
        return 0.0
    n = sum([counts[i] for i, _, _ in anchors[0][2]])
    each = [_log_e_value(counts, n, *anchor) for anchor in anchors]
    top = max(each)
    return top + log(sum([exp(e - top) for e in each]) / len(each))


def _log_e_value(
    counts: Shares, n: float, k: float, remainders: float, arms: list[tuple[int, float, float]]
) -> float:
    total = k + n
    result = remainders - _series(total) - log1p(n / k) * (len(arms) - 1) / 2
    for i, share, start in arms:
        scale, end = total * share, start + counts[i]
        excess = (counts[i] - n * share) / scale
        gain = log1p(excess)
        result += scale * ((1 + excess) * gain - excess) - gain / 2
        result += _series(end) if end >= SERIES_FROM else float(remainder(end))
    return result


def _series(z: float) -> float:
    w = 1 / z
    return w * (1 / 12 - w * w * (1 / 360 - w * w / 1260))
