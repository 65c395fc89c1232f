"""Q-learning that also imitates the actions in its data, weighted by their advantage."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from rrl_agents.reincarnation.recipe import Recipe
from rrl_agents.reincarnation.registry import Method
from rrl_agents.reincarnation.terms import temporal_difference
from rrl_agents.schedules.learning_rate import constant
from rrl_agents.training.q_learning_config import QLearningConfig
from rrl_agents.training.term import Term, TermInputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdvantageCloningConfig:
    """Settings of the method.

    Attributes:
        q_learning: Settings shared by all methods.
        learning_rate: Adam's rate, above 0.
        offline_updates: Learner updates on the teacher's data, at least 0.
        largest_weight: Upper bound of an action's weight.
    """

    q_learning: QLearningConfig = QLearningConfig(n_step=3)
    learning_rate: float = 1e-3
    offline_updates: int = 10_000
    largest_weight: float = 5.0


def advantage_cloning(config: AdvantageCloningConfig) -> Recipe:
    """The method's recipe: TD and cloning, offline on the teacher's data, then online."""

    def cloning(seen: TermInputs) -> jax.Array:
        batch, rows = seen.batch, jnp.arange(len(seen.batch.action))
        value = batch.n_step_return + batch.discount * seen.target.q_values.max(axis=-1)
        advantage = value - seen.online.q_values.max(axis=-1)
        weight = jax.lax.stop_gradient(jnp.clip(jnp.exp(advantage), 0.0, config.largest_weight))
        return -weight * jax.nn.log_softmax(seen.online.q_values)[rows, batch.action]

    return Recipe(
        name="advantage_cloning",
        q_learning=config.q_learning,
        terms=(
            temporal_difference(),
            Term(name="cloning", loss=cloning, weight=lambda progress: 1.0),
        ),
        offline_updates=config.offline_updates,
        learning_rate=constant(config.learning_rate),
    )


METHOD = Method(
    AdvantageCloningConfig,
    advantage_cloning,
    "Q-learning that imitates actions with a high advantage",
)
