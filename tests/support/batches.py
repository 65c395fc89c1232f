"""Random batches of transitions, for tests of what learns from them."""

from __future__ import annotations

import numpy as np

from rrl_agents.types import Batch


def batch_of(
    shape: tuple[int, ...],
    num_actions: int,
    *,
    rows: int = 8,
    seed: int = 0,
    dtype: str = "uint8",
) -> Batch:
    """Transitions of which some end an episode, all with a teacher's answer and equal importance.

    Args:
        shape: Of one observation.
        num_actions: Actions A.
        rows: Transitions B.
        seed: Of everything random.
        dtype: Of observations: "uint8", any byte, or "float32", normally distributed.
    """
    generator = np.random.default_rng(seed)
    states = generator.normal(size=(2, rows, *shape)).astype(np.float32)
    if dtype == "uint8":
        states = generator.integers(0, 256, states.shape, dtype=np.uint8)
    return Batch(
        observation=states[0],
        action=generator.integers(0, num_actions, rows, dtype=np.int32),
        n_step_return=generator.normal(scale=3, size=rows).astype(np.float32),
        discount=generator.choice([0.0, 0.97], rows).astype(np.float32),
        next_observation=states[1],
        teacher_outputs=generator.normal(size=(rows, num_actions)).astype(np.float32),
        has_teacher=np.ones(rows, np.float32),
        importance_weight=np.ones(rows, np.float32),
    )
