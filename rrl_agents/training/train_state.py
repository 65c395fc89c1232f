"""The state that a learner carries from update to update, and its initial value."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rrl_agents.training.optimiser_config import OptimiserConfig
from rrl_agents.types import Params


class TrainState(NamedTuple):
    """State of the learner; a JAX pytree.

    Attributes:
        params: Parameters of the online network.
        target_params: Parameters of the target network, same tree.
        opt_state: The optimiser's moments.
        learner_updates: int32 [], gradient steps taken.
    """

    params: Params
    target_params: Params
    opt_state: Any
    learner_updates: jax.Array


def make_optimiser(config: OptimiserConfig) -> optax.GradientTransformation:
    """The step for learning rate -1: the update subtracts learning rate times its output."""
    if config.name == "adam":
        return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    scale = optax.scale_by_stddev if config.centered else optax.scale_by_rms
    return scale(decay=config.beta2, eps=config.epsilon)


def initial_train_state(params: Params, optimiser: OptimiserConfig) -> TrainState:
    """State before the first update; the target network starts as a copy.

    Args:
        params: Initial parameters; copied, as updates consume the state they are given.
        optimiser: Its settings.
    """
    return TrainState(
        params=_copy(params),
        target_params=_copy(params),
        opt_state=make_optimiser(optimiser).init(params),
        learner_updates=jnp.zeros((), dtype=jnp.int32),
    )


def sync_target(state: TrainState) -> TrainState:
    """State whose target network equals its online network."""
    return state._replace(target_params=_copy(state.params))


def fresh_optimiser(state: TrainState, optimiser: OptimiserConfig) -> TrainState:
    """State with a freshly initialised optimiser."""
    return state._replace(opt_state=make_optimiser(optimiser).init(state.params))


def _copy(params: Params) -> Params:
    # Two trees of one state must not share buffers: each is donated to the next update.
    copied: Params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return copied
