"""Copies observations to row-major order, in which they are sent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHORT_AXIS = 16
"""Longest last axis that is copied element by element: stacks of frames have 4."""


def copy_row_major(observations: NDArray[Any], into: NDArray[Any]) -> None:
    """Copy observations; stacks stored frame by frame take a third of NumPy's CPU time.

    NumPy loops over the last axis of the copy: with four frames on that axis, a loop of four bytes
    for each pixel. This function loops over all pixels for each frame.

    Args:
        observations: [B, ...], with any memory order of the axes.
        into: Array of the same shape and dtype, row-major.
    """
    last = observations.shape[-1]
    # If the last axis is contiguous, as in slices and crops, NumPy copies it in blocks.
    is_packed = observations.strides[-1] == observations.itemsize
    if is_packed or last > _SHORT_AXIS:
        into[...] = observations
        return
    for index in range(last):
        into[..., index] = observations[..., index]


def row_major_bytes(observations: NDArray[Any]) -> bytes:
    """The elements of observations [B, ...] as bytes, in the same byte order."""
    if observations.flags.c_contiguous:
        return observations.tobytes()
    copy = np.empty(observations.shape, observations.dtype)
    copy_row_major(observations, copy)
    return copy.tobytes()
