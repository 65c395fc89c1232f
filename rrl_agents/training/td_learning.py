"""The temporal-difference part of an update, for each kind of student.

The network's head decides the loss; the student's settings decide which network chooses the action
bootstrapped from. Noisy networks draw one noise for the states acted in and another for those
bootstrapped from; implicit quantile networks draw levels for each state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rrl_agents.losses.categorical import categorical_q_learning_loss
from rrl_agents.losses.quantile import quantile_q_learning_loss
from rrl_agents.losses.temporal_difference import n_step_q_learning_loss
from rrl_agents.networks.outputs import CategoricalOutputs, Outputs, QuantileOutputs
from rrl_agents.networks.registry import QNetwork, network_outputs
from rrl_agents.students.config import StudentConfig
from rrl_agents.types import Batch, Params


class TdOutcome(NamedTuple):
    """The result of temporal-difference learning on a batch.

    Attributes:
        online: The online network's outputs in the states acted in.
        target: The target network's outputs in the states bootstrapped from.
        td_loss: float32 [B], each row's loss, neither weighted nor averaged.
    """

    online: Outputs
    target: Outputs
    td_loss: jax.Array


TdLearning = Callable[[Params, Params, Batch, jax.Array], TdOutcome]
"""Temporal-difference learning of one kind of student.

Arguments: the online network's parameters, the only ones with gradients; the target network's; B
transitions with the observations for the network; and a JAX random key for noise and quantile
levels, a fresh one for each update.
"""


def make_td_learning(network: QNetwork, student: StudentConfig) -> TdLearning:
    """Build the algorithm of a student.

    Args:
        network: From `make_network`.
        student: How it learns.

    Raises:
        ValueError: When the network's distribution has too few atoms.
    """
    config = network.config
    if config.head == "categorical" and config.num_atoms < 2:
        raise ValueError(f"num_atoms is {config.num_atoms}; a categorical head learns from 2 on")
    is_implicit = config.head == "implicit_quantile"

    def answer(
        params: Params, states: jax.Array, noise_key: jax.Array, levels_key: jax.Array, num: int
    ) -> Outputs:
        levels = jax.random.uniform(levels_key, (len(states), num)) if is_implicit else None
        noise = noise_key if config.noisy else None
        return network_outputs(network, params, states, noise_key=noise, quantile_levels=levels)

    def td_learning(
        params: Params, target_params: Params, batch: Batch, key: jax.Array
    ) -> TdOutcome:
        noise_tm1, noise_t, *levels = jax.random.split(key, 5)
        samples, next_states = student.quantile_samples, batch.next_observation
        online = answer(params, batch.observation, noise_tm1, levels[0], samples)
        target = selector = answer(target_params, next_states, noise_t, levels[1], samples)
        if student.double or is_implicit:
            # IQN chooses its action with as many quantiles as are averaged into action values.
            chooser = params if student.double else target_params
            selector = answer(chooser, next_states, noise_t, levels[2], config.num_atoms)
        return TdOutcome(online, target, _row_losses(online, target, selector.q_values, batch))

    return td_learning


def _row_losses(
    online: Outputs, target: Outputs, q_selector_t: jax.Array, batch: Batch
) -> jax.Array:
    """Loss of each row by the kind of output, float32 [B]."""
    transition = (batch.action, batch.n_step_return, batch.discount)
    if isinstance(online, CategoricalOutputs) and isinstance(target, CategoricalOutputs):
        of_row = jax.vmap(categorical_q_learning_loss, in_axes=(0,) * 6 + (None,))
        return of_row(online.logits, *transition, target.logits, q_selector_t, online.support)
    if isinstance(online, QuantileOutputs) and isinstance(target, QuantileOutputs):
        levels = jnp.broadcast_to(
            online.quantile_levels, (len(batch.action), online.quantile_values.shape[-1])
        )
        return jax.vmap(quantile_q_learning_loss)(
            online.quantile_values, levels, *transition, target.quantile_values, q_selector_t
        )
    return jax.vmap(n_step_q_learning_loss)(
        online.q_values, *transition, target.q_values, q_selector_t
    )
