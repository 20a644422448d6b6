"""What `LiveMonitor` answers by default: the verdicts of the audit, under the keys a notebook knows."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from sys import float_info
from typing import Any, TypeAlias

import numpy as np

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Phase
from exd_dagster.errors import InputError
from exd_dagster.stats.sequential.sequential import SequentialSrmVerdict
from exd_dagster.stats.srm.srm import SrmVerdict, srm_test
from exd_dagster.stats.verdict import plain

Result: TypeAlias = dict[str, Any]
Ratios: TypeAlias = Sequence[float] | Mapping[str, float]
Declared: TypeAlias = Ratios | Sequence[Phase]

_WORD = re.compile(r"[^\W_]+")
UNSEEN = "(unseen {})"
"""Stands for a variant whose ratio was given by position and that has no record at all."""


def declared_flag(key: str, declared: Declared, bins: FlagBins) -> FlagAudit:
    """Return the flag with its declared split: constant ratios, or phases of a planned ramp.

    Raises:
        InputError: when a ratio cannot be used, or a phase assigns units afresh.
    """
    if isinstance(declared, Sequence) and declared and isinstance(declared[0], Phase):
        phases = tuple(phase for phase in declared if isinstance(phase, Phase))
        if any(phase.rerandomized for phase in phases):
            raise InputError(
                "a phase that assigns units afresh is a new experiment; give it a monitor of its own"
            )
        return FlagAudit(key=key, start=phases[0].start, phases=phases)
    counts = dict(zip(bins.variants, bins.new_units.sum(axis=0).tolist(), strict=True))
    return FlagAudit(key=key, start=bins.start, split=ratios_by_name(declared, counts))  # type: ignore[arg-type]


def ratios_by_name(ratios: Ratios, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the declared share of each variant, summing to 1.

    A mapping names its variants. A list has the ratios in order of variant name. Where it is longer than
    the variants seen, some have no unit at all: the seen ones take the places that fit best, so that only
    what no placement explains is a mismatch. Where it is shorter, the variants with most units are meant.

    Args:
        ratios: positive weights, by name or in order of name.
        counts: units seen, by variant.

    Raises:
        InputError: when a ratio is negative or not finite, or none is positive.
    """
    values = list(ratios.values()) if isinstance(ratios, Mapping) else list(ratios)
    if not values or any(not isfinite(value) or value < 0 for value in values) or sum(values) <= 0:
        raise InputError(
            f"expected_ratios are {ratios}; give positive numbers, such as {{'control': .5, 'treatment': .5}}"
        )
    shares = [value / sum(values) for value in values]
    if isinstance(ratios, Mapping):
        return dict(zip(map(str, ratios), shares, strict=True))
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[: len(shares)]
    return dict(zip(_best_places(sorted(frequent), shares, counts), shares, strict=True))


def _best_places(names: Sequence[str], shares: Sequence[float], counts: Mapping[str, int]) -> list[str]:
    """Return a name for each share, the names in their order, so that the counts fit the shares best."""
    best: tuple[float, list[str]] = (-1.0, [])
    for places in combinations(range(len(shares)), len(names)):
        named = [UNSEEN.format(i + 1) for i in range(len(shares))]
        for place, name in zip(places, names, strict=True):
            named[place] = name
        observed = {name: counts.get(name, 0) for name in named}
        p = srm_test(observed, dict(zip(named, shares, strict=True)), min_sample_size=1).p_value
        best = max(best, (1.0 if p is None else p, named), key=lambda pair: pair[0])
    return best[1]


def control_of(names: Sequence[str]) -> str | None:
    """Return the one variant that has the word control or ctrl in its name, or None."""
    named = [name for name in names if {"control", "ctrl"}.intersection(_WORD.findall(name.lower()))]
    return named[0] if len(named) == 1 else None


def srm_result(verdict: SrmVerdict, declared: Declared, variants: Sequence[str]) -> Result:
    """Return the cumulative verdict under the notebook's keys; detected means severity ERROR."""
    seen = {**verdict.undeclared, **verdict.zero_share, **verdict.observed}
    given = [plain(part.model_dump()) if isinstance(part, Phase) else part for part in declared]
    return {
        "srm_detected": verdict.severity == "ERROR",
        "p_value": 1.0 if verdict.p_value is None else verdict.p_value,
        "observed_counts": [seen.get(name, 0) for name in variants],
        "expected_ratios": dict(declared) if isinstance(declared, Mapping) else given,
        "message": verdict.sentence,
        "variants": list(variants),
        "details": verdict.as_metadata(),
    }


def sequential_result(verdict: SequentialSrmVerdict) -> Result:
    """Return the sequential verdict under the notebook's keys: one value per hourly bin, never infinite."""
    largest = np.log(float_info.max)
    return {
        "srm_detected": verdict.failed,
        "running_likelihood_ratios": np.exp(np.minimum(verdict.log_e_values, largest)).tolist(),
        "stopped_index": -1 if verdict.first_crossing is None else verdict.first_crossing,
        "message": verdict.sentence,
        "details": verdict.as_metadata(),
    }
