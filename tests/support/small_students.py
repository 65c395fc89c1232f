"""Students with networks of the same kind that compile and run fast, and batches for them."""

from __future__ import annotations

import dataclasses

import numpy as np

from rrl_agents.networks.config import NetworkConfig
from rrl_agents.students.config import StudentConfig
from rrl_agents.students.registry import STUDENTS
from rrl_agents.types import Batch
from tests.support.batches import batch_of

ROWS = 6
"""Of a batch."""

_ACTIONS = 3
_IMAGES, _VECTORS = (12, 12, 2), (4, 1)
_FEATURES = {"nature_cnn": (4, 4, 8), "impala_cnn": (4, 8), "small_cnn": (4,), "mlp": (16,)}


def small_student(student: str) -> tuple[NetworkConfig, StudentConfig, tuple[int, ...]]:
    """A student made small, and the shape of what it sees."""
    network, learning = STUDENTS[student].network, STUDENTS[student].learning
    small = dataclasses.replace(
        network,
        features=_FEATURES[network.name],
        hidden_units=16,
        num_atoms=min(network.num_atoms, 8),
        quantile_embedding_dim=4,
    )
    shape = _VECTORS if network.name == "mlp" else _IMAGES
    return small, dataclasses.replace(learning, quantile_samples=5), shape


def small_batch(shape: tuple[int, ...], seed: int) -> Batch:
    """Transitions of 3 actions with importance weights, one without the teacher's answer."""
    dtype = "float32" if shape == _VECTORS else "uint8"
    weights = np.random.default_rng(seed).uniform(0.5, 1.0, ROWS).astype(np.float32)
    return batch_of(shape, _ACTIONS, rows=ROWS, seed=seed, dtype=dtype)._replace(
        has_teacher=np.array([0.0] + [1.0] * (ROWS - 1), np.float32), importance_weight=weights
    )
