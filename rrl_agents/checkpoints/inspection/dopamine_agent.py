"""A look at a Dopamine agent of any generation; nothing in its pickle is run.

Parts are read one by one, so that a broken one hides no other: which checkpoints lie there, the
pickle, TensorFlow's files, the layers; last the importer says whether they make an agent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.fetched_source import fetched_game
from rrl_agents.checkpoints.find_checkpoint import (
    DopamineCheckpoint,
    checkpoint_numbers,
    checkpoints_directory,
    find_checkpoint,
)
from rrl_agents.checkpoints.import_dopamine import ImportedAgent, import_dopamine_agent
from rrl_agents.checkpoints.inspection.checkpoint_list import list_checkpoints
from rrl_agents.checkpoints.inspection.findings import (
    MAX_LAYERS,
    Inspection,
    Layer,
    ReplayFacts,
    layers_of,
    shown,
)
from rrl_agents.checkpoints.inspection.pickle_generation import pickle_generation
from rrl_agents.checkpoints.inspection.replay_buffer import has_replay, replay_facts
from rrl_agents.checkpoints.safe_unpickling import MAX_PICKLE_BYTES, loads_safely
from rrl_agents.checkpoints.tensorflow_files.layers import tensorflow_layers
from rrl_agents.checkpoints.tensorflow_files.tensor_bundle import list_tensor_bundle

_SHOWN_KEYS = 12


@dataclasses.dataclass
class _Parts:
    """What has been read so far of one checkpoint."""

    problems: list[str] = dataclasses.field(default_factory=list)
    framework: str | None = None
    details: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    game: str | None = None
    layers: tuple[Layer, ...] = ()
    training_steps: int | None = None
    agent: ImportedAgent | None = None
    replay: ReplayFacts | None = None


def inspect_dopamine_agent(
    path: Path, number: int | None = None, hints: Hints | None = None
) -> Inspection:
    """Look at an agent.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one checkpoint's file.
        number: Which checkpoint; the newest complete one when None, or the newest at all where
            none is complete.
        hints: What the user says of it.

    Returns:
        What was found; what is wrong is among it.

    Raises:
        ValueError: When it is no agent at all, or not the checkpoint of that number.
        OSError: When the directory can't be read.
    """
    parts = _Parts()
    checkpoint = _choose(path, number, parts)
    if checkpoint is not None:
        _read_pickle(checkpoint, parts)
        _read_tensorflow(checkpoint, parts)
        _import(checkpoint, hints or Hints(), parts)
        _read_source(checkpoint, parts)
        _read_replay(checkpoint, parts)
    agent = parts.agent
    hidden = len(parts.layers) - MAX_LAYERS
    if hidden > 0:
        parts.notes.append(f"{hidden} more layers are not listed")
    return Inspection(
        path=str(path),
        format=", ".join(filter(None, ("Dopamine agent", parts.framework))),
        details=tuple(parts.details),
        game=parts.game,
        agent=None if agent is None else agent.algorithm,
        network=None if agent is None else agent.network,
        num_actions=None if agent is None else agent.num_actions,
        training_steps=parts.training_steps if agent is None else agent.training_steps,
        checkpoint_number=None if checkpoint is None else checkpoint.number,
        layers=parts.layers[:MAX_LAYERS],
        num_parameters=sum(layer.count for layer in parts.layers),
        checkpoints=list_checkpoints(path),
        replay=parts.replay,
        notes=tuple(parts.notes),
        problems=tuple(dict.fromkeys(parts.problems)),
    )


def _choose(path: Path, number: int | None, parts: _Parts) -> DopamineCheckpoint | None:
    """The checkpoint to look at; raises ValueError when there is none of that name or at all."""
    if not path.is_dir():
        return find_checkpoint(path, number)
    directory = checkpoints_directory(path)
    numbers = checkpoint_numbers(directory)
    try:
        return find_checkpoint(path, number)
    except ValueError as error:
        if not numbers.written and not numbers.sentinels:
            raise
        parts.problems.append(str(error))
    newest = max(numbers.written, default=None) if number is None else number
    if newest not in numbers.written:
        return None
    # Named by its file it needs no sentinel.
    stem = "ckpt." if newest in numbers.pickles else "tf_ckpt-"
    return find_checkpoint(directory / f"{stem}{newest}")


def _read_pickle(checkpoint: DopamineCheckpoint, parts: _Parts) -> None:
    if checkpoint.pickle is None:
        return
    try:
        data = read_bounded(
            checkpoint.pickle, MAX_PICKLE_BYTES, what="a Dopamine agent's checkpoint"
        )
    except ValueError as error:
        parts.problems.append(str(error))
        return
    try:
        bundle = loads_safely(data)
    except ValueError as error:
        parts.problems.append(f"{checkpoint.pickle}: {error}")
        return
    if not isinstance(bundle, Mapping):
        parts.problems.append(f"{checkpoint.pickle}: holds a {type(bundle).__name__}, no agent")
        return
    keys = [shown(key) for key in bundle]
    parts.notes.append(f"its pickle holds {', '.join(keys[:_SHOWN_KEYS])}")
    steps = bundle.get("training_steps")
    parts.training_steps = steps if type(steps) is int else None
    # The pickle of a TensorFlow agent holds its clocks only.
    if "online_params" in bundle or checkpoint.tensorflow_prefix is None:
        parts.framework = "JAX"
    params = bundle.get("online_params")
    parts.details += pickle_generation(data, params)
    parts.layers = layers_of(_without_root(params)) if isinstance(params, Mapping) else ()


def _without_root(params: Mapping[Any, Any]) -> Any:
    return params["params"] if set(params) == {"params"} else params


def _read_tensorflow(checkpoint: DopamineCheckpoint, parts: _Parts) -> None:
    prefix = checkpoint.tensorflow_prefix
    if prefix is None or parts.framework is not None:
        return
    parts.framework = "TensorFlow"
    parts.details.append("variables in a tensor bundle (format V2)")
    try:
        stored = list_tensor_bundle(prefix)
        parts.notes.append(f"{prefix.name}.index lists {len(stored)} variables")
        parts.layers = tuple(
            Layer(name=shown(name), shape=tensor.shape, dtype=tensor.dtype)
            for name, tensor in stored.items()
        )
        tree = tensorflow_layers(prefix)
    except ValueError as error:
        parts.problems.append(str(error))
        return
    parts.layers = layers_of(tree["online"])


def _import(checkpoint: DopamineCheckpoint, hints: Hints, parts: _Parts) -> None:
    try:
        agent = import_dopamine_agent(checkpoint.file, **dataclasses.asdict(hints))
    except ValueError as error:
        # What is damaged has been said already, in words of its own.
        if not any(str(error) in problem for problem in parts.problems):
            parts.problems.append(str(error))
        return
    parts.agent = agent
    parts.notes += agent.notes


def _read_source(checkpoint: DopamineCheckpoint, parts: _Parts) -> None:
    try:
        parts.game = fetched_game(checkpoint.file)
    except ValueError as error:
        parts.problems.append(str(error))


def _read_replay(checkpoint: DopamineCheckpoint, parts: _Parts) -> None:
    directory = checkpoint.file.parent
    if not has_replay(directory, checkpoint.number):
        return
    try:
        parts.replay = replay_facts(directory, checkpoint.number)
    except ValueError as error:
        parts.problems.append(str(error))
