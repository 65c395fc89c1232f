"""Brings blocks of batches to where the learner computes."""

from __future__ import annotations

import jax

from rrl_agents.training.devices import choose_devices
from rrl_agents.training.update_block import filled
from rrl_agents.types import Batch
from services.learner.config import LearnerConfig


def place_block(batches: Batch, config: LearnerConfig) -> Batch:
    """Bring the batches of a block to the devices; returns at once.

    Args:
        batches: NumPy arrays [n, B, ...] with n up to K, the updates of a whole block.
        config: Of the learner.

    Returns:
        Arrays [K, B, ...], filled up with zeros, so that all blocks run the same programs.

    Raises:
        ValueError: there are fewer devices than the learner is to compute on.
    """
    devices = choose_devices(config.arithmetic.devices)
    placed: Batch = jax.device_put(filled(batches, config.updates_per_block), devices.batches)
    return placed
