"""One gradient step: batch in, new state and metrics out, one compiled function.

Term weights, learning rate and target period are arguments of the compiled function, so a schedule
may change them at every update without compiling anew. All that is random in an update (noise of
the network, quantile levels, augmentation) follows from the run's key and the number of updates: a
resumed run draws what the uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rrl_agents.students.config import StudentConfig
from rrl_agents.training.augmentation import augmented
from rrl_agents.training.objective import weighted_objective
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.td_learning import make_td_learning
from rrl_agents.training.term import Term, TransitionRow
from rrl_agents.training.train_state import TrainState, descent_direction
from rrl_agents.types import Batch, Params


class UpdateMetrics(NamedTuple):
    """What an update reports.

    Only what comes for nothing: a gradient norm alone would cost a fifth of the update on a CPU.

    Attributes:
        loss: float32 [], weighted sum of the terms.
        term_losses: float32 [] for each term, unweighted.
        mean_best_value: float32 [], mean over the batch of max_a Q(s, a) before the update.
        priorities: float32 [B], the TD loss of each row, unweighted: what prioritised replay draws
            it by from now on.
    """

    loss: jax.Array
    term_losses: dict[str, jax.Array]
    mean_best_value: jax.Array
    priorities: jax.Array


class UpdateStep(Protocol):
    """A compiled update; consumes the state it is given (its buffers are donated)."""

    def __call__(
        self,
        state: TrainState,
        batch: Batch,
        weights: Mapping[str, ArrayLike],
        learning_rate: ArrayLike,
        target_update_period: ArrayLike,
        key: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        """Take one gradient step.

        Args:
            state: From `initial_train_state` or the last call; not to be used again.
            batch: B transitions.
            weights: float32 [] for each term's name.
            learning_rate: float32 [], above 0.
            target_update_period: int32 [], the target network follows every so many updates.
            key: JAX random key, the same one for all updates of a run.
        """


def make_update_step(
    network: nn.Module,
    terms: tuple[Term, ...],
    optimiser: OptimiserConfig,
    student: StudentConfig,
) -> UpdateStep:
    """Compile the update of a method and a student; one compilation per batch size.

    Args:
        network: Action-value network, from `make_network`.
        terms: The method's loss.
        optimiser: Its settings, those of the state.
        student: How the student learns.

    Raises:
        ValueError: When the student cannot learn with that network; at the first call, when it
            augments what is no image.
    """
    direction = descent_direction(optimiser)
    td_learning = make_td_learning(network, student)

    def loss_fn(
        params: Params,
        target_params: Params,
        batch: Batch,
        weights: Mapping[str, jax.Array],
        key: jax.Array,
    ) -> tuple[jax.Array, _Details]:
        td = td_learning(params, target_params, batch, key)
        loss, term_losses = weighted_objective(
            terms,
            TransitionRow(td.q_tm1, batch.action, td.td_loss, batch.teacher_outputs),
            has_teacher=batch.has_teacher,
            importance_weight=batch.importance_weight,
            weights=weights,
        )
        return loss, _Details(term_losses, jnp.mean(jnp.max(td.q_tm1, axis=-1)), td.td_loss)

    def update_step(
        state: TrainState,
        batch: Batch,
        weights: Mapping[str, jax.Array],
        learning_rate: jax.Array,
        target_update_period: jax.Array,
        key: jax.Array,
    ) -> tuple[TrainState, UpdateMetrics]:
        td_key, *augmentation_keys = jax.random.split(
            jax.random.fold_in(key, state.learner_updates), 3
        )
        seen = _as_the_student_sees(batch, student, augmentation_keys)
        (loss, details), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.target_params, seen, weights, td_key
        )
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
        return new_state, UpdateMetrics(loss, *details)

    return jax.jit(update_step, donate_argnames="state")


class _Details(NamedTuple):
    """The fields of `UpdateMetrics` beside the loss."""

    term_losses: dict[str, jax.Array]
    mean_best_value: jax.Array
    priorities: jax.Array


def _as_the_student_sees(batch: Batch, student: StudentConfig, keys: Sequence[jax.Array]) -> Batch:
    """The batch with states augmented, those acted in and those bootstrapped from each anew."""
    return batch._replace(
        observation=augmented(batch.observation, student, keys[0]),
        next_observation=augmented(batch.next_observation, student, keys[1]),
    )


def _follow(params: Params, target_params: Params, is_due: jax.Array) -> Params:
    """The target network's parameters after an update, a copy of the online ones when due."""
    followed: Params = jax.lax.cond(is_due, lambda: params, lambda: target_params)
    return followed
