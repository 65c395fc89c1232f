"""Imports a frozen graph of TensorFlow (`.pb`), without TensorFlow.

One kind of agent is supported: an MLP with quantiles of return, like Perciatelli44 (Bellemare et
al., 2020), which ships with the Balloon Learning Environment. The graph is followed from the action
values back to the observation; anything other than this is refused:

    observation -> (MatMul -> BiasAdd -> Relu) x L -> MatMul -> BiasAdd
        -> Reshape [-1, A, quantiles] -> Mean over the quantiles -> q_values

A graph's constants are data; nothing in the file is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.hints import Hints
from rrl_agents.checkpoints.other_agents.agent import Network, OtherAgent
from rrl_agents.checkpoints.teacher_card import Teacher
from rrl_agents.networks.config import MAX_LAYERS, NetworkConfig

MAX_FILE_BYTES = 1 << 28
"""Bound of a file, 256 MiB: 20 times Perciatelli44's."""

_OUTPUT = "q_values"
_TYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4")}
"""Types of constants, by TensorFlow's numbers."""


def import_frozen_graph(path: Path, hints: Hints) -> Teacher:
    """Import an agent.

    Args:
        path: The file.
        hints: The user's hints; a graph does not record its game.

    Returns:
        The network with a card.

    Raises:
        ValueError: The file is damaged, or the graph is unsupported; the message begins with the
            path.
    """
    data = read_bounded(path, MAX_FILE_BYTES, what="a frozen graph")
    try:
        agent = OtherAgent(
            network=_network(_nodes(data)),
            observation_dtype="float32",
            output="q_values",
            algorithm="QR-DQN",
            library="TensorFlow",
            game=hints.game,
        )
        return agent.as_teacher(path.stem)
    except ValueError as error:
        error.args = (f"{path}: {error}",)
        raise


def _nodes(data: bytes) -> Mapping[str, Any]:
    """The graph's nodes by name."""
    # TensorBoard contains TensorFlow's protobuf messages.
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    try:
        graph = GraphDef.FromString(data)
    except DecodeError as error:
        raise ValueError("it is not a graph of TensorFlow, or damaged: copy it again") from error
    return {node.name: node for node in graph.node}


def _network(nodes: Mapping[str, Any]) -> Network:
    """The MLP that the graph computes."""
    mean = _input(nodes, _node(nodes, _OUTPUT, "Identity"), 0, "Mean")
    axis = _constant(nodes, mean.input[1])
    reshape = _input(nodes, mean, 0, "Reshape")
    shape = [int(side) for side in _constant(nodes, reshape.input[1]).reshape(-1)]
    if len(shape) != 3 or min(shape[1:]) < 1 or axis.reshape(-1).tolist() not in ([2], [-1]):
        raise ValueError(f"its values are means over axis {axis} of {shape}, not over quantiles")
    layers = _layers(nodes, _input(nodes, reshape, 0, "BiasAdd"))
    sizes = [kernel.shape[0] for kernel, _ in layers] + [layers[-1][0].shape[1]]
    if sizes[-1] != math.prod(shape[1:]):
        raise ValueError(f"its last layer has {sizes[-1]} outputs, reshaped to {shape}")
    config = NetworkConfig(
        name="mlp", features=tuple(sizes[1:-1]), head="quantile", num_atoms=shape[2]
    )
    leaves: dict[str, NDArray[Any]] = {}
    for index, (kernel, bias) in enumerate(layers):
        leaves |= {f"Dense_{index}/kernel": kernel, f"Dense_{index}/bias": bias}
    return Network(
        config=config, leaves=leaves, num_actions=shape[1], observation_shape=(sizes[0],)
    )


def _layers(nodes: Mapping[str, Any], last: Any) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Kernel [F, U] and bias [U] of every layer, first to last."""
    layers: list[tuple[NDArray[Any], NDArray[Any]]] = []
    added = last
    while len(layers) <= MAX_LAYERS:
        product = _input(nodes, added, 0, "MatMul")
        if any(product.attr[name].b for name in ("transpose_a", "transpose_b")):
            raise ValueError(f"{product.name} multiplies transposed matrices")
        kernel, bias = (
            _constant(nodes, _input(nodes, node, 1, "Identity").input[0])
            for node in (product, added)
        )
        if kernel.ndim != 2 or bias.shape != kernel.shape[1:]:
            raise ValueError(f"{product.name} has weights {kernel.shape}, biases {bias.shape}")
        layers.insert(0, (kernel, bias))
        below = _node(nodes, product.input[0])
        if below.op == "Placeholder":
            return layers
        added = _input(nodes, _node(nodes, below.name, "Relu"), 0, "BiasAdd")
    raise ValueError(f"it has more than {MAX_LAYERS} layers")


def _input(nodes: Mapping[str, Any], node: Any, index: int, operation: str) -> Any:
    """The input of a node at an index, which must be of a given operation."""
    if index >= len(node.input):
        raise ValueError(f"{node.name} has {len(node.input)} inputs")
    return _node(nodes, node.input[index], operation)


def _node(nodes: Mapping[str, Any], name: str, operation: str | None = None) -> Any:
    if name not in nodes:
        raise ValueError(f"it has no node {name!r}: it is not an agent with quantiles of return")
    node = nodes[name]
    if operation not in (None, node.op):
        raise ValueError(
            f"{name!r} is {node.op}, not {operation}: this reads perceptrons with quantiles of "
            "return and nothing else; export another network to ONNX"
        )
    return node


def _constant(nodes: Mapping[str, Any], name: str) -> NDArray[Any]:
    """A constant's array."""
    tensor = _node(nodes, name, "Const").attr["value"].tensor
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype not in _TYPES or (shape and min(shape) < 0):
        raise ValueError(f"{name!r} has the type {tensor.dtype} and shape {shape}")
    kind, count = _TYPES[tensor.dtype], math.prod(shape)
    if tensor.tensor_content:
        array = np.frombuffer(tensor.tensor_content, kind)
    else:
        array = np.asarray(tensor.float_val if kind.kind == "f" else tensor.int_val, kind)
    if array.size != count:
        raise ValueError(f"{name!r} has {array.size} numbers for the shape {shape}")
    return array.reshape(shape)
