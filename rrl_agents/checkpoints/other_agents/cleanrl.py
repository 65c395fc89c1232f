"""Reads models saved by CleanRL's scripts (`--save-model`, `.cleanrl_model`), JAX or PyTorch.

JAX models are flax's msgpack, PyTorch models are files of `torch.save` (`torch_files`). The scripts
save:

    dqn*, qdagger*            the network's weights
    c51*                      {"model_weights": the network's weights, "args": settings}
    ppo_atari_envpool_xla_jax_scan
                              [settings, [weights of the network, the actor, the critic]]
    ppo* (`agent.state_dict()`)
                              weights of `network`, if any, `actor` and `critic`
"""

from __future__ import annotations

import re
from typing import Any

from rrl_agents.checkpoints.other_agents.agent import OtherAgent
from rrl_agents.checkpoints.other_agents.impala import (
    flax_impala_layers,
    is_flax_impala,
    is_impala,
    residual,
)
from rrl_agents.checkpoints.other_agents.layers import (
    Activation,
    LastLayer,
    Layer,
    chained,
    flax_layers,
)
from rrl_agents.checkpoints.params_codec import ROOT
from rrl_agents.environments.game_names import find_name
from rrl_agents.environments.score_tables import random_returns
from rrl_client.spec import Output

SETTINGS, WEIGHTS = "args", "model_weights"

_ATARI_ID = re.compile(r"(?:ALE/)?([A-Za-z]+?)(?:NoFrameskip|Deterministic)?-v\d+")


def read_flax_model(data: bytes) -> OtherAgent:
    """Read a model of one of CleanRL's JAX scripts.

    Args:
        data: Content of the file, nothing of which is trusted.

    Raises:
        ValueError: It is another kind of file, or unsupported; says why.
        Exception: It is damaged; of nearly any class.
    """
    from flax.serialization import msgpack_restore

    saved = msgpack_restore(data)
    if not isinstance(saved, dict):
        raise ValueError("it holds no weights by name")
    if set(saved) == {ROOT}:
        layers = _q_network(saved)
        return agent_of(layers, LastLayer(num_actions=_outputs(layers)), "DQN", {})
    if set(saved) == {WEIGHTS, SETTINGS}:
        settings, layers = saved[SETTINGS], _q_network(saved[WEIGHTS])
        return agent_of(layers, categorical_layer(settings, layers[-1]), "C51", settings)
    if set(saved) == {"0", "1"} and isinstance(saved["1"], dict):
        parts = saved["1"]
        if set(parts) == {"0", "1", "2"} and all(map(_is_flax, parts.values())):
            layers = [*flax_layers(parts["0"][ROOT]), *flax_layers(parts["1"][ROOT])]
            last = LastLayer(num_actions=_outputs(layers))
            return agent_of(layers, last, "PPO", saved["0"], output="logits")
    raise ValueError(
        f"it holds {sorted(str(name)[:40] for name in saved)[:12]}; models of CleanRL's DQN, C51, "
        "QDagger and PPO scripts with discrete actions are read"
    )


def agent_of(
    layers: list[Layer],
    last: LastLayer,
    algorithm: str,
    settings: Any,
    *,
    output: Output = "q_values",
    library: str = "CleanRL",
    has_channels_first: bool = False,
    activation: Activation = "relu",
) -> OtherAgent:
    """Build an agent from the layers of its network.

    Args:
        layers: Layers of its network, in the order of the computation.
        last: Describes the outputs of the last layer.
        algorithm: The algorithm that trained it.
        settings: The script's settings; empty if the file has none.
        output: Kind of its scores.
        library: The library that saved it, readable.
        has_channels_first: Whether PyTorch wrote it.
        activation: Activation of an MLP's hidden layers.

    Raises:
        ValueError: The layers are not a network of ours.
    """
    if is_impala(layers):
        network = residual(layers, last, has_channels_first=has_channels_first)
    else:
        network = chained(
            layers, last, has_channels_first=has_channels_first, activation=activation
        )
    settings = settings if isinstance(settings, dict) else {}
    steps = settings.get("total_timesteps")
    return OtherAgent(
        network=network,
        observation_dtype="float32" if network.config.name == "mlp" else "uint8",
        output=output,
        algorithm=algorithm,
        library=library,
        game=_game(settings.get("env_id")),
        steps=steps if type(steps) is int and 0 < steps < 10**15 else None,
    )


def categorical_layer(settings: Any, layer: Layer) -> LastLayer:
    """The outputs of the last layer of CleanRL's C51.

    Args:
        settings: The script's settings: n_atoms, v_min, v_max.
        layer: The last layer.

    Raises:
        ValueError: They are missing, or do not fit our networks.
    """
    known: dict[str, Any] = settings if isinstance(settings, dict) else {}
    atoms: Any = known.get("n_atoms")
    low: Any = known.get("v_min")
    high: Any = known.get("v_max")
    outputs = layer.kernel.shape[-1]
    if type(atoms) is not int or not 1 <= atoms <= outputs:
        raise ValueError(f"its n_atoms is {str(atoms)[:20]}, with {outputs} outputs")
    is_bound = isinstance(low, int | float) and isinstance(high, int | float)
    bound = float(high) if is_bound else 0.0
    if bound <= 0 or low != -bound:
        raise ValueError(
            f"its returns are from {str(low)[:20]} to {str(high)[:20]}; C51 is read with v_min = "
            "-v_max"
        )
    return LastLayer(
        num_actions=outputs // atoms, head="categorical", num_atoms=atoms, value_bound=bound
    )


def _q_network(saved: Any) -> list[Layer]:
    if not _is_flax(saved):
        raise ValueError("there is no network where the weights should be")
    tree = saved[ROOT]
    return flax_impala_layers(tree) if is_flax_impala(tree) else flax_layers(tree)


def _is_flax(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {ROOT}


def _outputs(layers: list[Layer]) -> int:
    return layers[-1].kernel.shape[-1]


def _game(env_id: Any) -> str | None:
    """An Atari game's name, or another environment's id."""
    if not isinstance(env_id, str) or not 0 < len(env_id) <= 100:
        return None
    match = _ATARI_ID.fullmatch(env_id)
    return (match and find_name(match[1], random_returns("atari"))) or env_id
