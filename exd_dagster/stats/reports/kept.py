"""Does a report keep the units of every arm equally? The exact conditional test.

Of N exposed units, b of one arm, a report holds r, x of them of that arm. Units are assigned at random; where
holding a unit does not depend on its arm, every set of r units is as likely to hold any units of that arm,
so that x is hypergeometric whatever else decides who is held (who activates, who is triggered):

    P(x) = C(b, x) C(N - b, r - x) / C(N, r)

This is Fisher's exact test of arm by kept (Fisher 1935; the conditional randomisation argument: Rosenbaum,
"Observational Studies", 2002, section 2.4). p is the probability of all outcomes no likelier than x. With
more than two arms, each is tested against the rest and the smallest p counts times their number (Bonferroni),
which names the arm. Nothing is approximated, so no number of units is too small.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np

TIE = 1e-7
"""Outcomes whose probability differs by less than this share are equally likely, as in R's fisher.test."""

REACH = 60
"""Standard deviations around the mean outside of which every probability is below the smallest float."""


def kept_p_value(exposed: Mapping[str, int], kept: Mapping[str, int]) -> float:
    """Return the p-value of "what is kept does not depend on the arm"; 1 for a single arm.

    Args:
        exposed: units by arm.
        kept: of these, the units that the report holds, by arm; at most those exposed.
    """
    total, held = sum(exposed.values()), sum(kept.values())
    arms = [arm for arm, units in exposed.items() if units]
    if len(arms) < 2:
        return 1.0
    tested = arms if len(arms) > 2 else arms[:1]  # of two arms both tests are the same
    p = min(arm_p_value(kept.get(arm, 0), held, exposed[arm], total) for arm in tested)
    return min(1.0, p * len(tested))


def arm_p_value(x: int, held: int, arm: int, total: int) -> float:
    """Return P(pmf(X) <= pmf(x)) for X ~ Hypergeometric: `held` of `total` units drawn, `arm` of them marked.

    Args:
        x: drawn units that are marked.
        held: units drawn.
        arm: units that are marked.
        total: all units.
    """
    from scipy.special import gammaln

    low, high = max(0, held + arm - total), min(held, arm)
    mean = held * arm / total
    spread = sqrt(mean * (1 - arm / total) * (total - held) / max(total - 1, 1))
    first = max(low, int(mean - REACH * spread) - REACH)
    last = min(high, int(mean + REACH * spread) + REACH)

    def log_weight(outcome: np.ndarray) -> np.ndarray:
        return np.asarray(
            -gammaln(outcome + 1)
            - gammaln(arm - outcome + 1)
            - gammaln(held - outcome + 1)
            - gammaln(total - held - arm + outcome + 1)
        )

    weights = log_weight(np.arange(first, last + 1, dtype=np.float64))
    chances = np.exp(weights - weights.max())
    no_likelier = weights <= log_weight(np.array([float(x)]))[0] + TIE
    return min(1.0, float(chances[no_likelier].sum() / chances.sum()))
