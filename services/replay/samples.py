"""Batches as they are drawn, wherever that happens, and the weights that undo uneven draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl_agents.types import Batch

_SMALLEST_PROBABILITY = 1e-10
"""Dopamine's; an item of priority 0 can still be drawn where all are 0."""


class Sample(NamedTuple):
    """A batch or a block of batches, and where its rows lie in replay.

    Attributes:
        batch: The transitions, [B] of one batch, [K, B] of a block.
        item_key: uint64 [B] or [K, B], the rows' keys in their tables.
        from_student: bool [B] or [K, B], whether the row is of the student's table.
    """

    batch: Batch
    item_key: NDArray[np.uint64]
    from_student: NDArray[np.bool_]


class ShardSample(NamedTuple):
    """A sample and its shard.

    Attributes:
        sample: The batches and the keys of their rows in that shard.
        shard: Index of the shard.
    """

    sample: Sample
    shard: int


def importance_weights(
    relative_probability: NDArray[np.float64], exponent: float
) -> NDArray[np.float32]:
    """Weights that undo uneven sampling, the largest of each batch being 1.

    `w_i = (N p_i)^-exponent / max_j (N p_j)^-exponent` (Schaul et al., 2016, arXiv:1511.05952,
    section 3.4); with an exponent of 0.5 those of Dopamine's Rainbow.

    Args:
        relative_probability: float64 [..., B], N p: 1 for rows drawn uniformly.
        exponent: beta, at least 0; 0 weighs all rows alike, 1 undoes the bias wholly.

    Returns:
        float32 [..., B], in (0, 1].
    """
    bounded = np.maximum(relative_probability, _SMALLEST_PROBABILITY)
    weights: NDArray[np.float64] = np.power(
        bounded / bounded.min(axis=-1, keepdims=True), -exponent
    )
    return weights.astype(np.float32)
