"""Converts CleanRL's IMPALA networks, in PyTorch or flax, to ours.

Both have stacks of a convolution, max pooling, and two residual blocks of two convolutions, then a
hidden layer and the outputs; the padding of max pooling is the library's (`pool_padding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rrl_agents.checkpoints.other_agents.agent import Network
from rrl_agents.checkpoints.other_agents.layers import (
    ATARI_SIDE,
    LastLayer,
    Layer,
    flax_layers,
    shown,
    with_inputs_last,
    with_our_outputs,
)
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.impala_cnn import RESIDUAL_BLOCKS

_OF_STACK = 1 + 2 * RESIDUAL_BLOCKS
_STACK = "ConvSequence_"


def is_flax_impala(tree: Any) -> bool:
    """Whether a flax network has the stacks of CleanRL."""
    return isinstance(tree, dict) and f"{_STACK}0" in tree


def is_impala(layers: Sequence[Layer]) -> bool:
    """Whether layers are CleanRL's stacks, by their names."""
    return any(layer.name.startswith(_STACK) or ".res_block" in layer.name for layer in layers)


def flax_impala_layers(tree: dict[str, Any]) -> list[Layer]:
    """The layers of CleanRL's flax network in the order of the computation.

    Raises:
        ValueError: A layer is missing or invalid.
    """
    stacks = sum(str(name).startswith(_STACK) for name in tree)
    layers: list[Layer] = []
    for index in range(stacks):
        name = f"{_STACK}{index}"
        stack = _branch(tree, name)
        blocks = [_branch(stack, f"ResidualBlock_{number}") for number in range(RESIDUAL_BLOCKS)]
        for part in ({"Conv_0": stack.get("Conv_0")}, *blocks):
            layers += [layer._replace(name=f"{name}/{layer.name}") for layer in flax_layers(part)]
    rest = {name: layer for name, layer in tree.items() if not str(name).startswith(_STACK)}
    return [*layers, *flax_layers(rest)]


def residual(layers: Sequence[Layer], last: LastLayer, *, has_channels_first: bool) -> Network:
    """The network of CleanRL's layers, on 84x84 images.

    Args:
        layers: In the order of the computation.
        last: Describes the outputs of the last layer.
        has_channels_first: True for PyTorch, False for flax.

    Raises:
        ValueError: They are not such a network; names the layers.
    """
    maps, dense = list(layers[:-2]), list(layers[-2:])
    stacks = [maps[start : start + _OF_STACK] for start in range(0, len(maps), _OF_STACK)]
    kernels = [layer.kernel.shape for layer in maps]
    is_residual = all(shape[:2] == (3, 3) for shape in kernels) and len(maps) % _OF_STACK == 0
    if not maps or not is_residual or any(layer.kernel.ndim != 2 for layer in dense):
        raise ValueError(
            f"there are {shown(layers)}; the IMPALA network has stacks of {_OF_STACK} "
            "convolutions of 3x3, then two linear layers"
        )
    side = ATARI_SIDE
    for _ in stacks:
        side = (side + 1) // 2
    cells = (side, side, maps[-1].kernel.shape[3])
    dense = with_our_outputs(
        [with_inputs_last(dense[0], cells, has_channels_first), dense[1]], last
    )
    config = NetworkConfig(
        name="impala_cnn",
        features=tuple(stack[0].kernel.shape[3] for stack in stacks),
        hidden_units=dense[0].kernel.shape[1],
        pool_padding="SYMMETRIC" if has_channels_first else "SAME",
    )
    named = {
        f"Stack_{index}/Conv_{number}": layer
        for index, stack in enumerate(stacks)
        for number, layer in enumerate(stack)
    } | {f"Dense_{number}": layer for number, layer in enumerate(dense)}
    return Network(
        config=last.of(config),
        leaves={
            f"{name}/{leaf}": getattr(layer, leaf)
            for name, layer in named.items()
            for leaf in ("kernel", "bias")
        },
        num_actions=last.num_actions,
        observation_shape=(ATARI_SIDE, ATARI_SIDE, maps[0].kernel.shape[2]),
    )


def _branch(tree: dict[str, Any], name: str) -> dict[str, Any]:
    branch = tree.get(name)
    if not isinstance(branch, dict):
        raise ValueError(f"{name!r} is missing in the IMPALA network")
    return branch
