"""Flags with segments made by hand, and the evidence for them counted by brute force."""

from math import exp, lgamma, log

import numpy as np

from exd_dagster.bins.model import FlagBins, FlagSegments, Segment
from tests.stats.build import START, bins_of


def segmented(**dimensions: dict[str, np.ndarray]) -> tuple[FlagBins, FlagSegments]:
    """Return bins and segments of counts (T, 2) by dimension and value; each dimension has all units."""
    names = [Segment(name, value) for name, values in dimensions.items() for value in values]
    counts = np.array([count for values in dimensions.values() for count in values.values()])
    whole = sum(next(iter(dimensions.values())).values())
    return bins_of(whole), FlagSegments(START, ("control", "treatment"), tuple(names), counts)


def drawn(seed: int, hours: int, hourly: float, treatment: float = 0.5, *, broken: tuple | None = None):
    """Return Poisson counts (hours, 2); `broken` is (hour, share of treatment's units that are lost)."""
    random = np.random.default_rng(seed)
    means = np.tile([hourly * (1 - treatment), hourly * treatment], (hours, 1))
    if broken:
        means[broken[0] :, 1] *= 1 - broken[1]
    return random.poisson(means)


def brute_evidence(
    segments: FlagSegments, enough: int, head: int
) -> dict[str, tuple[int, float, list[float]]]:
    """Return (bin of admission, weight, E after each bin) by segment, for a split in halves."""
    hours = segments.new_units.shape[1]
    counts = {str(s): segments.new_units[i].tolist() for i, s in enumerate(segments.segments)}
    dimension = {str(s): s.dimension for s in segments.segments}
    for name in dict.fromkeys(dimension.values()):
        rest = f"{name} = (other)"
        own = [s for s in counts if dimension[s] == name and s != rest]
        admitted = {s: _admission(s, own, counts, enough, hours) for s in own}
        counts[rest] = [
            [
                sum(counts[s][t][v] for s in own if t < admitted[s])
                + (counts[rest][t][v] if rest in counts else 0)
                for v in (0, 1)
            ]
            for t in range(hours)
        ]
        dimension[rest] = name
    order = []
    for s in counts:
        name = dimension[s]
        whole = [
            sum(sum(segments.new_units[i, t]) for i, g in enumerate(segments.segments) if g.dimension == name)
            for t in range(hours)
        ]
        inside = outside = 0
        for t in range(hours):
            inside += sum(counts[s][t])
            outside += whole[t] - sum(counts[s][t])
            if inside >= enough and outside >= enough:
                order.append((t, -inside, name, s))
                break
    found = {}
    for i, (t, _, _, s) in enumerate(sorted(order), 1):
        found[s] = t, head / (i + head - 1) - head / (i + head), _e_values(counts[s])
    return found


def _admission(segment, own, counts, enough, hours):
    inside = outside = 0
    others = [s for s in own if s != segment] + [
        s for s in counts if s.endswith("(other)") and own and s.split(" = ")[0] == segment.split(" = ")[0]
    ]
    for t in range(hours):
        inside += sum(counts[segment][t])
        outside += sum(sum(counts[s][t]) for s in others)
        if inside >= enough and outside >= enough:
            return t
    return hours


def _e_values(counts: list[list[int]]) -> list[float]:
    """The mean of the Dirichlet mixture and of restarts from every bin, each summed as it is written."""
    zeta = 7.26239851262867
    weights = [0.5] + [0.5 * (j + 23) ** -1.1 / zeta for j in range(2, len(counts) + 1)]
    ratios = []
    for shift in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 2.0):
        for sign in (1, -1):
            odds = exp(sign * shift)
            ratios.append((odds / (1 + odds) * 2, 1 / (1 + odds) * 2))
    found = []
    for t in range(len(counts)):
        a, b = (sum(row[v] for row in counts[: t + 1]) for v in (0, 1))
        whole = 0.0
        for k in (1e2, 1e3, 1e4, 1e5):
            gain = lgamma(k / 2 + a) + lgamma(k / 2 + b) - 2 * lgamma(k / 2) - lgamma(k + a + b) + lgamma(k)
            whole += exp(gain + (a + b) * log(2)) / 4
        since = 0.0
        for first, second in ratios:
            for j in range(t + 1):
                x, y = (sum(row[v] for row in counts[j : t + 1]) for v in (0, 1))
                since += weights[j] * exp(x * log(first) + y * log(second)) / len(ratios)
        found.append((whole + since + 1 - sum(weights[: t + 1])) / 2)
    return found
