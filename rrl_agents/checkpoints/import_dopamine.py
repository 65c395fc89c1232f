"""Foreign weights -> our Params: checkpoints written by Dopamine's JAX DQN agents.

Accepted are all generations: parameters with the level `params` or without it, as FrozenDict or
dict, named as flax linen does (`Dense_0`, `Dense_1`) or as its predecessor, which numbered layers
of all kinds together (`Dense_3`, `Dense_4`). Sizes of layers are read from the shapes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.find_checkpoint import (
    DopamineCheckpoint,
    find_checkpoint,
    has_tensorflow_files,
)
from rrl_agents.checkpoints.safe_unpickling import load_safely
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.types import Params

__all__ = ["DopamineCheckpoint", "ImportedAgent", "find_checkpoint", "import_dopamine_dqn"]

OBSERVATION_SHAPE = (84, 84, 4)
"""What Dopamine's Atari agents see: height, width, stack with the oldest frame first."""

_LAYERS = ("Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1")
_KERNEL_SIDES = (8, 4, 3)
# 84 pixels after strides 4, 2, 1: 21, 11, 11 padded SAME; 20, 9, 7 padded VALID.
_CELLS_BY_PADDING = {"SAME": 11 * 11, "VALID": 7 * 7}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedAgent:
    """A Dopamine DQN agent as we keep it.

    Attributes:
        online_params: `{"params": {...}}`, float32 numpy arrays, flax names.
        target_params: The target network's, None when the checkpoint has none.
        num_actions: Number of actions A.
        network: Architecture, read from the shapes.
        training_steps: Dopamine's own clock, agent steps since the start of training.
        number: The checkpoint's number, Dopamine's iteration.
        notes: What was changed on the way, for the card.
    """

    online_params: Params
    target_params: Params | None
    num_actions: int
    network: NetworkConfig
    training_steps: int
    number: int
    notes: tuple[str, ...]


def import_dopamine_dqn(path: Path, number: int | None = None) -> ImportedAgent:
    """Import a DQN agent; nothing in its files is executed.

    Args:
        path: The agent's directory, its `checkpoints` directory, or one `ckpt.N` file.
        number: Which checkpoint, the newest complete one when None.

    Returns:
        The agent.

    Raises:
        ValueError: When the checkpoint is missing, incomplete, damaged, unsafe, of TensorFlow, or
            holds another network; the message names the missing or misshapen leaf.
    """
    checkpoint = find_checkpoint(path, number)
    bundle = load_safely(checkpoint.file)
    try:
        return _import_bundle(bundle, checkpoint)
    except ValueError as error:
        raise ValueError(f"{checkpoint.file}: {error}") from error


def _import_bundle(bundle: Any, checkpoint: DopamineCheckpoint) -> ImportedAgent:
    if not isinstance(bundle, dict) or "online_params" not in bundle:
        raise ValueError(_no_agent(bundle, checkpoint))
    notes: list[str] = []
    online = _import_params(bundle["online_params"], "online_params", notes)
    network, num_actions = _read_network(online, "online_params")
    target = None
    if bundle.get("target_params") is not None:
        target = _import_params(bundle["target_params"], "target_params", notes)
        if _read_network(target, "target_params") != (network, num_actions):
            raise ValueError("target_params and online_params have different shapes")
    return ImportedAgent(
        online_params={"params": online},
        target_params=None if target is None else {"params": target},
        num_actions=num_actions,
        network=network,
        training_steps=_training_steps(bundle),
        number=checkpoint.number,
        notes=tuple(dict.fromkeys(notes)),
    )


def _no_agent(bundle: Any, checkpoint: DopamineCheckpoint) -> str:
    if has_tensorflow_files(checkpoint):
        return (
            "a TensorFlow Dopamine agent (tf_ckpt files lie beside it), which is not supported "
            "yet; give a checkpoint of a JAX agent"
        )
    keys = sorted(map(str, bundle))[:12] if isinstance(bundle, dict) else type(bundle).__name__
    return f"no online_params in it, only {keys}; give a checkpoint of Dopamine's JAX DQN agent"


def _training_steps(bundle: dict[Any, Any]) -> int:
    steps = bundle.get("training_steps", 0)
    if isinstance(steps, np.generic):
        steps = steps.item()
    elif isinstance(steps, np.ndarray) and steps.shape == ():
        steps = steps[()].item()
    if type(steps) is not int or steps < 0:
        raise ValueError(f"training_steps is no whole number but a {type(steps).__name__}")
    return steps


