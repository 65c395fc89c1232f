"""Which of Dopamine's agents a network belongs to, read from its sizes.

A dueling network tells its atoms by the outputs of its value; IQN has three layers of which the
first is an embedding. Of other networks the last layer alone speaks: 306 outputs are C51 with 6
actions, as 306 = 6 * 51 and no Atari game has more than 18 actions. Other numbers of atoms or
actions leave doubt, and the user says what it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from rrl_agents.checkpoints.dopamine_agents.layers import Layers
from rrl_agents.checkpoints.dopamine_agents.shapes import Shapes, read_shapes
from rrl_agents.checkpoints.hints import AGENTS, Hints, LeftOpen
from rrl_agents.networks.config import NetworkConfig

MAX_ATARI_ACTIONS = 18
"""Size of Atari's full action set."""

ATOMS = {"values": 1, "categorical": 51, "quantile": 200}
"""Outputs per action of Dopamine's heads, unless a gin file says otherwise."""

IQN_QUANTILES = 32
"""Quantiles over which Dopamine's IQN averages when it acts (`num_quantile_samples`)."""

_HEADS_BY_AGENT = {
    None: ("values", "categorical", "quantile"),
    "dqn": ("values",),
    "c51": ("categorical",),
    "rainbow": ("categorical",),
    "quantile": ("quantile",),
    "full_rainbow": ("categorical", "values"),
}
_ALGORITHMS = {
    "values": "DQN",
    "categorical": "C51 or Rainbow",
    "quantile": "QR-DQN",
    "implicit_quantile": "IQN",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a network is.

    Attributes:
        network: Our settings of it.
        num_actions: Number of actions A.
        algorithm: Name of the agent for people, e.g. "C51 or Rainbow": both have one network.
    """

    network: NetworkConfig
    num_actions: int
    algorithm: str


class _Head(NamedTuple):
    """What the last layer's outputs are."""

    kind: str
    num_atoms: int
    num_actions: int


def read_architecture(layers: Layers, where: str, hints: Hints) -> Architecture:
    """Recognise a network; every shape is held against it.

    Args:
        layers: From `read_layers`.
        where: Name of the network, the start of every message.
        hints: What the user says.

    Returns:
        What it is.

    Raises:
        ValueError: When it is none of Dopamine's, a layer is misshapen, or the user's words
            contradict the shapes.
        LeftOpen: The shapes leave doubt.
    """
    try:
        return _recognise(read_shapes(layers), hints)
    except ValueError as error:
        message = str(error)
        # Those of this module go on from the network's name, as a path or a sentence does.
        error.args = (f"{where}{'' if message[0] in '/ ' else ': '}{message}",)
        raise


def _recognise(shapes: Shapes, hints: Hints) -> Architecture:
    _check_agent(shapes, hints.agent)
    head = _head(shapes, hints)
    if hints.num_actions not in (None, head.num_actions):
        raise ValueError(
            f"/{shapes.last} has {shapes.outputs} outputs: {head.num_actions} actions, not the "
            f"{hints.num_actions} given"
        )
    network = NetworkConfig(
        features=shapes.features,
        hidden_units=shapes.hidden_units,
        padding=shapes.padding,
        dueling=shapes.value_outputs is not None,
        noisy=shapes.noisy,
        **_head_settings(shapes, head, hints),
    )
    algorithm = _algorithm(network, hints.agent)
    return Architecture(network=network, num_actions=head.num_actions, algorithm=algorithm)


def _check_agent(shapes: Shapes, agent: str | None) -> None:
    if shapes.quantile_embedding_dim is not None:
        possible: tuple[str, ...] = ("iqn",)
    elif shapes.value_outputs is not None or shapes.noisy:
        possible = ("full_rainbow",)
    else:
        possible = tuple(other for other in AGENTS if other != "iqn")
    if agent is not None and agent not in possible:
        raise ValueError(
            f" is no network of the agent {agent!r}: its layers are those of "
            f"{' or '.join(possible)}"
        )


def _head(shapes: Shapes, hints: Hints) -> _Head:
    if shapes.quantile_embedding_dim is not None:
        return _Head("implicit_quantile", IQN_QUANTILES, shapes.outputs)
    if shapes.value_outputs is None:
        return _lone_head(shapes, hints)
    atoms = shapes.value_outputs
    num_actions = _divided(shapes, atoms, "atoms of the value")
    return _Head("values" if atoms == 1 else "categorical", atoms, num_actions)


def _lone_head(shapes: Shapes, hints: Hints) -> _Head:
    """What a lone last layer gives, where the shapes or the user leave one answer."""
    heads = _HEADS_BY_AGENT[hints.agent]
    if hints.num_actions is not None:
        atoms = _divided(shapes, hints.num_actions, "actions")
        fitting = [head for head in heads if ATOMS[head] == atoms]
        fitting = fitting or [head for head in heads if head != "values"]
        if len(fitting) == 1:
            return _Head(fitting[0], atoms, hints.num_actions)
    else:
        for head in heads:
            num_actions, rest = divmod(shapes.outputs, ATOMS[head])
            if rest == 0 and (num_actions <= MAX_ATARI_ACTIONS or hints.agent is not None):
                return _Head(head, ATOMS[head], num_actions)
    raise LeftOpen(
        f"/{shapes.last} has {shapes.outputs} outputs, which leaves doubt: up to "
        f"{MAX_ATARI_ACTIONS} would be the actions of DQN, a multiple of {ATOMS['categorical']} "
        f"those of C51 or Rainbow, of {ATOMS['quantile']} those of a quantile agent; AGENT is one "
        f"of {', '.join(AGENTS)}, N its number of actions",
        flags="--agent AGENT --num-actions N",
    )


def _divided(shapes: Shapes, parts: int, what: str) -> int:
    quotient, rest = divmod(shapes.outputs, parts)
    if rest or not quotient:
        raise ValueError(
            f"/{shapes.last} has {shapes.outputs} outputs, which {parts} {what} do not divide"
        )
    return quotient


def _head_settings(shapes: Shapes, head: _Head, hints: Hints) -> dict[str, Any]:
    """Fields of `NetworkConfig` that this head reads; the others keep their defaults."""
    settings: dict[str, Any] = {"head": head.kind}
    if head.kind != "values":
        settings["num_atoms"] = head.num_atoms
    if head.kind == "categorical":
        settings["value_bound"] = hints.value_bound
    if shapes.quantile_embedding_dim is not None:
        settings["quantile_embedding_dim"] = shapes.quantile_embedding_dim
    return settings


def _algorithm(network: NetworkConfig, agent: str | None) -> str:
    if agent in ("c51", "rainbow"):
        return agent.capitalize()
    extras = [extra for extra in ("dueling", "noisy") if getattr(network, extra)]
    if network.head == "categorical" and (extras or agent == "full_rainbow"):
        return "full Rainbow"
    return " ".join((*extras, _ALGORITHMS[network.head]))
