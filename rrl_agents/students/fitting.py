"""Which student an environment is for, where the user leaves the choice to us."""

from __future__ import annotations

from rrl_agents.types import EnvironmentSpec

AUTO = "auto"
"""Stands for the fitting student wherever a student is named."""

_LARGEST_GRID = 24
"""Sides up to which an image is a grid of cells: Nature's strides of 4, 2 and 1 would leave 3x3."""

_SMALLEST_GRID = 3
"""Sides that the 3x3 convolution of MinAtar's network needs."""


def fitting_student(spec: EnvironmentSpec) -> str:
    """A DQN with the network for what is observed, a key of `STUDENTS`.

    Args:
        spec: Of the environment.

    Returns:
        "vector_dqn" for vectors and the smallest images, "minatar_dqn" for images with a side of up
        to 24 pixels, "dqn" for larger ones.
    """
    sides = spec.frame_shape[:2]
    if len(sides) < 2 or min(sides) < _SMALLEST_GRID:
        return "vector_dqn"
    return "minatar_dqn" if min(sides) <= _LARGEST_GRID else "dqn"
