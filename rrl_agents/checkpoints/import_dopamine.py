"""Foreign weights -> our Params: checkpoints of Dopamine's agents, of all generations.

JAX agents keep their parameters in the pickle `ckpt.N`, TensorFlow agents in the files `tf_ckpt-N`
beside it. What network it is, is read from the layers' names and shapes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rrl_agents.checkpoints.dopamine_agents.architecture import Architecture, read_architecture
from rrl_agents.checkpoints.dopamine_agents.layers import Layers, listed_keys, read_layers
from rrl_agents.checkpoints.find_checkpoint import DopamineCheckpoint, find_checkpoint
from rrl_agents.checkpoints.hints import NO_HINTS, Hints
from rrl_agents.checkpoints.safe_unpickling import is_text_pickle, load_safely
from rrl_agents.checkpoints.tensorflow_files.layers import tensorflow_layers
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.types import Params

MAX_TRAINING_STEPS = 10**15
"""Bound of an agent's clock; DQN's 200 million frames are 5 * 10**7 steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedAgent:
    """A Dopamine agent as we keep it.

    Attributes:
        online_params: `{"params": {...}}`, float32 numpy arrays, flax names.
        target_params: The target network's, None when the checkpoint has none.
        num_actions: Number of actions A.
        network: Architecture, read from the shapes.
        algorithm: Name of the agent for people, e.g. "DQN" or "C51 or Rainbow".
        framework: What wrote the parameters, "JAX" or "TensorFlow".
        training_steps: Dopamine's own clock, agent steps since the start of training; None when
            there are TensorFlow's files only, or beside them a pickle of Python 2.
        number: The checkpoint's number, Dopamine's iteration.
        notes: What was changed or assumed on the way, for the card.
    """

    online_params: Params
    target_params: Params | None
    num_actions: int
    network: NetworkConfig
    algorithm: str
    framework: str
    training_steps: int | None
    number: int
    notes: tuple[str, ...]


def import_dopamine_agent(
    path: Path, number: int | None = None, *, hints: Hints = NO_HINTS
) -> ImportedAgent:
    """Import an agent; nothing in its files is executed.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one checkpoint's file.
        number: Which checkpoint, the newest complete one when None.
        hints: What the user says of it where the shapes leave doubt.

    Returns:
        The agent.

    Raises:
        ValueError: When the checkpoint is missing, incomplete, damaged or unsafe, or holds another
            network; the message names the missing or misshapen leaf.
        LeftOpen: The user must say what it is.
    """
    checkpoint = find_checkpoint(path, number)
    stored = _stored(checkpoint)
    try:
        return _import(stored, checkpoint.number, hints)
    except ValueError as error:
        error.args = (f"{stored.file}: {error}",)
        raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stored:
    """What a checkpoint holds of an agent, as it lies there."""

    file: Path
    framework: str
    online: Any
    target: Any
    training_steps: Any


def _stored(checkpoint: DopamineCheckpoint) -> _Stored:
    prefix = checkpoint.tensorflow_prefix
    if checkpoint.pickle is None or (prefix is not None and is_text_pickle(checkpoint.pickle)):
        # Dopamine under Python 2 pickled as text. The clocks alone are not worth a reader of that.
        return _stored_by_tensorflow(prefix, None)
    bundle = load_safely(checkpoint.pickle)
    fields = bundle if isinstance(bundle, dict) else {}
    steps = fields.get("training_steps", 0)
    if "online_params" in fields:
        return _Stored(
            file=checkpoint.pickle,
            framework="JAX",
            online=fields["online_params"],
            target=fields.get("target_params"),
            training_steps=steps,
        )
    if prefix is None:
        keys = listed_keys(fields) if fields else type(bundle).__name__
        raise ValueError(
            f"{checkpoint.pickle}: no online_params in it, only {keys}, and no TensorFlow files "
            f"tf_ckpt-{checkpoint.number}.* beside it; give a checkpoint of one of Dopamine's "
            "agents with all its files"
        )
    return _stored_by_tensorflow(prefix, steps)


def _stored_by_tensorflow(prefix: Path | None, training_steps: Any) -> _Stored:
    assert prefix is not None  # A checkpoint without a pickle has TensorFlow's files.
    networks = tensorflow_layers(prefix)
    return _Stored(
        file=prefix,
        framework="TensorFlow",
        online=networks["online"],
        target=networks["target"],
        training_steps=training_steps,
    )


def _import(stored: _Stored, number: int, hints: Hints) -> ImportedAgent:
    notes: list[str] = []
    online, architecture = _network(stored.online, "online_params", hints, notes)
    target = None
    if stored.target is not None:
        target, other = _network(stored.target, "target_params", hints, notes)
        if other != architecture:
            raise ValueError("target_params and online_params have different shapes")
    if architecture.network.head == "categorical":
        bound = f"{hints.value_bound:g}"
        notes.append(f"returns from -{bound} to {bound}, which no checkpoint says")
    return ImportedAgent(
        online_params={"params": online},
        target_params=None if target is None else {"params": target},
        num_actions=architecture.num_actions,
        network=architecture.network,
        algorithm=architecture.algorithm,
        framework=stored.framework,
        training_steps=_training_steps(stored.training_steps),
        number=number,
        notes=tuple(dict.fromkeys(notes)),
    )


def _network(tree: Any, where: str, hints: Hints, notes: list[str]) -> tuple[Layers, Architecture]:
    layers = read_layers(tree, where, notes)
    return layers, read_architecture(layers, where, hints)


def _training_steps(steps: Any) -> int | None:
    if isinstance(steps, np.generic):
        steps = steps.item()
    elif isinstance(steps, np.ndarray) and steps.shape == ():
        steps = steps[()].item()
    if steps is None:
        return None
    if type(steps) is not int:
        raise ValueError(f"training_steps is no whole number but a {type(steps).__name__}")
    if not 0 <= steps <= MAX_TRAINING_STEPS:
        raise ValueError(f"training_steps lies outside 0 to {MAX_TRAINING_STEPS}")
    return steps
