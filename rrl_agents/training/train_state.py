"""What a learner carries from update to update, and how it begins."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rrl_agents.types import Params


class TrainState(NamedTuple):
    """State of the learner; a JAX pytree.

    Attributes:
        params: Of the online network.
        target_params: Of the target network, same tree.
        opt_state: The optimiser's moments.
        learner_updates: int32 [], gradient steps taken.
    """

    params: Params
    target_params: Params
    opt_state: Any
    learner_updates: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """What turns gradients into steps, without its learning rate, which follows a schedule.

    Attributes:
        name: "adam" (Kingma and Ba, 2015), or "rmsprop" (Tieleman and Hinton, 2012), which Mnih et
            al., 2015, trained DQN with.
        beta1: Adam's decay of the mean of gradients, in [0, 1); RMSProp ignores it.
        beta2: Decay of the mean of squared gradients, in [0, 1); 0.95 was DQN's in RMSProp.
        epsilon: Above 0; added to the root of the second moment by Adam, under the root by RMSProp.
            1.5e-4 is Rainbow's and the paper's for Adam, large because Q-learning gradients are
            small.
        centered: Whether RMSProp divides by the standard deviation of gradients, as DQN's did,
            instead of by their root mean square; Adam ignores it.
    """

    name: Literal["adam", "rmsprop"] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1.5e-4
    centered: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers with which learning diverges."""
        if self.name not in ("adam", "rmsprop"):
            raise ValueError(f"optimiser {self.name!r} is unknown; choose 'adam' or 'rmsprop'")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 0 and below 1")
        if self.epsilon <= 0.0:
            raise ValueError(f"epsilon of the optimiser is {self.epsilon}; use a number above 0")


def descent_direction(config: OptimiserConfig) -> optax.GradientTransformation:
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
        opt_state=descent_direction(optimiser).init(params),
        learner_updates=jnp.zeros((), dtype=jnp.int32),
    )


def sync_target(state: TrainState) -> TrainState:
    """State whose target network equals its online network."""
    return state._replace(target_params=_copy(state.params))


def fresh_optimiser(state: TrainState, optimiser: OptimiserConfig) -> TrainState:
    """State whose optimiser has seen no gradient yet."""
    return state._replace(opt_state=descent_direction(optimiser).init(state.params))


def _copy(params: Params) -> Params:
    # Two trees of one state must not share buffers: each is donated to the next update.
    copied: Params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return copied
