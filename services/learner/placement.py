"""Brings blocks of batches to where the learner computes.

A block lies there as frames lie in replay, oldest first before their pixels: [K, B, stack, H, W].
The compiled update moves the axis to where networks have it (`stack_last`), as part of the
conversion to floats that it begins with, so for nothing; NumPy or JAX on the host would need 0.6 ms
of processor time for each batch of 32 Atari states.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rrl_agents.training.devices import choose_devices
from rrl_agents.training.update_block import filled
from rrl_agents.types import Batch, EnvironmentSpec, has_stack_axis
from services.learner.config import LearnerConfig


def place_block(
    batches: Batch, config: LearnerConfig, frames: NDArray[Any] | jax.Array | None = None
) -> Batch:
    """Bring the batches of a block to the devices; returns at once.

    Args:
        batches: NumPy arrays [n, B, ...] with n up to K, the updates of a whole block.
        config: Of the learner.
        frames: [F, *frame], on the host or from `place_frames`, where the observations in `batches`
            are numbers of frames, int32 [n, B, stack]; None where they are the frames.

    Returns:
        Arrays [K, B, ...], filled up with zeros, so that all blocks run the same programs.

    Raises:
        ValueError: there are fewer devices than the learner is to compute on.
    """
    devices = choose_devices(config.arithmetic.devices)
    batches = filled(batches, config.updates_per_block)
    if frames is None:
        batches = _moved(batches, -1, 2, config.spec)
    elif isinstance(frames, np.ndarray):
        batches = _with_frames(batches, frames)
    placed: Batch = jax.device_put(batches, devices.batches)
    return _with_frames_on_device(placed, frames) if isinstance(frames, jax.Array) else placed


def place_frames(frames: NDArray[Any], config: LearnerConfig) -> NDArray[Any] | jax.Array:
    """Frames to draw from, [F, *frame]: in the memory of each device, or on the host for CPUs.

    NumPy takes frames out of an array in a third of the time that XLA for CPUs needs.
    """
    if jax.default_backend() == "cpu":
        return frames
    placed: jax.Array = jax.device_put(frames, choose_devices(config.arithmetic.devices).replicated)
    return placed


def stack_last(batch: Batch, spec: EnvironmentSpec) -> Batch:
    """One batch of a placed block, [B, stack, *frame], with the axes of the networks; traceable."""
    return _moved(batch, 1, -1, spec)


def _moved(batch: Batch, source: int, destination: int, spec: EnvironmentSpec) -> Batch:
    if not has_stack_axis(spec.frame_shape, spec.stack_size):
        return batch
    move = np.moveaxis if isinstance(batch.observation, np.ndarray) else jnp.moveaxis
    return batch._replace(
        observation=move(batch.observation, source, destination),
        next_observation=move(batch.next_observation, source, destination),
    )


def _with_frames(batch: Batch, frames: Any) -> Batch:
    """The frames in the place of their numbers."""
    return batch._replace(
        observation=frames[batch.observation], next_observation=frames[batch.next_observation]
    )


_with_frames_on_device = jax.jit(_with_frames)
