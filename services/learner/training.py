"""The student's training state and its updates."""

from __future__ import annotations

import functools

import jax
import numpy as np

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.training.devices import choose_devices
from rrl_agents.training.train_state import (
    TrainState,
    fresh_optimiser,
    initial_train_state,
    sync_target,
)
from rrl_agents.training.update_block import BlockSchedule, make_update_block
from rrl_agents.training.update_step import UpdateMetrics
from rrl_agents.types import Batch, Params, Progress
from services.learner.checkpoint_records import RunCheckpoint
from services.learner.checkpointing import restore_state
from services.learner.config import LearnerConfig
from services.learner.placement import stack_last
from services.shared.errors import UserError, user_errors


class Training:
    """One student's parameters and optimiser; starts with random parameters.

    Args:
        config: Network, student and seed.
        recipe: The method.

    Raises:
        UserError: there are fewer devices than configured.

    Attributes:
        state: Parameters, target parameters and optimiser. Each update overwrites its memory.
    """

    def __init__(self, config: LearnerConfig, recipe: Recipe) -> None:
        self._config = config
        self._recipe = recipe
        arithmetic = config.arithmetic
        with user_errors():
            self._devices = choose_devices(arithmetic.devices)
        network = make_network(config.network, config.spec.num_actions, dtype=arithmetic.dtype)
        self._update = make_update_block(
            network,
            recipe.terms,
            recipe.q_learning.optimiser,
            config.student,
            devices=self._devices,
            may_end_early=_blocks_end_early(config),
            prepare=functools.partial(stack_last, spec=config.spec),
        )
        # The first key is for the initial parameters; the second is for the updates, which draw
        # noise, shifts and quantile levels.
        params_key, self._update_key = jax.random.split(jax.random.key(config.seed))
        params = initial_params(network, params_key, config.spec.observation_shape)
        self.state: TrainState = self._fresh(params)
        self._computing: UpdateMetrics | None = None

    def restore(self, checkpoint: RunCheckpoint) -> None:
        """Load a checkpoint's state.

        Raises:
            UserError: the state cannot be read, or belongs to another architecture.
        """
        self.state = restore_state(checkpoint, self.state)

    def load_initial_agent(self) -> None:
        """Load the teacher's parameters, if the method starts from them.

        Raises:
            UserError: the parameters cannot be read, or belong to another architecture.
        """
        if (teacher := self._config.initial_teacher) is None:
            return
        with user_errors((ValueError, OSError)):
            params = load_teacher_directory(teacher).params
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, self.state.params):
            raise UserError(
                f"the parameters in {teacher} do not fit the student's architecture: give the "
                "student the network of that teacher"
            )
        self.state = self._fresh(params)

    def update(self, batches: Batch, progress: Progress, updates: int) -> UpdateMetrics:
        """Make a block of updates; returns while the device computes, at most one block behind.

        Args:
            batches: Batches from `place_block`, with the leading axes [K, B].
            progress: Progress before the first update, from which the terms' weights and the
                learning rates of all updates follow.
            updates: Number of updates n, 1 to K.

        Returns:
            Metrics with the leading axis K, of which the first n belong to the updates.
        """
        self.state, metrics = self._update(
            self.state,
            batches,
            self._schedule(progress, updates, len(batches.action)),
            updates,
            np.int32(self._recipe.q_learning.target_update_period),
            self._update_key,
        )
        if self._computing is not None:
            # More than one block in the device's queue would fill its memory.
            self._computing.loss.block_until_ready()
        self._computing = metrics
        return metrics

    def _fresh(self, params: Params) -> TrainState:
        state = initial_train_state(params, self._recipe.q_learning.optimiser)
        placed: TrainState = self._devices.place_state(state)
        return placed

    def _schedule(self, progress: Progress, updates: int, rows: int) -> BlockSchedule:
        """Term weights and learning rates of some updates; rows beyond them repeat the last."""
        config, recipe = self._config, self._recipe
        moments = [progress.after_updates(min(row, updates - 1)) for row in range(rows)]
        weights = [recipe.term_weights(now, config.network, config.student) for now in moments]
        return BlockSchedule(
            {
                name: np.array([of_one[name] for of_one in weights], np.float32)
                for name in weights[0]
            },
            np.array([recipe.learning_rate(now) for now in moments], np.float32),
        )

    def prepare_online_stage(self) -> None:
        """Sync the target network, and reset the optimiser if the recipe requires it."""
        self.state = sync_target(self.state)
        if self._recipe.fresh_optimiser_online:
            fresh = fresh_optimiser(self.state, self._recipe.q_learning.optimiser)
            self.state = self._devices.place_state(fresh)

    def params(self) -> Params:
        """A copy of the parameters on the host, which later updates do not change."""
        params: Params = jax.device_get(self.state.params)
        return params

    def check_finite(self) -> None:
        """Check that all parameters are finite.

        Raises:
            FloatingPointError: one is not.
        """
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params())):
            raise FloatingPointError(
                f"the weights are not finite after {int(self.state.learner_updates)} updates: "
                "start another run with a lower learning rate"
            )


def _blocks_end_early(config: LearnerConfig) -> bool:
    """Whether any block ends early, at an evaluation or the end of a stage."""
    targets = config.targets
    clocks = (
        (targets.offline_updates, config.offline_evaluation_period),
        (targets.online_updates, config.online_evaluation_period),
    )
    size = config.updates_per_block
    return any(target % size or (period < target and period % size) for target, period in clocks)
