"""Imports checkpoints of Dopamine's agents of all generations.

JAX agents keep their parameters in the pickle `ckpt.N`, TensorFlow agents in the files `tf_ckpt-N`
beside it. The layers' names and shapes tell which network it is.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.dopamine_agents.architecture import (
    OBSERVATION_SHAPE,
    guess_architecture,
)
from rrl_agents.checkpoints.dopamine_agents.layers import as_float32, leaves_of_pickle
from rrl_agents.checkpoints.dopamine_agents.tensorflow_files import leaves_of_tensorflow
from rrl_agents.checkpoints.fetched_source import fetched_game
from rrl_agents.checkpoints.find_checkpoint import DopamineCheckpoint, find_checkpoint
from rrl_agents.checkpoints.hints import NO_HINTS, Hints
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes, unflatten_params
from rrl_agents.checkpoints.safe_unpickling import load_safely
from rrl_agents.checkpoints.teacher_card import UNKNOWN_GAME, Compute, Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import check_params

MAX_PICKLE_BYTES = 2 << 30
"""Bound of a pickle, 2 GiB: 30 times the 65 MB of a full-size DQN with both Adam moments."""

_FRAMES_PER_STEP = 4
"""For Dopamine's Atari agents, whose clock counts decisions."""


def import_dopamine_agent(
    path: Path, number: int | None = None, *, hints: Hints = NO_HINTS
) -> Teacher:
    """Import an agent; nothing in its files is executed.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one checkpoint's file.
        number: Number of the checkpoint; None for the newest complete one.
        hints: The user's hints, for ambiguous shapes.

    Returns:
        Its online network, with a card.

    Raises:
        ValueError: The checkpoint is missing, incomplete, unsafe or unsupported, or needs hints;
            the message names a missing or misshapen leaf.
        Exception: It is damaged; of nearly any class (`load_safely`, `leaves_of_tensorflow`).
    """
    checkpoint = find_checkpoint(path, number)
    try:
        return _teacher(checkpoint, hints)
    except ValueError as error:
        error.args = (f"{checkpoint.file}: {error}",)
        raise


def _teacher(checkpoint: DopamineCheckpoint, hints: Hints) -> Teacher:
    framework, stored, steps = _read(checkpoint)
    leaves = {name: as_float32(name, leaf) for name, leaf in stored.items()}
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    network, num_actions, algorithm = guess_architecture(shapes, hints)
    params = unflatten_params(leaves)
    made = (
        f"imported from a Dopamine {framework} {algorithm} checkpoint, iteration "
        f"{checkpoint.number}, after {'an unknown number of' if steps is None else steps} training "
        "steps"
    )
    if network.head == "categorical":
        bound = f"{network.value_bound:g}"
        made += f"; returns from -{bound} to {bound}, which no checkpoint says"
    card = TeacherCard(
        name=f"{checkpoint.agent.name}, Dopamine checkpoint {checkpoint.number}",
        game=fetched_game(checkpoint.agent) or UNKNOWN_GAME,
        network=network,
        num_actions=num_actions,
        observation_shape=OBSERVATION_SHAPE,
        algorithm=algorithm,
        made=made,
        compute=Compute(environment_frames=None if steps is None else _FRAMES_PER_STEP * steps),
        parameters_sha256=params_hash(params_to_bytes(params)),
    )
    check_params(params, card)
    return Teacher(params=params, card=card)


def _read(checkpoint: DopamineCheckpoint) -> tuple[str, dict[str, Any], int | None]:
    """Writer of the parameters, their leaves, and Dopamine's clock, None if unknown."""
    bundle: Any = {}
    if checkpoint.pickle.is_file():
        data = read_bounded(checkpoint.pickle, MAX_PICKLE_BYTES, what="a Dopamine checkpoint")
        # Dopamine under Python 2, with TensorFlow agents, pickled as text. The clocks alone are not
        # worth supporting that.
        is_text = checkpoint.index.is_file() and not data.startswith(pickle.PROTO)
        bundle = {} if is_text else load_safely(data)
    fields = bundle if isinstance(bundle, dict) else {}
    steps = _steps(fields.get("training_steps"))
    if "online_params" in fields:
        return "JAX", leaves_of_pickle(fields["online_params"]), steps
    if not checkpoint.index.is_file():
        raise ValueError(
            f"no online_params in it, and no {checkpoint.index.name} beside it; give a checkpoint "
            "of one of Dopamine's agents with all its files"
        )
    return "TensorFlow", leaves_of_tensorflow(checkpoint.index.with_suffix("")), steps


def _steps(stored: Any) -> int | None:
    steps = stored.item() if isinstance(stored, (np.generic, np.ndarray)) else stored
    if steps is not None and type(steps) is not int:
        raise ValueError(f"training_steps is not a whole number but a {type(steps).__name__}")
    return steps
