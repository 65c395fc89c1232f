"""Stands for a teacher that is still to be trained.

Its parameters are zero and its score is one above chance. The students' runs are looked at with it
before their teacher is there, so that settings that do not fit are found out at the start.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import jax
import numpy as np

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import EvaluationScore, Teacher, TeacherCard
from rrl_agents.environments.registry import make_environment, random_return
from rrl_agents.networks.registry import initial_params, make_network
from rrl_agents.types import Params
from services.launcher.experiment_config import ExperimentConfig
from services.library.export.directory import export_teacher
from services.shared.errors import UserError


def make_stand_in(directory: Path, config: ExperimentConfig) -> None:
    """Write the stand-in of the teacher that a run is to make, in the place of an earlier one.

    Args:
        directory: Where.
        config: Of the teacher's run.

    Raises:
        UserError: the environment has no such game, the network does not fit it, or the directory
            cannot be written.
    """
    try:
        teacher = _teacher(config)
    except ValueError as error:
        raise UserError(f"[teacher]: {error}") from error
    # The suite may have changed since that was written.
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
    export_teacher(directory, teacher)


def _teacher(config: ExperimentConfig) -> Teacher:
    with contextlib.closing(make_environment(config.environment, 1)) as environment:
        spec = environment.spec
    network = make_network(config.network, spec.num_actions)
    # Shapes only: nothing is compiled or drawn.
    shapes = jax.eval_shape(
        lambda: initial_params(network, jax.random.key(0), spec.observation_shape)
    )
    params: Params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    card = TeacherCard(
        name="untrained",
        game=spec.name,
        network=config.network,
        num_actions=spec.num_actions,
        observation_shape=spec.observation_shape,
        observation_dtype=spec.frame_dtype,
        score=EvaluationScore(
            mean_return=random_return(config.environment) + 1.0,
            std_return=0.0,
            episodes=1,
            epsilon=1.0,
            sticky_actions=0.0,
            note="not played: stands for a teacher that is still to be trained",
        ),
        made="nothing was trained: it stands for a teacher that is still to be",
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    return Teacher(params=params, card=card)
