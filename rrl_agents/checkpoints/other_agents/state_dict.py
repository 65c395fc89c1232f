"""Reads weights saved by PyTorch: a `state_dict`, alone or in a dict with other values.

The network is a Nature CNN or an MLP (`layers`), or CleanRL's IMPALA network. Layers may have any
names, but some words count: layers of target networks are ignored, and if there is a critic, the
rest is an actor, whose outputs are logits. Hints supply what names and shapes leave open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rrl_agents.checkpoints.dopamine_agents.architecture import guess_lone_head
from rrl_agents.checkpoints.hints import Hints, LeftOpen
from rrl_agents.checkpoints.other_agents.agent import OtherAgent
from rrl_agents.checkpoints.other_agents.cleanrl import (
    SETTINGS,
    agent_of,
    categorical_layer,
)
from rrl_agents.checkpoints.other_agents.layers import (
    Activation,
    LastLayer,
    Layer,
    torch_layers,
)
from rrl_agents.checkpoints.torch_files import read_torch_file
from rrl_client.spec import OUTPUTS, Output

PLAIN_AGENTS = ("dqn", "c51", "quantile")
"""The hints for a Q-network saved as weights only."""

_OTHERS = re.compile("target|optim", re.IGNORECASE)
_CRITIC = re.compile("critic|value", re.IGNORECASE)
_DUELING = re.compile("advantage|adv_|dueling", re.IGNORECASE)
_SUPPORTS = ("atoms", "support")
_MAX_DEPTH = 4
_ALGORITHMS = {"values": "DQN", "categorical": "C51", "quantile": "QR-DQN"}


def read_torch_model(data: bytes, hints: Hints, *, is_cleanrl: bool) -> OtherAgent:
    """Read weights.

    Args:
        data: Content of the file, nothing of which is trusted.
        hints: The user's hints.
        is_cleanrl: Whether one of CleanRL's scripts saved it.

    Raises:
        ValueError: It is damaged, unsafe or unsupported, or needs hints.
        Exception: It is damaged; of nearly any class.
    """
    saved = read_torch_file(data)
    weights = _weights(saved)
    settings = saved.get(SETTINGS) if weights is not saved else {}
    if any(_DUELING.search(name) for name in weights):
        raise ValueError("it is a dueling network, which is read from no file of PyTorch's")
    acting = {name: leaf for name, leaf in weights.items() if not _CRITIC.search(name)}
    supports = [acting.pop(name) for name in _SUPPORTS if name in acting]
    layers = torch_layers(acting)
    output: Output = "logits"
    algorithm = "PPO" if is_cleanrl else "unknown"
    last = LastLayer(num_actions=layers[-1].kernel.shape[-1])
    if len(acting) + len(supports) == len(weights):
        output = _output(hints, is_cleanrl)
    if output == "q_values":
        last = _last_layer(layers[-1], settings or _about(supports), hints, is_cleanrl)
        algorithm = _ALGORITHMS[last.head]
    agent = agent_of(
        layers,
        last,
        algorithm,
        settings,
        output=output,
        library="CleanRL" if is_cleanrl else "PyTorch",
        has_channels_first=True,
        activation=_activation(layers, hints, is_cleanrl, output),
    )
    return agent


def _weights(saved: Any) -> dict[str, Any]:
    found = list(_found(saved, "", _MAX_DEPTH))
    if len(found) != 1:
        places = [place[:60] for place, _ in found]
        raise ValueError(
            f"it holds {f'weights at {places}' if places else 'no weights'}; save those of the "
            "network that acts alone, torch.save(model.state_dict(), FILE)"
        )
    return {name: leaf for name, leaf in found[0][1].items() if not _OTHERS.search(name)}


def _found(value: Any, place: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dicts of arrays by name, with their places."""
    if not isinstance(value, dict) or depth == 0 or _OTHERS.search(place):
        return
    if any(
        isinstance(leaf, np.ndarray) and str(name).endswith("weight")
        for name, leaf in value.items()
    ):
        yield place, {str(name): leaf for name, leaf in value.items()}
        return
    for name, part in value.items():
        yield from _found(part, f"{place}/{str(name)[:40]}", depth - 1)


def _output(hints: Hints, is_cleanrl: bool) -> Output:
    if hints.output is not None:
        return hints.output
    if is_cleanrl or hints.agent is not None:
        return "q_values"
    raise LeftOpen(
        f"nothing in it says what its outputs are: OUTPUT is {' or '.join(OUTPUTS)}",
        output="OUTPUT",
    )


def _last_layer(layer: Layer, settings: Any, hints: Hints, is_cleanrl: bool) -> LastLayer:
    outputs = layer.kernel.shape[-1]
    if isinstance(settings, dict) and "n_atoms" in settings:
        return categorical_layer(settings, layer)
    if is_cleanrl:
        return LastLayer(num_actions=outputs)
    head, atoms, num_actions = guess_lone_head(outputs, hints)
    return LastLayer(
        num_actions=num_actions,
        head=head,
        num_atoms=atoms,
        value_bound=hints.value_bound if head == "categorical" else LastLayer.value_bound,
    )


def _about(supports: list[Any]) -> Mapping[str, Any]:
    """Settings of a C51 from its stored support."""
    for support in supports:
        if isinstance(support, np.ndarray) and support.ndim == 1 and support.dtype.kind == "f":
            low, high = float(support[0]), float(support[-1])
            return {"n_atoms": len(support), "v_min": low, "v_max": high}
    return {}


def _activation(layers: list[Layer], hints: Hints, is_cleanrl: bool, output: Output) -> Activation:
    if hints.activation is not None:
        return hints.activation
    if layers[0].kernel.ndim == 4 or len(layers) == 1:
        return "relu"
    if is_cleanrl:
        return "tanh" if output == "logits" else "relu"
    raise LeftOpen(
        "the file does not record the activation of its hidden layers: ACTIVATION is relu or tanh",
        activation="ACTIVATION",
    )
