"""An ONNX graph while it is written: nodes, weights, and which parameters are not used yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INPUT_NAME = "observations"
"""Of every graph."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear:
    """Weights of one linear layer.

    Attributes:
        kernel: float32 [inputs, outputs].
        bias: float32 [outputs].
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


class Graph:
    """Nodes and weights written so far; methods append and return their output's name."""

    def __init__(self, leaves: Mapping[str, NDArray[np.float32]], *, is_float: bool) -> None:
        """Begin without nodes.

        Args:
            leaves: The network's parameters by flat name, each to be used once.
            is_float: Whether observations arrive as float32, not as bytes.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._unused = dict(leaves)
        self._is_float = is_float

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node, its output named like itself."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Append an array."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def parameter(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Take one parameter of the network.

        Raises:
            ValueError: When it is missing, taken already, or has another shape.
        """
        leaf = self._unused.pop(name, None)
        if leaf is None or leaf.shape != shape:
            found = "missing" if leaf is None else f"of shape {leaf.shape}"
            raise ValueError(f"parameter {name} is {found}; the network needs it as {shape}")
        return leaf

    def check_all_used(self) -> None:
        """Refuse parameters that nothing took.

        Raises:
            ValueError: naming them.
        """
        if self._unused:
            raise ValueError(f"the network has no parameters {sorted(self._unused)}")

    def as_float(self, name: str) -> str:
        """Bytes as float32; what is float already stays."""
        return name if self._is_float else self.add("Cast", [name], "floats", to=TensorProto.FLOAT)

    @property
    def input_scale(self) -> np.float32:
        """What the first layer's kernel is multiplied by instead of the observations.

        As in `networks.inputs`: pixels are divided by 255, floats are taken as they are.
        """
        return np.float32(1) if self._is_float else np.float32(1 / 255)

    def reshape(self, name: str, shape: Sequence[int], output: str) -> str:
        """Rows of another shape; -1 stands for what the batch makes it."""
        sizes = self.constant(f"{output}_shape", np.array(shape, np.int64))
        return self.add("Reshape", [name, sizes], output)

    def dense(self, name: str, layer: str, weights: Linear, output: str | None = None) -> str:
        """A linear layer of [rows, inputs]; without an `output` of its own a ReLU follows."""
        kernel = self.constant(f"{layer}/kernel", weights.kernel)
        bias = self.constant(f"{layer}/bias", weights.bias)
        linear = self.add("Gemm", [name, kernel, bias], output or f"{layer}/linear")
        return linear if output else self.relu(linear, f"{layer}/relu")

    def relu(self, name: str, output: str) -> str:
        """What is above 0 of maps or rows."""
        return self.add("Relu", [name], output)

    def convolution(
        self, name: str, layer: str, kernel: NDArray[np.float32], **attributes: Any
    ) -> str:
        """A convolution of maps [B, C, H, W] by a kernel [out, in, height, width]."""
        weights = self.constant(f"{layer}/kernel", kernel)
        bias = self.constant(f"{layer}/bias", self.parameter(f"{layer}/bias", (kernel.shape[0],)))
        return self.add("Conv", [name, weights, bias], f"{layer}/linear", **attributes)
