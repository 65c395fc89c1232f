"""The layers after the convolutions as ONNX nodes, as few as give the same action values.

All that is linear is folded into the weights once, in float64: a dueling network's two streams are
one layer, the mean over the quantiles of QR-DQN is a mean over columns, and IQN's last layer
follows the mean over the quantiles instead of coming before it. IQN's embedding of its fixed
quantile levels is a constant.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_graph import Graph, Linear
from rrl_agents.networks.config import NetworkConfig
from rrl_agents.networks.heads import quantile_cosines

Rows = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """What goes into the first linear layer, and how it differs from what flax feeds there.

    Attributes:
        name: The graph's name of it, [B, size].
        size: Features of one state.
        order: Reorders the rows of an array [size, any] from flax's order to this graph's.
        scale: What the features lack as a factor; it is folded into the weights.
    """

    name: str
    size: int
    order: Rows
    scale: float

    def fold(self, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        """The kernel that does to these features what `kernel` does to flax's."""
        return self.order(kernel) * np.float32(self.scale)


def write_read_out(
    graph: Graph,
    network: NetworkConfig,
    features: Features,
    num_actions: int,
    output: str,
) -> None:
    """Append hidden layers and head; the counterpart of `networks.heads.read_out`.

    Args:
        graph: The graph, whose parameters are taken.
        network: The architecture.
        features: Where to begin.
        num_actions: Actions A.
        output: Name of the action values, float32 [B, A].

    Raises:
        ValueError: When a parameter is missing or misshapen.
    """
    layers = _Layers(graph, network)
    is_implicit = network.head == "implicit_quantile"
    if is_implicit:
        features = _mixed_with_quantiles(graph, network, features, layers)
    x, size, fold = features.name, features.size, features.fold
    for units in network.dense_units:
        name, weights = layers.take(size, units)
        x = graph.dense(x, name, dataclasses.replace(weights, kernel=fold(weights.kernel)))
        size, fold = units, _unchanged
    if is_implicit:
        quantiles = graph.reshape(x, (-1, network.num_atoms, size), "quantiles")
        x = graph.add("ReduceMean", [quantiles], "mean_quantile", axes=[1], keepdims=0)
    last = _last_layer(layers, network, size, num_actions)
    last = dataclasses.replace(last, kernel=fold(last.kernel))
    if network.head != "categorical":
        graph.dense(x, "values", last, output)
        return
    _write_categorical(graph, network, graph.dense(x, "atoms", last, "logits"), output)


class _Layers:
    """Takes the parameters of linear layers in the order in which flax named them."""

    def __init__(self, graph: Graph, network: NetworkConfig) -> None:
        self._graph = graph
        self._is_noisy = network.noisy
        self._dense = itertools.count()
        self._noisy = itertools.count()

    def plain(self, inputs: int, outputs: int) -> Linear:
        return self._linear(f"Dense_{next(self._dense)}", "", inputs, outputs)

    def take(self, inputs: int, outputs: int) -> tuple[str, Linear]:
        """The next layer, plain or noisy: of a noisy one the means."""
        if not self._is_noisy:
            name = f"Dense_{next(self._dense)}"
            return name, self._linear(name, "", inputs, outputs)
        name = f"NoisyNetwork_{next(self._noisy)}"
        self._linear(name, "_sigma", inputs, outputs)
        return name, self._linear(name, "_mu", inputs, outputs)

    def _linear(self, name: str, suffix: str, inputs: int, outputs: int) -> Linear:
        return Linear(
            kernel=self._graph.parameter(f"{name}/kernel{suffix}", (inputs, outputs)),
            bias=self._graph.parameter(f"{name}/bias{suffix}", (outputs,)),
        )


def _mixed_with_quantiles(
    graph: Graph, network: NetworkConfig, features: Features, layers: _Layers
) -> Features:
    """Each state's features times each quantile's embedding: rows [B * N, size]."""
    weights = layers.plain(network.quantile_embedding_dim, features.size)
    embedding = np.maximum(np.asarray(quantile_cosines(network)) @ weights.kernel + weights.bias, 0)
    constant = graph.constant("embedding", features.order(embedding.T).T)
    states = graph.reshape(features.name, (-1, 1, features.size), "states")
    mixed = graph.add("Mul", [states, constant], "mixed")
    rows = graph.reshape(mixed, (-1, features.size), "rows")
    return dataclasses.replace(features, name=rows)


def _last_layer(layers: _Layers, network: NetworkConfig, inputs: int, num_actions: int) -> Linear:
    """[inputs, A], or [inputs, A * N] where each atom counts by itself."""
    atoms = network.atoms_per_action
    _, every = layers.take(inputs, num_actions * atoms)
    kernel = every.kernel.reshape(inputs, num_actions, atoms).astype(np.float64)
    bias = every.bias.reshape(num_actions, atoms).astype(np.float64)
    if network.dueling:
        _, value = layers.take(inputs, atoms)
        kernel += value.kernel[:, None, :] - kernel.mean(axis=1, keepdims=True)
        bias += value.bias[None, :] - bias.mean(axis=0, keepdims=True)
    if network.head == "quantile":
        kernel, bias = kernel.mean(axis=2), bias.mean(axis=1)
    return Linear(
        kernel=kernel.reshape(inputs, -1).astype(np.float32),
        bias=bias.reshape(-1).astype(np.float32),
    )


def _write_categorical(graph: Graph, network: NetworkConfig, logits: str, output: str) -> None:
    atoms = graph.reshape(logits, (0, -1, network.num_atoms), "atoms_by_action")
    probabilities = graph.add("Softmax", [atoms], "probabilities", axis=-1)
    bound = network.value_bound
    support = np.linspace(-bound, bound, network.num_atoms, dtype=np.float32)
    graph.add("MatMul", [probabilities, graph.constant("support", support)], output)


def _unchanged(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return kernel
