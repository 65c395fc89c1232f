"""Exports our Params as a checkpoint from which Dopamine's JaxDQNAgent can continue training.

    DIR/checkpoints/ckpt.N                          the pickled bundle
    DIR/checkpoints/sentinel_checkpoint_complete.N  written last, when the checkpoint is complete
    DIR/load.gin                                    bindings that an agent needs to load it

The layout is that of dopamine-rl 4 (`JaxDQNAgent.bundle_and_checkpoint`, `Checkpointer`, and what
`Runner` adds). The replay buffer is left out: even empty, it would take gigabytes to load, because
Dopamine loads whole arrays. `unbundle` succeeds without it if the agent allows a partial reload,
which `load.gin` sets.
"""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import optax

from rrl_agents.checkpoints.dopamine_agents.architecture import OBSERVATION_SHAPE
from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import check_params
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.types import Params

GIN_FILE = "load.gin"

DOPAMINE_NETWORK = NetworkConfig()
"""The architecture of `dopamine.jax.networks.NatureDQNNetwork`, whose sizes are fixed."""

_SHAPES = ("name", "features", "hidden_units", "padding", "head", "dueling", "noisy", "layer_norm")
# The protocol of Dopamine's present checkpoints, readable from Python 3.4 on.
_PICKLE_PROTOCOL = 4

_GIN = """\
# The checkpoint beside this file has no replay buffer: an agent that loads it must allow that, and
# fills a new one.
JaxDQNAgent.allow_partial_reload = True
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state, besides the online network, to continue training; arrays are NumPy's, float32.

    Attributes:
        target_params: Parameters of the target network, same tree as the online network's.
        adam_count: Number of Adam's updates, at least 0.
        adam_mean: Adam's mean of gradients, same tree.
        adam_variance: Adam's mean of squared gradients, same tree.
        agent_steps: Decisions the agent has made, Dopamine's `training_steps`.
        number: The checkpoint's number, Dopamine's iteration, at least 0; its Runner resumes with
            the next.
    """

    target_params: Params
    adam_count: int
    adam_mean: Params
    adam_variance: Params
    agent_steps: int
    number: int


def check_dopamine_has(card: TeacherCard) -> None:
    """Refuse an agent whose network Dopamine's JaxDQNAgent does not have.

    Args:
        card: The agent's card.

    Raises:
        ValueError: Its network or observations are unsupported; says what is supported.
    """
    network = card.network
    if network is None:
        raise ValueError(f"{card.name!r} has no network of ours to export to Dopamine")
    differing = [
        f"{field} {getattr(network, field)!r}, not {getattr(DOPAMINE_NETWORK, field)!r}"
        for field in _SHAPES
        if getattr(network, field) != getattr(DOPAMINE_NETWORK, field)
    ]
    if (card.observation_shape, card.observation_dtype) != (OBSERVATION_SHAPE, "uint8"):
        differing.append(
            f"observations {card.observation_dtype} {card.observation_shape}, not uint8 "
            f"{OBSERVATION_SHAPE}"
        )
    if differing:
        raise ValueError(
            f"Dopamine's JaxDQNAgent has no network like that of {card.name!r}, which has "
            f"{'; '.join(differing)}. Only students trained with the Nature CNN's full sizes, "
            "padding SAME, can be written for Dopamine; safetensors and ONNX take any"
        )


def write_dopamine_agent(path: Path, teacher: Teacher, training: TrainingState) -> None:
    """Write a checkpoint for Dopamine's JaxDQNAgent.

    Args:
        path: The agent's directory; must not exist.
        teacher: The agent; its parameters are numpy arrays.
        training: The state to resume from.

    Raises:
        ValueError: Dopamine has no such network, or the parameters do not fit the card.
        OSError: When writing fails, or the directory exists.
    """
    card = teacher.card
    check_dopamine_has(card)
    for params in (teacher.params, training.target_params):
        check_params(params, card)
    bundle = {
        # The last frames; an agent starts its next episode with zeros anyway.
        "state": np.zeros(OBSERVATION_SHAPE),
        "training_steps": training.agent_steps,
        "online_params": teacher.params,
        "target_params": training.target_params,
        # The state of optax.adam: Adam's moments, and the learning rate's empty state.
        "optimizer_state": (
            optax.ScaleByAdamState(
                count=np.asarray(training.adam_count, np.int32),
                mu=training.adam_mean,
                nu=training.adam_variance,
            ),
            optax.EmptyState(),
        ),
        "current_iteration": training.number,
        "logs": {},
    }
    checkpoints = path / CHECKPOINTS_DIRECTORY
    checkpoints.mkdir(parents=True)
    (path / GIN_FILE).write_text(_GIN)
    with (checkpoints / f"ckpt.{training.number}").open("xb") as file:
        pickle.dump(bundle, file, protocol=_PICKLE_PROTOCOL)
    (checkpoints / f"sentinel_checkpoint_complete.{training.number}").write_text("done")
