"""The card of a teacher that a suite has still to train: its students are checked with it."""

from __future__ import annotations

import contextlib

import jax

from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.environments.registry import make_environment
from rrl_agents.networks.registry import initial_params, make_network
from services.launcher.experiment_config import ExperimentConfig


def untrained_card(config: ExperimentConfig) -> TeacherCard:
    """The card, without a score.

    Args:
        config: Of the teacher's run.

    Raises:
        ValueError: the environment has no such game, or the network does not fit it.
    """
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        spec = environment.spec
    network = make_network(config.network, spec.num_actions)
    # Shapes only: nothing is compiled or drawn.
    jax.eval_shape(lambda: initial_params(network, jax.random.key(0), spec.observation_shape))
    return TeacherCard(
        name="untrained",
        game=spec.name,
        network=config.network,
        num_actions=spec.num_actions,
        observation_shape=spec.observation_shape,
        observation_dtype=spec.frame_dtype,
        made="not trained yet",
        parameters_sha256="0" * 64,
    )
