"""Importance weights of sampled rows: what undoes the bias of prioritised sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-10
"""Dopamine's; an item of priority 0 can still be drawn where all are 0."""


def importance_weights(
    relative_probability: NDArray[np.float64], exponent: float
) -> NDArray[np.float32]:
    """Weights that undo uneven sampling, the largest of the batch being 1.

    `w_i = (N p_i)^-exponent / max_j (N p_j)^-exponent` (Schaul et al., 2016, arXiv:1511.05952,
    section 3.4); with an exponent of 0.5 those of Dopamine's Rainbow.

    Args:
        relative_probability: float64 [B], N p: 1 for rows drawn uniformly.
        exponent: beta, at least 0; 0 weighs all rows alike, 1 undoes the bias wholly.

    Returns:
        float32 [B], in (0, 1].
    """
    bounded = np.maximum(relative_probability, _SMALLEST)
    weights: NDArray[np.float64] = np.power(bounded / bounded.min(), -exponent)
    return weights.astype(np.float32)
