"""What a learner carries from update to update, and how it begins."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rrl_agents.types import Params


class TrainState(NamedTuple):
    """State of the learner; a JAX pytree.

    Attributes:
        params: Of the online network.
        target_params: Of the target network, same tree.
        opt_state: Adam's moments and count.
        learner_updates: int32 [], gradient steps taken.
    """

    params: Params
    target_params: Params
    opt_state: Any
    learner_updates: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba, 2015), without its learning rate, which follows a schedule.

    Attributes:
        beta1: Decay of the mean of gradients, in [0, 1).
        beta2: Decay of the mean of squared gradients, in [0, 1).
        epsilon: Added to the root of the second moment, above 0; 1.5e-4 is Rainbow's and the
            paper's, large because Q-learning gradients are small.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1.5e-4

    def __post_init__(self) -> None:
        """Refuse numbers with which Adam diverges."""
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 0 and below 1")
        if self.epsilon <= 0.0:
            raise ValueError(f"epsilon of Adam is {self.epsilon}; use a number above 0")


def adam_direction(config: AdamConfig) -> optax.GradientTransformation:
    """Adam's step for learning rate -1: the update subtracts learning rate times its output."""
    return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)


def initial_train_state(params: Params, adam: AdamConfig) -> TrainState:
    """State before the first update; the target network starts as a copy.

    Args:
        params: Initial parameters; copied, as updates consume the state they are given.
        adam: The optimiser's settings.
    """
    return TrainState(
        params=_copy(params),
        target_params=_copy(params),
        opt_state=adam_direction(adam).init(params),
        learner_updates=jnp.zeros((), dtype=jnp.int32),
    )


def sync_target(state: TrainState) -> TrainState:
    """State whose target network equals its online network."""
    return state._replace(target_params=_copy(state.params))


def fresh_optimiser(state: TrainState, adam: AdamConfig) -> TrainState:
    """State whose optimiser has seen no gradient yet."""
    return state._replace(opt_state=adam_direction(adam).init(state.params))


def _copy(params: Params) -> Params:
    # Two trees of one state must not share buffers: each is donated to the next update.
    copied: Params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return copied
