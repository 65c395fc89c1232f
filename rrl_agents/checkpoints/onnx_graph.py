"""An ONNX graph while it is written, and which of its values holds which array of the network."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INPUT_NAME = "observations"
"""Of every graph."""

BATCH = -1
"""The size of an axis that the batch decides, as ONNX writes it in a shape."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """An array that the network computes from observations, and the ONNX value that holds it.

    The ONNX value may differ from the array by what costs nothing in the next layer's weights.

    Attributes:
        name: Of the ONNX value.
        shape: Of the array: `BATCH` for the batch, 1 where it is still to be broadcast.
        stored: The array's axes in the order in which ONNX has them: (0, 3, 1, 2) of maps.
        order: Of rows [B, F], the element of the ONNX value for each of the array; None where both
            have the same order.
        factor: What the ONNX value is still to be multiplied by.
        is_bytes: Whether it is still uint8, the array float32.
    """

    name: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    order: NDArray[np.int64] | None = None
    factor: float = 1.0
    is_bytes: bool = False


class Graph:
    """Nodes and weights written so far."""

    def __init__(self) -> None:
        """Begin without nodes."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """Append a node with values and constants as inputs; its name."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def floats(self, tensor: Tensor, stored: tuple[int, ...] | None = None) -> str:
        """The ONNX value that equals an array, its axes in the order `stored`, None for its own."""
        name = self.arranged(tensor, stored)
        if tensor.is_bytes:
            name = self.add("Cast", name, to=TensorProto.FLOAT)
        if tensor.factor != 1.0:
            name = self.add("Mul", name, np.asarray(tensor.factor, np.float32))
        return name

    def arranged(self, tensor: Tensor, stored: tuple[int, ...] | None = None) -> str:
        """The same, still without the factor, and bytes where the ONNX value has them."""
        axes = tuple(range(len(tensor.shape))) if stored is None else stored
        if tensor.order is not None:
            return self.add("Gather", tensor.name, tensor.order, axis=1)
        if axes == tensor.stored:
            return tensor.name
        return self.add("Transpose", tensor.name, perm=[tensor.stored.index(axis) for axis in axes])

    def reshaped(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The array in another shape; maps that become rows keep ONNX's order of elements."""
        axes, order, name = tensor.stored, None, tensor.name
        if axes[0] == 0 and list(axes) != sorted(axes) and shape == (BATCH, shape[-1]):
            elements = np.arange(shape[1]).reshape([tensor.shape[axis] for axis in axes[1:]])
            order = elements.transpose([axes[1:].index(axis) for axis in sorted(axes[1:])]).ravel()
        else:
            name = self.arranged(tensor)
        return dataclasses.replace(
            tensor,
            name=self.add("Reshape", name, np.array(shape)),
            shape=shape,
            stored=tuple(range(len(shape))),
            order=order,
        )

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name
