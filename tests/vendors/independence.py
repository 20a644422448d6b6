"""Whether an SDK assigns two flags independently of one another.

python -m tests.vendors.independence [SDK ...]

Evaluates 50,000 users with 20 flags and prints one line per SDK of docs/vendor-flags.md.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import chi2_contingency

from tests.vendors.environment import SDKS, evaluated


def worst_pair(assigned: Mapping[str, Sequence[str]]) -> tuple[float, int, float]:
    """Return the smallest p of all pairs times their number, that number, and the largest correlation.

    Pearson's chi-square test of independence of the joint table of each pair of flags, without a correction
    for continuity; Bonferroni over the pairs. The correlation is phi.
    """
    arms = {key: np.unique(values, return_inverse=True)[1] for key, values in assigned.items()}
    worst, largest = 1.0, 0.0
    pairs = list(combinations(arms.values(), 2))
    for first, second in pairs:
        table = np.zeros((first.max() + 1, second.max() + 1))
        np.add.at(table, (first, second), 1)
        found = chi2_contingency(table, correction=False)
        worst = min(worst, float(found.pvalue))
        largest = max(largest, float(np.sqrt(found.statistic / table.sum())))
    return min(1.0, worst * len(pairs)), len(pairs), largest


def main() -> None:
    """Measure the SDKs named, or all."""
    for sdk in sys.argv[1:] or SDKS:
        p, pairs, phi = worst_pair(evaluated(sdk, flags=20, silent=True).assigned)
        print(f"{sdk}: {pairs} pairs, worst p {p:.2g} (Bonferroni), largest |phi| {phi:.4f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
