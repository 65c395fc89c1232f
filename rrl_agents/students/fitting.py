"""Chooses the student that fits an environment."""

from __future__ import annotations

from rrl_agents.types import EnvironmentSpec

AUTO = "auto"
"""Name that selects the fitting student."""

_LARGEST_GRID = 24
"""Images up to this side are grids of cells: Nature's strides of 4, 2 and 1 would leave 3x3."""

_SMALLEST_GRID = 3
"""Smallest side for the 3x3 convolution of MinAtar's network."""


def fitting_student(spec: EnvironmentSpec) -> str:
    """The DQN whose network suits the observations, a key of `STUDENTS`.

    Args:
        spec: Spec of the environment.

    Returns:
        "vector_dqn" for vectors and the smallest images, "minatar_dqn" for images with a side of up
        to 24 pixels, "dqn" for larger ones.
    """
    sides = spec.frame_shape[:2]
    if len(sides) < 2 or min(sides) < _SMALLEST_GRID:
        return "vector_dqn"
    return "minatar_dqn" if min(sides) <= _LARGEST_GRID else "dqn"
