"""Networks as ONNX files: the same answers without JAX, to within the order of float32 additions.

The graphs are written node by node, as ONNX Runtime's CPU kernels like them best: observations are
transposed while they are bytes, the division by 255 is folded into the first layer's weights, and
the layer after the convolutions has its rows reordered, so that nothing is transposed back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper

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
_PIXEL_SCALE = np.float32(1 / 255)


def export_onnx(
    network: NetworkConfig,
    params: Params,
    *,
    num_actions: int,
    observation_shape: tuple[int, ...],
    observation_dtype: str = "uint8",
) -> bytes:
    """Write a network with its parameters as an ONNX model.

    Its input "observations" is `observation_dtype` [B, H, W, stack], raw, with any B; its output
    "action_values" is float32 [B, A].

    Args:
        network: The architecture.
        params: Its parameters, float32, flax names.
        num_actions: Actions A.
        observation_shape: (H, W, stack).
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
    if len(observation_shape) != 3:
        raise ValueError(f"observation_shape is {observation_shape}; it must be (H, W, stack)")
    graph = _Graph(flatten_params(params), is_float=observation_dtype == "float32")
    _WRITERS[network.name](graph, network, num_actions, observation_shape)
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


class _Graph:
    """Nodes and weights written so far; each method appends and returns its output's name."""

    def __init__(self, leaves: Mapping[str, NDArray[np.float32]], *, is_float: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._unused = dict(leaves)
        self._is_float = is_float

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def parameter(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        leaf = self._unused.pop(name, None)
        if leaf is None or leaf.shape != shape:
            found = "missing" if leaf is None else f"of shape {leaf.shape}"
            raise ValueError(f"parameter {name} is {found}; the network needs it as {shape}")
        return leaf

    def check_all_used(self) -> None:
        if self._unused:
            raise ValueError(f"the network has no parameters {sorted(self._unused)}")

    def as_float(self, name: str) -> str:
        return name if self._is_float else self.add("Cast", [name], "floats", to=TensorProto.FLOAT)

    def flatten(self, name: str, size: int) -> str:
        shape = self.constant("flat_shape", np.array([-1, size], np.int64))
        return self.add("Reshape", [name, shape], "flat")

    def dense(
        self, name: str, layer: str, kernel: NDArray[np.float32], output: str | None = None
    ) -> str:
        """A linear layer; without an `output` of its own a ReLU follows."""
        weights = self.constant(f"{layer}/kernel", kernel)
        bias = self.constant(f"{layer}/bias", self.parameter(f"{layer}/bias", (kernel.shape[1],)))
        linear = self.add("Gemm", [name, weights, bias], output or f"{layer}/linear")
        return linear if output else self.add("Relu", [linear], f"{layer}/relu")

    def convolution(
        self, name: str, layer: str, kernel: NDArray[np.float32], **attributes: Any
    ) -> str:
        """A convolution of [B, C, H, W] by a kernel [out, in, height, width], and a ReLU."""
        weights = self.constant(f"{layer}/kernel", kernel)
        bias = self.constant(f"{layer}/bias", self.parameter(f"{layer}/bias", (kernel.shape[0],)))
        linear = self.add("Conv", [name, weights, bias], f"{layer}/linear", **attributes)
        return self.add("Relu", [linear], f"{layer}/relu")


def _write_nature_cnn(
    graph: _Graph, network: NetworkConfig, num_actions: int, shape: tuple[int, ...]
) -> None:
    height, width, channels = shape
    x = graph.as_float(graph.add("Transpose", [INPUT_NAME], "channels_first", perm=[0, 3, 1, 2]))
    scale = _PIXEL_SCALE
    layers = zip(network.features, KERNEL_SIZES, STRIDES, strict=True)
    for index, (features, side, stride) in enumerate(layers):
        layer = f"Conv_{index}"
        kernel = graph.parameter(f"{layer}/kernel", (side, side, channels, features)) * scale
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
        channels, scale = features, np.float32(1)
    inputs, units = height * width * channels, network.hidden_units
    kernel = graph.parameter("Dense_0/kernel", (inputs, units))
    # flax flattens [H, W, C], ONNX [C, H, W].
    kernel = kernel.reshape(height, width, channels, units).transpose(2, 0, 1, 3)
    x = graph.dense(graph.flatten(x, inputs), "Dense_0", kernel.reshape(inputs, units))
    graph.dense(x, "Dense_1", graph.parameter("Dense_1/kernel", (units, num_actions)), OUTPUT_NAME)


def _write_mlp(
    graph: _Graph, network: NetworkConfig, num_actions: int, shape: tuple[int, ...]
) -> None:
    inputs = int(np.prod(shape))
    x = graph.as_float(graph.flatten(INPUT_NAME, inputs))
    scale = _PIXEL_SCALE
    for index, units in enumerate((*network.features, num_actions)):
        layer = f"Dense_{index}"
        kernel = graph.parameter(f"{layer}/kernel", (inputs, units)) * scale
        is_last = index == len(network.features)
        x = graph.dense(x, layer, kernel, OUTPUT_NAME if is_last else None)
        inputs, scale = units, np.float32(1)


_WRITERS: Mapping[str, Callable[[_Graph, NetworkConfig, int, tuple[int, ...]], None]] = {
    "nature_cnn": _write_nature_cnn,
    "mlp": _write_mlp,
}


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
