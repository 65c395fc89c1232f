"""Writes a traced JAX function as ONNX nodes, primitive by primitive.

Expressions of parameters only become constants. A convolution is [B, C, H, W] in ONNX: its
transposition is written only where a step needs JAX's axes, so that bias and activation follow the
convolution directly and ONNX Runtime fuses all three. Factors of arrays, like the 1/255 of pixels,
are multiplied into the weights of the next layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BATCH = -1
"""ONNX's size of the batch axis in a shape."""


class Tensor(NamedTuple):
    """An array computed from observations, and the ONNX value that represents it.

    Attributes:
        name: Name of the ONNX value.
        shape: Shape of the array: `BATCH` for the batch, 1 where it must still be broadcast.
        axes: The value's axes in the array's order; () if they are the same.
        factor: Factor by which the value must still be multiplied.
    """

    name: str
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    factor: float = 1.0

    def transposed(self, order: Iterable[int]) -> Tensor:
        """The array with its axes in another order; the caller sets its shape."""
        axes = tuple(self.axes[axis] if self.axes else int(axis) for axis in order)
        return self._replace(axes=() if list(axes) == sorted(axes) else axes)


class Graph:
    """The nodes and weights so far."""

    def __init__(self) -> None:
        """Start without nodes."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: Tensor | NDArray[Any], **attributes: Any) -> Tensor:
        """Append a node with arrays as inputs; returns its output, whose shape the caller sets."""
        names = [self.name(each) for each in inputs]
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return Tensor(name)

    def name(self, value: Tensor | NDArray[Any]) -> str:
        """The ONNX value of an array; written if there is none yet."""
        if isinstance(value, Tensor):
            plain = Tensor(value.name)
            if value.factor != 1.0:
                plain = self.add("Mul", plain, np.array(value.factor, np.float32))
            if value.axes:
                plain = self.add("Transpose", plain, perm=value.axes)
            return plain.name
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def write_traced(graph: Graph, traced: Any, arguments: Sequence[Any]) -> list[Any]:
    """Append a traced function to a graph.

    Args:
        graph: The graph to extend.
        traced: A closed jaxpr; only the batch size may be symbolic.
        arguments: Its flat arguments: a `Tensor` if it depends on observations, else a NumPy array.

    Returns:
        Its outputs, of the same kinds.

    Raises:
        ValueError: When it uses an unsupported primitive, or form of one; names it.
    """
    inner = traced.jaxpr
    values = dict(zip(inner.constvars, traced.consts, strict=True))
    values.update(zip(inner.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

    for step in inner.eqns:
        outputs = _write(graph, step, [read(atom) for atom in step.invars])
        values.update(zip(step.outvars, outputs, strict=True))
    return [read(atom) for atom in inner.outvars]


def _write(graph: Graph, step: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    name, shape = step.primitive.name, _shape(step.outvars[0])
    axes: tuple[int, ...] = ()
    if name in _CALLS:
        return write_traced(graph, step.params[_CALLS[name]], inputs)
    if name == "broadcast_in_dim":
        return [_with_new_axes(graph, step, inputs[0])]
    if name in _ELEMENTWISE:
        # Sizes of 1 may stay, because ONNX broadcasts like NumPy.
        sizes = zip(*(value.shape for value in inputs if value.shape), strict=True)
        shape = tuple(max(each, key=lambda size: size != 1) for each in sizes)
        axes, inputs = _as_stored(inputs)
    else:
        inputs = [_whole(graph, step, *pair) for pair in zip(inputs, step.invars, strict=True)]
    if not any(isinstance(value, Tensor) for value in inputs):
        found = step.primitive.bind(*inputs, **step.params)
        return found if step.primitive.multiple_results else [found]
    if name not in _WRITERS:
        raise _unknown(step)
    found = _WRITERS[name](graph, step, *inputs)
    return [(found.transposed(axes) if axes else found)._replace(shape=shape)]


def _as_stored(inputs: Sequence[Any]) -> tuple[tuple[int, ...], Sequence[Any]]:
    """The transposition that all tensors among the inputs share, and the inputs before it."""
    shared = {value.axes for value in inputs if isinstance(value, Tensor)}
    axes = shared.pop() if len(shared) == 1 else ()
    if not axes:
        return (), inputs
    return axes, [
        value._replace(axes=())
        if isinstance(value, Tensor)
        else np.transpose(value, np.argsort(axes) if value.ndim else None)
        for value in inputs
    ]


def _whole(graph: Graph, step: Any, value: Any, atom: Any) -> Any:
    """An input in its full shape, for operations that do not broadcast."""
    shape = _shape(atom)
    if value.shape == shape:
        return value
    if not isinstance(value, Tensor):
        raise _unknown(step)
    return graph.add("Expand", value, np.maximum(shape, 1))._replace(shape=shape)


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else BATCH for size in atom.aval.shape)


def _unknown(step: Any) -> ValueError:
    return ValueError(
        f"the network computes {step.primitive.name!r} of {[str(x.aval) for x in step.invars]}, "
        "which the ONNX export does not know: compute it by the backend 'jax', or add it to "
        "rrl_agents/checkpoints/onnx_primitives.py"
    )


def _with_new_axes(graph: Graph, step: Any, value: Any) -> Any:
    """Add axes of size 1, along which users of the array broadcast."""
    shape = [1] * len(step.params["shape"])
    for axis, size in zip(step.params["broadcast_dimensions"], value.shape, strict=True):
        shape[axis] = size
    if not isinstance(value, Tensor):
        return np.reshape(value, shape)
    return _in_shape(graph, value, shape)


def _in_shape(graph: Graph, value: Tensor, shape: Sequence[int]) -> Tensor:
    found = graph.add("Reshape", value._replace(factor=1.0), np.array(shape))
    return found._replace(shape=tuple(shape), factor=value.factor)


_Writer = Callable[..., Tensor]
"""Appends a traced step, given the graph, the step and its inputs, one a `Tensor`, others possibly
arrays; returns the output, whose shape the caller sets."""


def _operator(operator: str) -> _Writer:
    return lambda graph, step, *inputs: graph.add(operator, *inputs)


def _product(graph: Graph, step: Any, *inputs: Any) -> Tensor:
    """A product or a quotient; a scalar factor is deferred to the next weights."""
    operator = step.primitive.name.capitalize()
    value, factor = inputs if operator == "Div" or isinstance(inputs[0], Tensor) else inputs[::-1]
    is_number = isinstance(factor, np.ndarray) and (factor.size, factor.dtype) == (1, np.float32)
    if not is_number or value.shape == ():
        return graph.add(operator, *inputs)
    number = factor.item() if operator == "Mul" else 1.0 / factor.item()
    scaled: Tensor = value._replace(factor=value.factor * number)
    return scaled


def _maximum(graph: Graph, step: Any, *inputs: Any) -> Tensor:
    constants = [value for value in inputs if not isinstance(value, Tensor)]
    if constants and not np.any(constants[0]):
        return graph.add("Relu", *(value for value in inputs if isinstance(value, Tensor)))
    return graph.add("Max", *inputs)


def _cast(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return graph.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(step.params["new_dtype"]))


def _integer_power(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return graph.add("Pow", value, np.array(step.params["y"], np.float32))


def _reciprocal_root(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return graph.add("Reciprocal", graph.add("Sqrt", value))


def _square(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return graph.add("Mul", value, value)


def _reshaped(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return _in_shape(graph, value, _shape(step.outvars[0]))


def _transposed(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return value.transposed(step.params["permutation"])


def _summed(graph: Graph, step: Any, value: Tensor) -> Tensor:
    return graph.add("ReduceSum", value, np.array(step.params["axes"]), keepdims=0)


def _largest(graph: Graph, step: Any, value: Tensor) -> Tensor:
    # Opset 13 takes the axes of sums as an input, those of maxima as an attribute.
    return graph.add("ReduceMax", value, axes=step.params["axes"], keepdims=0)


def _convolution(graph: Graph, step: Any, maps: Any, kernel: Any) -> Tensor:
    settings = step.params
    axes, (before, after) = settings["dimension_numbers"], zip(*settings["padding"], strict=True)
    is_plain = {*settings["lhs_dilation"], settings["batch_group_count"]} == {1}
    if not is_plain or isinstance(kernel, Tensor):
        raise _unknown(step)
    found = graph.add(
        "Conv",
        maps.transposed(axes.lhs_spec)._replace(factor=1.0),
        np.transpose(kernel, axes.rhs_spec) * np.float32(maps.factor),
        strides=settings["window_strides"],
        pads=[*before, *after],
        dilations=settings["rhs_dilation"],
        group=settings["feature_group_count"],
    )
    return found.transposed(np.argsort(axes.out_spec))


def _max_pooled(graph: Graph, step: Any, maps: Tensor) -> Tensor:
    settings = step.params
    window, (before, after) = settings["window_dimensions"], zip(*settings["padding"], strict=True)
    dilations = {*settings["base_dilation"], *settings["window_dilation"]}
    if {*dilations, window[0], window[-1]} != {1}:
        raise _unknown(step)
    stored = (0, len(window) - 1, *range(1, len(window) - 1))
    found = graph.add(
        "MaxPool",
        maps.transposed(stored),
        kernel_shape=window[1:-1],
        strides=settings["window_strides"][1:-1],
        pads=[*before[1:-1], *after[1:-1]],
    )
    return found.transposed(np.argsort(stored))


def _layer(graph: Graph, step: Any, rows: Any, kernel: Any) -> Tensor:
    contracted, batch = step.params["dimension_numbers"]
    is_layer = contracted == ((len(rows.shape) - 1,), (0,)) and not batch[0]
    if not is_layer or isinstance(kernel, Tensor) or kernel.ndim != 2:
        raise _unknown(step)
    return graph.add("MatMul", rows._replace(factor=1.0), kernel * np.float32(rows.factor))


def _concatenated(graph: Graph, step: Any, *values: Any) -> Tensor:
    return graph.add("Concat", *values, axis=step.params["dimension"])


_CALLS = {"pjit": "jaxpr", "jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Primitives that call a traced function, and the parameter that holds it."""

_SAME_NAME = (
    *("Add", "Sub", "Min", "Neg", "Abs", "Exp", "Log", "Sqrt", "Tanh", "Erf", "Sin", "Cos"),
)

_ELEMENTWISE: Mapping[str, _Writer] = {
    **{operator.lower(): _operator(operator) for operator in _SAME_NAME},
    "logistic": _operator("Sigmoid"),
    "stop_gradient": _operator("Identity"),
    "convert_element_type": _cast,
    "integer_pow": _integer_power,
    "mul": _product,
    "div": _product,
    "max": _maximum,
    "rsqrt": _reciprocal_root,
    "square": _square,
}

_WRITERS: Mapping[str, _Writer] = {
    **_ELEMENTWISE,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "transpose": _transposed,
    "reduce_sum": _summed,
    "reduce_max": _largest,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_pooled,
    "dot_general": _layer,
    "concatenate": _concatenated,
}
