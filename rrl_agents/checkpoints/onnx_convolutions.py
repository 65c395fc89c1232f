"""Convolutional networks as ONNX nodes, from raw observations to flat features.

Maps are [B, C, H, W] in ONNX and [B, H, W, C] in flax: kernels are transposed while the graph is
written, and so are the rows of the layer behind the convolutions (`Features.order`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from rrl_agents.checkpoints.onnx_graph import INPUT_NAME, Graph
from rrl_agents.checkpoints.onnx_heads import Features
from rrl_agents.networks import impala_cnn, nature_cnn, small_cnn
from rrl_agents.networks.config import NetworkConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Maps:
    """Maps somewhere in the network.

    Attributes:
        name: Of the node that gives them.
        height: H.
        width: W.
        channels: C.
        scale: What the kernel of the layer behind them is multiplied by.
    """

    name: str
    height: int
    width: int
    channels: int
    scale: np.float32 = np.float32(1)


def write_nature_cnn(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    """The convolutions of "nature_cnn".

    Args:
        graph: Written to.
        network: The architecture.
        shape: Of one observation.

    Raises:
        ValueError: When a parameter is missing or misshapen, or the observations are no images or
            too small.
    """
    maps = _observed(graph, shape)
    layers = zip(network.features, nature_cnn.KERNEL_SIZES, nature_cnn.STRIDES, strict=True)
    for index, (outputs, side, stride) in enumerate(layers):
        layer = f"Conv_{index}"
        maps = _convolution(graph, maps, layer, outputs, side, stride, network.padding)
        maps = _relu(graph, maps, f"{layer}/relu")
    return _flat(graph, maps)


def write_small_cnn(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    """The convolutions of "small_cnn"; arguments and errors as for `write_nature_cnn`."""
    maps = _observed(graph, shape)
    for index, outputs in enumerate(network.features):
        layer = f"Conv_{index}"
        maps = _convolution(graph, maps, layer, outputs, small_cnn.KERNEL_SIZE, 1, "VALID")
        maps = _relu(graph, maps, f"{layer}/relu")
    return _flat(graph, maps)


def write_impala_cnn(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    """The residual stacks of "impala_cnn"; arguments and errors as for `write_nature_cnn`."""
    maps = _observed(graph, shape)
    for index, features in enumerate(network.features):
        maps = _stack(graph, maps, f"Stack_{index}", features * network.width)
    return _flat(graph, _relu(graph, maps, "stacks/relu"))


def _stack(graph: Graph, maps: _Maps, stack: str, outputs: int) -> _Maps:
    maps = _pooled(graph, _same(graph, maps, f"{stack}/Conv_0", outputs), f"{stack}/pooled")
    for block in range(impala_cnn.RESIDUAL_BLOCKS):
        first, second = (f"{stack}/Conv_{1 + 2 * block + i}" for i in range(2))
        inner = _relu(graph, maps, f"{first}/input")
        inner = _relu(graph, _same(graph, inner, first, outputs), f"{second}/input")
        inner = _same(graph, inner, second, outputs)
        added = graph.add("Add", [maps.name, inner.name], f"{stack}/block_{block}")
        maps = dataclasses.replace(maps, name=added)
    return maps


def _same(graph: Graph, maps: _Maps, layer: str, outputs: int) -> _Maps:
    return _convolution(graph, maps, layer, outputs, 3, 1, "SAME")


def _observed(graph: Graph, shape: tuple[int, ...]) -> _Maps:
    """Observations as maps; whatever lies behind height and width is channels."""
    if len(shape) < 3:
        raise ValueError(f"observation_shape is {shape}; it must be (H, W, stack) or longer")
    height, width = shape[:2]
    channels = int(np.prod(shape[2:]))
    name = INPUT_NAME
    if len(shape) > 3:
        name = graph.reshape(name, (-1, height, width, channels), "images")
    name = graph.add("Transpose", [name], "channels_first", perm=[0, 3, 1, 2])
    return _Maps(
        name=graph.as_float(name),
        height=height,
        width=width,
        channels=channels,
        scale=graph.input_scale,
    )


def _convolution(
    graph: Graph, maps: _Maps, layer: str, outputs: int, side: int, stride: int, padding: str
) -> _Maps:
    shape = (side, side, maps.channels, outputs)
    kernel = graph.parameter(f"{layer}/kernel", shape) * maps.scale
    height, *rows = _window(maps.height, side, stride, padding)
    width, *columns = _window(maps.width, side, stride, padding)
    name = graph.convolution(
        maps.name,
        layer,
        kernel.transpose(3, 2, 0, 1),
        kernel_shape=[side, side],
        strides=[stride, stride],
        pads=[rows[0], columns[0], rows[1], columns[1]],
    )
    return _Maps(name=name, height=height, width=width, channels=outputs)


def _pooled(graph: Graph, maps: _Maps, output: str) -> _Maps:
    """Maxima of 3x3 at every second pixel; what lies outside does not count."""
    height, *rows = _window(maps.height, 3, 2, "SAME")
    width, *columns = _window(maps.width, 3, 2, "SAME")
    name = graph.add(
        "MaxPool",
        [maps.name],
        output,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[rows[0], columns[0], rows[1], columns[1]],
    )
    return dataclasses.replace(maps, name=name, height=height, width=width)


def _relu(graph: Graph, maps: _Maps, output: str) -> _Maps:
    return dataclasses.replace(maps, name=graph.relu(maps.name, output))


def _flat(graph: Graph, maps: _Maps) -> Features:
    sides = (maps.height, maps.width, maps.channels)
    size = int(np.prod(sides))
    flat = graph.reshape(maps.name, (-1, size), "flat")
    return Features(
        name=flat, size=size, order=lambda rows: _channels_first(rows, sides), scale=1.0
    )


def _channels_first(rows: NDArray[np.float32], sides: tuple[int, int, int]) -> NDArray[np.float32]:
    """Rows in the order in which ONNX flattens maps, [C, H, W]; flax has [H, W, C]."""
    columns = rows.shape[1]
    return rows.reshape(*sides, columns).transpose(2, 0, 1, 3).reshape(-1, columns)


def _window(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Output size of a window along one axis, and the padding before and after it.

    SAME as XLA has it: ceil(size / stride) outputs, an odd padding having its larger half behind.
    """
    if padding == "SAME":
        outputs = -(-size // stride)
        pad = max((outputs - 1) * stride + kernel - size, 0)
        return outputs, pad // 2, pad - pad // 2
    outputs = (size - kernel) // stride + 1
    if outputs < 1:
        raise ValueError(
            f"observations of {size} pixels are too small for a kernel of {kernel} without padding"
        )
    return outputs, 0, 0
