"""Epsilon-greedy actions by their probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rrl_agents.behaviour.epsilon_greedy import epsilon_greedy, make_policy
from rrl_agents.networks.registry import NetworkConfig, action_values, initial_params, make_network


def test_without_exploration_the_first_best_action_is_taken() -> None:
    values = jnp.float32([1.0, 3.0, 3.0])
    with jax.numpy_rank_promotion("raise"):
        for seed in range(5):
            assert epsilon_greedy(jax.random.key(seed), values, 0.0) == 1


@pytest.mark.parametrize(
    ("epsilon", "best_share"),
    # The best of four actions: (1 - epsilon) + epsilon / 4.
    [(1.0, 0.25), (0.4, 0.7)],
)
def test_exploration_is_uniform_over_all_actions(epsilon: float, best_share: float) -> None:
    keys = jax.random.split(jax.random.key(0), 20_000)
    values = jnp.float32([0.0, 0.0, 9.0, 0.0])
    actions = jax.jit(jax.vmap(lambda key: epsilon_greedy(key, values, epsilon)))(keys)
    shares = np.bincount(np.asarray(actions), minlength=4) / len(actions)
    # Standard deviation of a share at most 0.5 / sqrt(20,000) = 0.0035; allow four of them.
    assert shares[2] == pytest.approx(best_share, abs=0.014)
    np.testing.assert_allclose(shares[[0, 1, 3]], (1 - best_share) / 3, atol=0.014)


def test_the_policy_acts_by_its_network_in_every_environment() -> None:
    network = make_network(NetworkConfig(name="mlp", features=(8,)), 3)
    params = initial_params(network, jax.random.key(0), (10, 5, 1))
    observation = np.random.default_rng(0).integers(0, 256, (6, 10, 5, 1), dtype=np.uint8)
    policy = make_policy(network)
    actions, values = policy(params, observation, 1, 0.0)
    # Values near 0 are differences of larger terms, with float32's rounding of these (2^-24 of 1).
    expected = action_values(network, params, jnp.asarray(observation))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actions, np.argmax(values, axis=1))
    assert actions.dtype == jnp.int32


def test_environments_explore_independently_and_seeds_decide() -> None:
    network = make_network(NetworkConfig(name="mlp", features=()), 4)
    params = initial_params(network, jax.random.key(0), (2, 2, 1))
    observation = np.zeros((64, 2, 2, 1), np.uint8)
    policy = make_policy(network)
    first, _ = policy(params, observation, 1, 1.0)
    again, _ = policy(params, observation, 1, 1.0)
    other, _ = policy(params, observation, 2, 1.0)
    assert len(set(np.asarray(first).tolist())) == 4
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).any()


def test_noisy_networks_explore_by_their_noise_and_seeds_decide() -> None:
    network = make_network(NetworkConfig(name="mlp", features=(), noisy=True), 4)
    params = initial_params(network, jax.random.key(0), (2, 2, 1))
    observation = np.full((3, 2, 2, 1), 255, np.uint8)
    policy = make_policy(network)
    (_, first), (_, again), (_, other) = (
        policy(params, observation, seed, 0.0) for seed in (1, 1, 2)
    )
    without_noise = action_values(network, params, jnp.asarray(observation))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).all()
    assert (np.asarray(first) != np.asarray(without_noise)).all()
    # One noise for a call: equal states get equal values.
    np.testing.assert_allclose(first, np.broadcast_to(first[0], (3, 4)), rtol=1e-6)


def test_observations_may_lie_in_memory_in_any_order() -> None:
    network = make_network(NetworkConfig(name="mlp", features=(8,)), 3)
    params = initial_params(network, jax.random.key(0), (5, 4, 2))
    random = np.random.default_rng(0)
    stacks_first = random.integers(0, 256, (6, 2, 5, 4), dtype=np.uint8)
    observation = np.moveaxis(stacks_first, 1, -1)
    policy = make_policy(network)
    actions, values = policy(params, observation, 1, 0.5)
    expected_actions, expected = policy(params, np.ascontiguousarray(observation), 1, 0.5)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actions, expected_actions)
