"""The student's training state and its updates."""

from __future__ import annotations

import jax
import numpy as np

from rrl_agents.checkpoints.teacher_directory import load_teacher_directory
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.reincarnation.recipe import Recipe
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
from services.shared.errors import UserError, user_errors


class Training:
    """One student's parameters and optimiser; starts with random parameters.

    Args:
        config: Network, student and seed.
        recipe: The method.

    Attributes:
        state: Parameters, target parameters and optimiser. Each update reuses its memory.
    """

    def __init__(self, config: LearnerConfig, recipe: Recipe) -> None:
        self._config = config
        self._recipe = recipe
        network = make_network(config.network, config.spec.num_actions)
        self._update = make_update_block(
            network, recipe.terms, recipe.q_learning.optimiser, config.student
        )
        # One key draws the parameters; the updates draw noise, shifts and quantile levels from the
        # other.
        params_key, self._update_key = jax.random.split(jax.random.key(config.seed))
        params = initial_params(network, params_key, config.spec.observation_shape)
        self.state: TrainState = initial_train_state(params, recipe.q_learning.optimiser)
        self._computing: UpdateMetrics | None = None

    def restore(self, checkpoint: RunCheckpoint) -> None:
        """Load a checkpoint's state.

        Raises:
            UserError: it cannot be read, or belongs to another architecture.
        """
        self.state = restore_state(checkpoint, self.state)

    def load_initial_agent(self) -> None:
        """Take the parameters of the agent that the method starts from, if any.

        Raises:
            UserError: they cannot be read, or belong to another architecture.
        """
        if (teacher := self._config.initial_teacher) is None:
            return
        with user_errors((ValueError, OSError)):
            params = load_teacher_directory(teacher).params
        if jax.tree.map(np.shape, params) != jax.tree.map(np.shape, self.state.params):
            raise UserError(
                f"the parameters in {teacher} are not of the student's architecture: give the "
                "student that teacher's network"
            )
        self.state = initial_train_state(params, self._recipe.q_learning.optimiser)

    def update(self, batches: Batch, progress: Progress) -> UpdateMetrics:
        """A block of gradient steps; returns while the device computes, at most one block behind.

        Args:
            batches: The batches of K updates, with the leading axes [K, B].
            progress: Before the first of them; it decides the weights and rates of all.

        Returns:
            Metrics with the leading axis K.
        """
        self.state, metrics = self._update(
            self.state,
            batches,
            self._schedule(progress, len(batches.action)),
            np.int32(self._recipe.q_learning.target_update_period),
            self._update_key,
        )
        if self._computing is not None:
            # Blocks that wait for the device would fill its memory.
            self._computing.loss.block_until_ready()
        self._computing = metrics
        return metrics

    def _schedule(self, progress: Progress, updates: int) -> BlockSchedule:
        config, recipe = self._config, self._recipe
        moments = [progress.after_updates(count) for count in range(updates)]
        weights = [recipe.term_weights(now, config.network, config.student) for now in moments]
        return BlockSchedule(
            {
                name: np.array([of_one[name] for of_one in weights], np.float32)
                for name in weights[0]
            },
            np.array([recipe.learning_rate(now) for now in moments], np.float32),
        )

    def prepare_online_stage(self) -> None:
        """Sync the target network, and reset the optimiser where the recipe asks for it."""
        self.state = sync_target(self.state)
        if self._recipe.fresh_optimiser_online:
            self.state = fresh_optimiser(self.state, self._recipe.q_learning.optimiser)

    def params(self) -> Params:
        """A host copy of the parameters, which later updates leave alone."""
        params: Params = jax.device_get(self.state.params)
        return params

    def check_finite(self) -> None:
        """Check the parameters.

        Raises:
            FloatingPointError: one is not finite.
        """
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.params())):
            raise FloatingPointError(
                f"the weights are not finite after {int(self.state.learner_updates)} updates: "
                "start another run with a lower learning rate"
            )
