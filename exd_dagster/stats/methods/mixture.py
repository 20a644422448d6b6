r"""While a declared change is being taken up, a unit may be served the new split or the one it replaces.

The null hypothesis of such bins is the segment {(1 - l) s + l r, 0 <= l <= 1} between the declared shares s
and the replaced ones r, with an l of its own for every unit. Its member that explains weights w best,

    argmax_l sum_i w_i ln((1 - l) s_i + l r_i),

is the maximum-likelihood split when w are counts, and the reverse information projection of w on the segment
when w are the shares of an alternative. For a projection p of q, q_i / p_i is an e-value under every member
of the segment (Gruenwald, de Heide and Koolen, "Safe testing", 2024, theorem 1).
"""

import numpy as np

from exd_dagster.stats.inputs import Floats

HALVINGS = 60
"""After so many a bisection of [0, 1] has reached the spacing of floats."""


def nearest(weights: Floats, shares: Floats, replaced: Floats) -> Floats:
    """Return the mixture of two splits under which `weights` are likeliest.

    The log-likelihood is concave in l: its derivative is bisected.

    Args:
        weights: float (..., V), counts or shares; 0 where a variant has a share in neither split.
        shares: float (V,), one end of the segment.
        replaced: float (V,), the other end.

    Returns:
        float (..., V).
    """
    toward = replaced - shares
    low, high = np.zeros(weights.shape[:-1]), np.ones(weights.shape[:-1])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        mixed = shares + middle[..., None] * toward
        slope = (weights * toward / np.where(mixed > 0, mixed, 1.0)).sum(axis=-1)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return np.asarray(shares + ((low + high) / 2)[..., None] * toward)
