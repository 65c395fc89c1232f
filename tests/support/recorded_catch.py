"""Recorded play of Catch in the files of Dopamine's replay buffer, written by Dopamine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dopamine.replay_memory.circular_replay_buffer import OutOfGraphReplayBuffer

from rrl_agents.environments import catch


def recorded_catch(directory: Path, rows: int, capacity: int) -> Path:
    """A buffer that Dopamine wrote: episodes of 1 to 30 steps, frames that tell rows apart."""
    buffer = OutOfGraphReplayBuffer(
        observation_shape=(catch.ROWS, catch.COLUMNS),
        stack_size=1,
        replay_capacity=capacity,
        batch_size=1,
        update_horizon=3,
        gamma=0.99,
    )
    random = np.random.default_rng(0)
    for _ in range(rows):
        terminal = random.random() < 0.1
        buffer.add(
            random.integers(0, 256, (catch.ROWS, catch.COLUMNS), np.uint8),
            int(random.integers(3)),
            # Clipped when stored; the oracle gets whole rewards that need no clipping.
            float(random.integers(-1, 2)),
            int(terminal),
            episode_end=bool(terminal or random.random() < 0.05),
        )
    directory.mkdir()
    buffer.save(str(directory), 7)
    return directory
