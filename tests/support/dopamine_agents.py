"""Networks of Dopamine's agents, written by hand: their trees are stated in code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = dict[str, dict[str, Any]]

SMALL = {
    "Conv_0": (8, 8, 4, 2),
    "Conv_1": (4, 4, 2, 3),
    "Conv_2": (3, 3, 3, 4),
    "Dense_0": (484, 5),
    "Dense_1": (5, 6),
}
"""A Nature DQN with 2, 3, 4 channels, 5 hidden units and 6 actions, SAME padding.

84 pixels after strides of 4, 2 and 1 are 21, 11, 11: Dense_0 has 11 * 11 * 4 = 484 inputs.
"""


def layers_of(kernels: dict[str, tuple[int, ...]]) -> Layers:
    """Random layers with kernels of these shapes."""
    random = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    return {
        name: {"kernel": draw(shape), "bias": draw(shape[-1:])} for name, shape in kernels.items()
    }
