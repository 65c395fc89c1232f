"""The bare update: the jitted training step on its own, repeated on one batch on the device."""

from __future__ import annotations

import time

import jax
import numpy as np

from rrl_agents.networks.config import ComputeType, NetworkConfig
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.train_state import initial_train_state
from rrl_agents.training.update_step import make_update_step
from rrl_agents.types import Batch, EnvironmentSpec, Progress, Stage

BLOCK = 10


class BareUpdate:
    """The update on a batch that is on the device; each continues from the last state.

    Args:
        recipe: The method.
        network: The student's architecture.
        student: Its algorithm.
        spec: Of its environment.
        batch: What it learns from.
        stage: OFFLINE or ONLINE; decides the terms' weights and the learning rate.
        dtype: What layers compute in.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: NetworkConfig,
        student: StudentConfig,
        spec: EnvironmentSpec,
        batch: Batch,
        *,
        stage: Stage = Stage.OFFLINE,
        dtype: ComputeType = "float32",
    ) -> None:
        module = make_network(network, spec.num_actions, dtype=dtype)
        optimiser = recipe.q_learning.optimiser
        self._update = make_update_step(module, recipe.terms, optimiser, student)
        params = initial_params(module, jax.random.key(0), spec.observation_shape)
        self._state = initial_train_state(params, optimiser)
        self._batch: Batch = jax.device_put(batch)
        progress = Progress(random_return=-20.7, teacher_return=20.0, stage=stage)
        factors = recipe.term_weights(progress, network, student)
        self._weights = {name: np.float32(factor) for name, factor in factors.items()}
        self._rate = np.float32(recipe.learning_rate(progress))
        self._period = np.int32(recipe.q_learning.target_update_period)
        self._key = jax.random.key(1)

    def repeat(self, seconds: float) -> float:
        """Updates per second of so long, at least two blocks."""
        updates, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds or updates < 2 * BLOCK:
            updates += self.make(BLOCK)
        return updates / (time.perf_counter() - start)

    def make(self, updates: int) -> int:
        """Make so many updates, at least one; gives their number."""
        for _ in range(updates):
            self._state, metrics = self._update(
                self._state, self._batch, self._weights, self._rate, self._period, self._key
            )
        metrics.loss.block_until_ready()
        return updates


def random_batch(spec: EnvironmentSpec, rows: int) -> Batch:
    """A batch of noise, where replay gives none; of an environment that shows uint8."""
    random = np.random.default_rng(0)
    states = random.integers(0, 256, (2, rows, *spec.observation_shape), np.uint8)
    ones = np.ones(rows, np.float32)
    return Batch(
        observation=states[0],
        action=random.integers(0, spec.num_actions, rows).astype(np.int32),
        n_step_return=random.random(rows, np.float32),
        discount=ones,
        next_observation=states[1],
        teacher_outputs=random.random((rows, spec.num_actions), np.float32),
        has_teacher=ones,
        importance_weight=ones,
    )