def _import_params(tree: Any, where: str, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Name the layers as flax linen does and check that they are all there, as float32."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where} is a {type(tree).__name__}; expected a tree of layers")
    layers = tree["params"] if set(tree) == {"params"} else tree
    if not isinstance(layers, Mapping):
        raise ValueError(f"{where}/params is a {type(layers).__name__}; expected layers")
    names = _linen_names(layers, where)
    if any(old != new for old, new in names.items()):
        notes.append("layers renamed from the names of flax before linen")
    found = {new: layers[old] for old, new in names.items()}
    if set(found) != set(_LAYERS):
        raise ValueError(
            f"{where} has the layers {sorted(found)}; Dopamine's Nature DQN has {list(_LAYERS)}"
        )
    return {name: _import_layer(found[name], f"{where}/{name}", notes) for name in _LAYERS}


def _linen_names(layers: Mapping[Any, Any], where: str) -> dict[str, str]:
    """Number the layers of each kind from 0, in their old order: Dense_3, Dense_4 -> 0, 1."""
    kinds: dict[str, list[int]] = {}
    for name in layers:
        match = re.fullmatch(r"([A-Za-z]+)_([0-9]{1,4})", name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"{where} holds {str(name)[:40]!r}; expected layers like Conv_0")
        kinds.setdefault(match[1], []).append(int(match[2]))
    return {
        f"{kind}_{old}": f"{kind}_{new}"
        for kind, numbers in kinds.items()
        for new, old in enumerate(sorted(numbers))
    }


def _import_layer(layer: Any, where: str, notes: list[str]) -> dict[str, NDArray[np.float32]]:
    if not isinstance(layer, Mapping):
        raise ValueError(f"{where} is a {type(layer).__name__}; expected kernel and bias")
    superfluous = sorted(map(str, set(layer) - {"kernel", "bias"}))
    if superfluous:
        raise ValueError(f"{where} holds {superfluous[:5]} beside kernel and bias")
    return {leaf: _import_leaf(layer, leaf, where, notes) for leaf in ("kernel", "bias")}


def _import_leaf(
    layer: Mapping[Any, Any], leaf: str, where: str, notes: list[str]
) -> NDArray[np.float32]:
    if leaf not in layer:
        raise ValueError(f"{where}/{leaf} is missing")
    array = layer[leaf]
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise ValueError(f"{where}/{leaf} is no array of floating-point numbers")
    if array.dtype.itemsize != 4:
        notes.append(f"parameters converted from {array.dtype.name} to float32")
    converted = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(converted).all():
        raise ValueError(f"{where}/{leaf} holds numbers that are not finite")
    return converted


def _read_network(
    layers: Mapping[str, Mapping[str, NDArray[np.float32]]], where: str
) -> tuple[NetworkConfig, int]:
    """Sizes from the biases; every kernel is then held against them."""
    *features, hidden_units, num_actions = (_bias_size(layers, name, where) for name in _LAYERS)
    channels = (OBSERVATION_SHAPE[-1], *features)
    for layer, (side, inputs, outputs) in enumerate(
        zip(_KERNEL_SIDES, channels, features, strict=False)
    ):
        _check_kernel(layers, f"Conv_{layer}", (side, side, inputs, outputs), where)
    padding = _padding(layers["Dense_0"]["kernel"].shape[:1], features[-1])
    flat = _CELLS_BY_PADDING[padding] * features[-1]
    _check_kernel(layers, "Dense_0", (flat, hidden_units), where)
    _check_kernel(layers, "Dense_1", (hidden_units, num_actions), where)
    network = NetworkConfig(features=tuple(features), hidden_units=hidden_units, padding=padding)
    return network, num_actions


def _padding(inputs: tuple[int, ...], channels: int) -> str:
    return "VALID" if inputs == (_CELLS_BY_PADDING["VALID"] * channels,) else "SAME"


def _bias_size(
    layers: Mapping[str, Mapping[str, NDArray[np.float32]]], name: str, where: str
) -> int:
    shape = layers[name]["bias"].shape
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"{where}/{name}/bias has shape {shape}; expected one dimension")
    return int(shape[0])


def _check_kernel(
    layers: Mapping[str, Mapping[str, NDArray[np.float32]]],
    name: str,
    wanted: tuple[int, ...],
    where: str,
) -> None:
    shape = layers[name]["kernel"].shape
    if shape != wanted:
        raise ValueError(f"{where}/{name}/kernel has shape {shape}; its network needs {wanted}")
