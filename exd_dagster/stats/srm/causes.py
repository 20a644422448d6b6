"""Likely causes of a failing split, each with its numbers: which segment differs from the rest.

For value g of a dimension, with n_g units and shares p_g against the rest's n_r and p_r,

    X^2_g = (1/n_g + 1/n_r)^-1 sum_i (p_gi - p_ri)^2 / s_i    on V - 1 degrees of freedom

(z^2 of the two-sample comparison at two arms). Values are kept by Benjamini and Hochberg over all values of
all dimensions: for investigation, not for blocking. A segment closer to the declared split than the rest is
not reported: the rest deviates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exd_dagster.stats import words
from exd_dagster.stats.inputs import Floats, checked_count, checked_level, checked_split
from exd_dagster.stats.methods.chi_square import upper_tail
from exd_dagster.stats.verdict import StrictJson

Segments = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Cause(StrictJson):
    """One segment whose split differs from the rest.

    Attributes:
        dimension: for example sdk_version.
        value: of the dimension.
        variant: the variant that differs most.
        units: in the segment.
        unit_share: of all units.
        share: share of `variant` in the segment.
        rest_share: share of `variant` outside it.
        declared_share: of `variant`.
        chi_square: of segment against rest.
        p_value: its upper tail.
        explained: share of the overall imbalance that this segment carries; the values of one dimension sum
            to 1.
        sentence: one sentence.
    """

    dimension: str
    value: str
    variant: str
    units: int
    unit_share: float
    share: float
    rest_share: float
    declared_share: float
    chi_square: float
    p_value: float
    explained: float
    sentence: str


def likely_causes(
    segments: Segments, expected: Mapping[str, float], *, level: float = 0.05, limit: int = 5
) -> list[Cause]:
    """Rank the segments that differ from the rest.

    Args:
        segments: units by dimension, value and variant; each dimension counts the same units.
        expected: declared share by variant.
        level: false discovery rate over all values of all dimensions.
        limit: return at most so many.

    Returns:
        The causes, the largest statistic first; empty when no segment stands out.

    Raises:
        InputError: for an unusable count or split.
    """
    split = {name: share for name, share in checked_split(expected).items() if share > 0}
    checked_level(level, "level")
    found = [
        cause
        for dimension, values in segments.items()
        for cause in _compare(dimension, values, split)
        if cause.units
    ]
    found.sort(key=lambda cause: (cause.p_value, -cause.chi_square, cause.dimension, cause.value))
    kept = [rank for rank, cause in enumerate(found, 1) if cause.p_value <= level * rank / len(found)]
    own = [
        cause
        for cause in found[: max(kept, default=0)]
        if _gap(cause.share, cause) > _gap(cause.rest_share, cause)
    ]
    return sorted(own, key=lambda cause: -cause.chi_square)[:limit]


def _gap(share: float, cause: Cause) -> float:
    return abs(share - cause.declared_share)


def _compare(dimension: str, values: Mapping[str, Mapping[str, int]], split: dict[str, float]) -> list[Cause]:
    names = list(split)
    shares = np.array([split[name] for name in names])
    counts = np.array(
        [
            [checked_count(units.get(name, 0), f"{dimension}[{value}][{name}]") for name in names]
            for value, units in values.items()
        ],
        dtype=np.float64,
    ).reshape(len(values), len(names))
    n, total = counts.sum(axis=1), counts.sum()
    usable = (n > 0) & (n < total)
    rest = np.maximum(total - n, 1.0)
    inside, outside = counts / np.maximum(n, 1.0)[:, None], (counts.sum(axis=0) - counts) / rest[:, None]
    weight = 1 / (1 / np.maximum(n, 1.0) + 1 / rest)
    statistic = weight * ((inside - outside) ** 2 / shares).sum(axis=1)
    p = upper_tail(statistic, max(len(names) - 1, 1))
    explained = _explained(counts, shares)
    return [
        _cause(
            (dimension, str(value)),
            names,
            (shares, inside[i], outside[i]),
            units=int(n[i]),
            unit_share=float(n[i] / total),
            chi_square=float(statistic[i]),
            p_value=float(p[i]),
            explained=float(explained[i]),
        )
        for i, value in enumerate(values)
        if usable[i] and len(names) > 1
    ]


def _explained(counts: Floats, shares: Floats) -> Floats:
    """Return each segment's part of the overall deviation d: <d_g, d> / <d, d> weighted by 1/s; sums to 1."""
    deviation = counts - counts.sum(axis=1, keepdims=True) * shares
    overall = deviation.sum(axis=0)
    size = float((overall**2 / shares).sum())
    return np.asarray((deviation * overall / shares).sum(axis=1) / size) if size else np.zeros(len(counts))


def _cause(
    where: tuple[str, str], names: list[str], shares: tuple[Floats, Floats, Floats], **numbers: Any
) -> Cause:
    """Name the variant that differs most between segment and rest; `shares` are declared, inside, outside."""
    declared, inside, outside = shares
    gaps = np.abs(inside - outside) / np.sqrt(declared)
    i = int(np.flatnonzero(gaps >= gaps.max() * (1 - 1e-9))[-1])
    seen, other = words.against(float(inside[i]), float(outside[i]))
    part = "all" if numbers["explained"] > 0.995 else words.percent(numbers["explained"], 2)
    return Cause(
        dimension=where[0],
        value=where[1],
        variant=names[i],
        share=float(inside[i]),
        rest_share=float(outside[i]),
        declared_share=float(declared[i]),
        sentence=(
            f"{where[0]} = {where[1]}: {names[i]} {seen}, elsewhere {other} "
            f"({words.percent(numbers['unit_share'])} of units, {part} of the "
            f"imbalance, {words.p_value(numbers['p_value'])})."
        ),
        **numbers,
    )
