"""Networks as ONNX files: the same answers without JAX, to within the order of float32 additions.

The graphs are written node by node, as ONNX Runtime's CPU kernels like them best: observations are
transposed while they are bytes, the division by 255 is folded into the first layer's weights, and
the layer after the convolutions has its rows reordered, so that nothing is transposed back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper

from rrl_agents.checkpoints.onnx_graph import Graph
from rrl_agents.checkpoints.onnx_heads import Features, write_read_out
from rrl_agents.checkpoints.params_codec import flatten_params
from rrl_agents.networks.nature_cnn import KERNEL_SIZES, STRIDES
from rrl_agents.networks.registry import NetworkConfig
from rrl_agents.types import Params

INPUT_NAME = "observations"
OUTPUT_NAME = "action_values"

# The oldest that has all operators here as they are today, and the file format of its time: what
# reads newer files reads these, too.
_OPSET = 13
_IR_VERSION = 7

_ELEMENT_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def export_onnx(
    network: NetworkConfig,
    params: Params,
    *,
    num_actions: int,
    observation_shape: tuple[int, ...],
    observation_dtype: str = "uint8",
) -> bytes:
    """Write a network with its parameters as an ONNX model.

    Its input "observations" is `observation_dtype` [B, *observation_shape], raw, with any B; its
    output "action_values" is float32 [B, A].

    Args:
        network: The architecture.
        params: Its parameters, float32, flax names.
        num_actions: Actions A.
        observation_shape: (H, W, stack); of "mlp" any.
        observation_dtype: "uint8" or "float32".

    Returns:
        The encoded `ModelProto`, approved by ONNX's checker.

    Raises:
        ValueError: When a parameter is missing, superfluous or misshapen, or the observations are
            of a kind that the network cannot take; the message names it.
    """
    if observation_dtype not in _ELEMENT_TYPES:
        raise ValueError(
            f"observation_dtype is {observation_dtype!r}; choose one of {sorted(_ELEMENT_TYPES)}"
        )
    graph = Graph(flatten_params(params), is_float=observation_dtype == "float32")
    features = _WRITERS[network.name](graph, network, observation_shape)
    write_read_out(graph, network, features, num_actions, OUTPUT_NAME)
    graph.check_all_used()
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            [_value(INPUT_NAME, _ELEMENT_TYPES[observation_dtype], observation_shape)],
            [_value(OUTPUT_NAME, TensorProto.FLOAT, (num_actions,))],
            graph.initializers,
        ),
        producer_name="rrl",
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    model.ir_version = _IR_VERSION
    checker.check_model(model)
    return cast(bytes, model.SerializeToString())


def _write_nature_cnn(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    if len(shape) != 3:
        raise ValueError(f"observation_shape is {shape}; it must be (H, W, stack)")
    height, width, channels = shape
    x = graph.as_float(graph.add("Transpose", [INPUT_NAME], "channels_first", perm=[0, 3, 1, 2]))
    scale = graph.input_scale
    layers = zip(network.features, KERNEL_SIZES, STRIDES, strict=True)
    for index, (outputs, side, stride) in enumerate(layers):
        layer = f"Conv_{index}"
        kernel = graph.parameter(f"{layer}/kernel", (side, side, channels, outputs)) * scale
        height, *rows = _window(height, side, stride, network.padding)
        width, *columns = _window(width, side, stride, network.padding)
        x = graph.convolution(
            x,
            layer,
            kernel.transpose(3, 2, 0, 1),
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[rows[0], columns[0], rows[1], columns[1]],
        )
        channels, scale = outputs, np.float32(1)
    maps = (height, width, channels)
    size = height * width * channels
    flat = graph.reshape(x, (-1, size), "flat")
    return Features(name=flat, size=size, order=lambda rows: _channels_first(rows, maps), scale=1.0)


def _write_mlp(graph: Graph, network: NetworkConfig, shape: tuple[int, ...]) -> Features:
    size = int(np.prod(shape))
    flat = graph.as_float(graph.reshape(INPUT_NAME, (-1, size), "flat"))
    return Features(name=flat, size=size, order=lambda rows: rows, scale=float(graph.input_scale))


_WRITERS: Mapping[str, Callable[[Graph, NetworkConfig, tuple[int, ...]], Features]] = {
    "nature_cnn": _write_nature_cnn,
    "mlp": _write_mlp,
}


def _channels_first(rows: NDArray[np.float32], maps: tuple[int, int, int]) -> NDArray[np.float32]:
    """Rows in the order in which ONNX flattens maps, [C, H, W]; flax has [H, W, C]."""
    columns = rows.shape[1]
    return rows.reshape(*maps, columns).transpose(2, 0, 1, 3).reshape(-1, columns)


def _window(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Output size of a convolution along one axis, and the padding before and after it.

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


def _value(name: str, element_type: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, ["batch", *shape])
