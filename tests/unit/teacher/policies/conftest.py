"""A small teacher of random weights, for every test of policies."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.networks.registry import NetworkConfig
from services.teacher.policies.interface import Policy
from services.teacher.policies.jax_policy import JaxPolicy
from services.teacher.policies.onnx_policy import OnnxPolicy, exported

SHAPE = (10, 5, 2)


def _teacher(seed: int = 0, features: tuple[int, ...] = (16,)) -> Teacher:
    network = NetworkConfig(name="mlp", features=features)
    random = np.random.default_rng(seed)
    sizes = (int(np.prod(SHAPE)), *features, 3)
    layers = {
        f"Dense_{index}": {
            "kernel": random.normal(size=(inputs, units), scale=inputs**-0.5).astype(np.float32),
            "bias": random.normal(size=units).astype(np.float32),
        }
        for index, (inputs, units) in enumerate(itertools.pairwise(sizes))
    }
    params = {"params": layers}
    card = TeacherCard(
        name="small",
        game="catch",
        network=network,
        num_actions=3,
        observation_shape=SHAPE,
        made="for a test",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)


@pytest.fixture
def make_teacher() -> Callable[..., Teacher]:
    """Makes teachers by seed and widths of hidden layers."""
    return _teacher


@pytest.fixture
def teacher() -> Teacher:
    return _teacher()


@pytest.fixture
def observations() -> Callable[[int], NDArray[np.uint8]]:
    """Makes observations of the teacher, [rows, 10, 5, 2]."""

    def make(rows: int) -> NDArray[np.uint8]:
        return np.random.default_rng(rows).integers(0, 256, (rows, *SHAPE), np.uint8)

    return make


@pytest.fixture(params=["jax", "onnx"])
def as_policy(request: pytest.FixtureRequest) -> Callable[[Teacher], Policy]:
    """Puts a teacher on each of the backends."""
    return JaxPolicy if request.param == "jax" else lambda teacher: OnnxPolicy(exported(teacher))
