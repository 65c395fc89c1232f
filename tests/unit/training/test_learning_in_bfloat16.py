"""A student whose layers compute in bfloat16 learns to play; it plays in float32."""

from __future__ import annotations

import contextlib

import jax
import numpy as np

from rrl_agents.environments.registry import EnvironmentConfig, make_environment
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.registry import action_values, initial_params, make_network
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.train_state import initial_train_state
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Batch, Params

GAMES, STEPS, ROWS, UPDATES = 256, 300, 64, 1_500
NETWORK = NetworkConfig(name="mlp", features=(64,))
ADAM = OptimiserConfig()


def random_play() -> Batch:
    """What so many games of Catch give in so many steps of a random player."""
    random, rows = np.random.default_rng(0), []
    with contextlib.closing(make_environment(EnvironmentConfig(name="catch"), GAMES)) as games:
        states = games.reset(seed=0)
        for _ in range(STEPS):
            actions = random.integers(games.spec.num_actions, size=GAMES)
            step = games.step(actions)
            played = ~step.episode_start
            none = np.zeros((GAMES, games.spec.num_actions), np.float32)
            row = Batch(
                states,
                actions.astype(np.int32),
                step.reward,
                np.where(step.terminated, 0.0, 0.99).astype(np.float32),
                step.observation,
                none,
                none[:, 0],
                np.ones(GAMES, np.float32),
            )
            rows.append(Batch(*(column[played] for column in row)))
            states = step.observation
    return Batch(*map(np.concatenate, zip(*rows, strict=True)))


def mean_return(params: Params) -> float:
    """Of the greedy policy over some games, computed in float32."""
    with contextlib.closing(make_environment(EnvironmentConfig(name="catch"), 100)) as games:
        network = make_network(NETWORK, games.spec.num_actions)
        states, returns = games.reset(seed=1), np.zeros(100)
        ended = np.zeros(100, np.bool_)
        while not ended.all():
            step = games.step(np.asarray(action_values(network, params, states)).argmax(axis=1))
            returns += step.reward * ~ended
            ended |= step.terminated
            states = step.observation
    return float(returns.mean())


def test_catch_is_learned_in_bfloat16() -> None:
    data = random_play()
    network = make_network(NETWORK, 3, dtype="bfloat16")
    params = initial_params(network, jax.random.key(0), data.observation.shape[1:])
    state = initial_train_state(params, ADAM)
    update = make_update_step(network, (temporal_difference(),), ADAM, StudentConfig())
    random, key = np.random.default_rng(1), jax.random.key(1)
    for _ in range(UPDATES):
        chosen = random.integers(len(data.action), size=ROWS)
        batch = Batch(*(column[chosen] for column in data))
        state, _ = update(state, batch, {"td": 1.0}, 1e-3, 100, key)
    # Random play gives -0.6, the perfect player 1.
    assert mean_return(state.params) > 0.8
