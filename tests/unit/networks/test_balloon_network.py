"""The quantile student for vectors, against the quantile network of the balloon's package."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from balloon_learning_environment.agents.networks import QuantileNetwork

from rrl_agents.networks.registry import make_network
from rrl_agents.students.registry import STUDENTS


def test_the_quantile_student_for_vectors_starts_and_answers_as_the_packages_network() -> None:
    # They count the last layer.
    theirs: Any = QuantileNetwork(num_actions=3, num_layers=3, hidden_units=256, num_atoms=51)
    ours = make_network(STUDENTS["vector_qr_dqn"].network, 3)
    states = np.random.default_rng(0).normal(size=(2, 1_099)).astype(np.float32)
    key = jax.random.PRNGKey(1)
    params = theirs.init(key, states[0])
    initial: Any = ours.init(key, states)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), initial, params)
    expected = np.stack([theirs.apply(params, state).q_values for state in states])
    np.testing.assert_allclose(ours.apply(params, states), expected, rtol=1e-5, atol=1e-5)
