"""One gradient step: batch in, new state and metrics out, one compiled function.

Term weights, learning rate and target period are arguments of the compiled function, so a schedule
may change them at every update without a new compilation. All that is random in an update (noise of
the network, quantile levels, augmentation) follows from the run's key and the number of updates: a
resumed run draws what the uninterrupted one would have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rrl_agents.networks.registry import QNetwork
from rrl_agents.students.config import StudentConfig
from rrl_agents.training.augmentation import augmented
from rrl_agents.training.objective import weighted_objective
from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.training.td_learning import TdLearning, make_td_learning
from rrl_agents.training.term import Term, TermInputs
from rrl_agents.training.train_state import TrainState, make_optimiser
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


UpdateStep = Callable[
    [TrainState, Batch, Mapping[str, ArrayLike], ArrayLike, ArrayLike, jax.Array],
    tuple[TrainState, UpdateMetrics],
]
"""A compiled update, which consumes the state it is given: its buffers are donated.

Its arguments are the first ones of `update_step`.
"""


def make_update_step(
    network: QNetwork,
    terms: tuple[Term, ...],
    optimiser: OptimiserConfig,
    student: StudentConfig,
) -> UpdateStep:
    """Compile the update of a method and a student; one compilation per batch size.

    Called within another compiled function it becomes a part of that.

    Args:
        network: Action-value network, from `make_network`.
        terms: The method's loss.
        optimiser: Its settings, those of the state.
        student: How the student learns.

    Raises:
        ValueError: When the student cannot learn with that network; at the first call, when it
            augments what is not an image.
    """
    step = functools.partial(
        update_step,
        td_learning=make_td_learning(network, student),
        terms=terms,
        direction=make_optimiser(optimiser),
        student=student,
    )
    return jax.jit(step, donate_argnames="state")


def update_step(
    state: TrainState,
    batch: Batch,
    weights: Mapping[str, ArrayLike],
    learning_rate: ArrayLike,
    target_update_period: ArrayLike,
    key: jax.Array,
    *,
    td_learning: TdLearning,
    terms: tuple[Term, ...],
    direction: optax.GradientTransformation,
    student: StudentConfig,
) -> tuple[TrainState, UpdateMetrics]:
    """One gradient step as a pure function.

    Args:
        state: From `initial_train_state` or the last call.
        batch: B transitions.
        weights: float32 [] for each term's name.
        learning_rate: float32 [], above 0.
        target_update_period: int32 [], the target network follows every so many updates.
        key: JAX random key, the same one for all updates of a run.
        td_learning: The student's algorithm.
        terms: The method's loss.
        direction: The optimiser's steps.
        student: How the student learns.
    """
    keys = jax.random.split(jax.random.fold_in(key, state.learner_updates), 4)
    seen = _as_the_student_sees(batch, student, keys[1:3])
    loss_fn = functools.partial(_loss, td_learning=td_learning, terms=terms, weights=weights)
    (_, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params, state.target_params, seen, td_key=keys[0], term_key=keys[3]
    )
    steps, opt_state = direction.update(gradients, state.opt_state)
    params = jax.tree.map(lambda p, step: p - learning_rate * step, state.params, steps)
    updates = state.learner_updates + 1
    target_params = optax.periodic_update(
        params, state.target_params, updates, target_update_period
    )
    return TrainState(params, target_params, opt_state, updates), metrics


def _loss(
    params: Params,
    target_params: Params,
    batch: Batch,
    *,
    td_learning: TdLearning,
    terms: tuple[Term, ...],
    weights: Mapping[str, Any],
    td_key: jax.Array,
    term_key: jax.Array,
) -> tuple[jax.Array, UpdateMetrics]:
    td = td_learning(params, target_params, batch, td_key)
    loss, term_losses = weighted_objective(terms, TermInputs(batch, *td, term_key), weights)
    best_values = jnp.max(td.online.q_values, axis=-1)
    return loss, UpdateMetrics(loss, term_losses, jnp.mean(best_values), td.td_loss)


def _as_the_student_sees(batch: Batch, student: StudentConfig, keys: jax.Array) -> Batch:
    """The batch with states augmented, those acted in and those bootstrapped from independently."""
    return batch._replace(
        observation=augmented(batch.observation, student, keys[0]),
        next_observation=augmented(batch.next_observation, student, keys[1]),
    )
