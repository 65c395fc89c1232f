"""One gradient step: batch in, new state and metrics out, one compiled function.

Term weights, learning rate and target period are arguments of the compiled function, so a schedule
may change them at every update without compiling anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rrl_agents.networks.registry import action_values
from rrl_agents.training.objective import Term, TransitionRow, weighted_objective
from rrl_agents.training.train_state import AdamConfig, TrainState, adam_direction
from rrl_agents.types import Batch, Params


class UpdateMetrics(NamedTuple):
    """What an update reports.

    Only what comes for nothing: a gradient norm alone would cost a fifth of the update on a CPU.

    Attributes:
        loss: float32 [], weighted sum of the terms.
        term_losses: float32 [] for each term, unweighted.
        mean_best_value: float32 [], mean over the batch of max_a Q(s, a) before the update.
    """

    loss: jax.Array
    term_losses: dict[str, jax.Array]
    mean_best_value: jax.Array


class UpdateStep(Protocol):
    """A compiled update; consumes the state it is given (its buffers are donated)."""

    def __call__(
        self,
        state: TrainState,
        batch: Batch,
        weights: Mapping[str, ArrayLike],
        learning_rate: ArrayLike,
        target_update_period: ArrayLike,
    ) -> tuple[TrainState, UpdateMetrics]:
        """Take one gradient step.

        Args:
            state: From `initial_train_state` or the last call; not to be used again.
            batch: B transitions.
            weights: float32 [] for each term's name.
            learning_rate: float32 [], above 0.
            target_update_period: int32 [], the target network follows every so many updates.
        """


def make_update_step(network: nn.Module, terms: tuple[Term, ...], adam: AdamConfig) -> UpdateStep:
    """Compile the update of a method; one compilation per batch size.

    Args:
        network: Action-value network, from `make_network`.
        terms: The method's loss.
        adam: The optimiser's settings, those of the state.
    """
    direction = adam_direction(adam)

    def loss_fn(
        params: Params, state: TrainState, batch: Batch, weights: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], jax.Array]]:
        rows = TransitionRow(
            q_tm1=action_values(network, params, batch.observation),
            a_tm1=batch.action,
            n_step_return=batch.n_step_return,
            discount=batch.discount,
            q_target_t=action_values(network, state.target_params, batch.next_observation),
            teacher_q=batch.teacher_q,
        )
        loss, term_losses = weighted_objective(
            terms,
            rows,
            has_teacher=batch.has_teacher,
            importance_weight=batch.importance_weight,
            weights=weights,
        )
        return loss, (term_losses, jnp.mean(jnp.max(rows.q_tm1, axis=-1)))

    def update_step(
        state: TrainState,
        batch: Batch,
        weights: Mapping[str, jax.Array],
        learning_rate: jax.Array,
        target_update_period: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        (loss, (term_losses, mean_best_value)), gradients = jax.value_and_grad(
            loss_fn, has_aux=True
        )(state.params, state, batch, weights)
        steps, opt_state = direction.update(gradients, state.opt_state)
        params = jax.tree.map(lambda p, step: p - learning_rate * step, state.params, steps)
        learner_updates = state.learner_updates + 1
        new_state = TrainState(
            params=params,
            target_params=_follow(
                params, state.target_params, learner_updates % target_update_period == 0
            ),
            opt_state=opt_state,
            learner_updates=learner_updates,
        )
        return new_state, UpdateMetrics(loss, term_losses, mean_best_value)

    return jax.jit(update_step, donate_argnames="state")


def _follow(params: Params, target_params: Params, is_due: jax.Array) -> Params:
    """The target network's parameters after an update, a copy of the online ones when due."""
    followed: Params = jax.lax.cond(is_due, lambda: params, lambda: target_params)
    return followed
