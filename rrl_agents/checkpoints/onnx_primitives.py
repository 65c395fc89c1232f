"""What JAX traced of a network, written as ONNX nodes primitive by primitive.

What depends on parameters alone is computed here and becomes a constant. Convolutions are
[B, C, H, W] in ONNX, as its runtimes want them: arrays in between stay so, and what is flattened
behind them as well, the rows of the next layer's kernel being reordered instead. So is a factor of
an array multiplied into the next kernel, and bytes are transposed before they become floats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rrl_agents.checkpoints.onnx_graph import BATCH, Graph, Tensor

_Writer = Callable[[Graph, Any, Sequence[Any]], Tensor]
"""Appends a traced step, given its inputs, of which one is a `Tensor` and others may be arrays."""


def write_traced(graph: Graph, traced: Any, arguments: Sequence[Any]) -> list[Any]:
    """Append a traced function to a graph.

    Args:
        graph: Written to.
        traced: A closed jaxpr; of its sizes, only the batch's is a symbol.
        arguments: Its flat arguments: a `Tensor` where observations decide, numpy arrays elsewhere.

    Returns:
        What it gives, of the same kinds.

    Raises:
        ValueError: When it uses a primitive, or a form of one, that is not known here; names it.
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
    name = step.primitive.name
    if name in _CALLS:
        return write_traced(graph, step.params[_CALLS[name]], inputs)
    if name == "broadcast_in_dim":
        return [_with_new_axes(graph, step, inputs[0])]
    if name in _REWRITTEN:
        rewritten = jax.make_jaxpr(_REWRITTEN[name])(*(atom.aval for atom in step.invars))
        return write_traced(graph, rewritten, inputs)
    if name not in _ELEMENTWISE:
        inputs = [_whole(graph, step, *pair) for pair in zip(inputs, step.invars, strict=True)]
    if not any(isinstance(value, Tensor) for value in inputs):
        found = step.primitive.bind(*inputs, **step.params)
        return found if step.primitive.multiple_results else [found]
    if name not in _WRITERS:
        raise _unknown(step)
    return [_WRITERS[name](graph, step, inputs)]


def _whole(graph: Graph, step: Any, value: Any, atom: Any) -> Any:
    """An input in its full shape, for what does not broadcast as ONNX and NumPy do."""
    shape = _shape(atom)
    if value.shape == shape:
        return value
    if not isinstance(value, Tensor):
        raise _unknown(step)
    name = graph.add("Expand", graph.floats(value), np.maximum(shape, 1))
    return Tensor(name=name, shape=shape, stored=tuple(range(len(shape))))


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else BATCH for size in atom.aval.shape)


def _result(step: Any, name: str, stored: Sequence[int] | None = None) -> Tensor:
    shape = _shape(step.outvars[0])
    return Tensor(name=name, shape=shape, stored=tuple(stored or range(len(shape))))


def _unknown(step: Any) -> ValueError:
    return ValueError(
        f"the network computes {step.primitive.name!r} of {[str(x.aval) for x in step.invars]}, "
        "which the ONNX export does not know: compute it by the backend 'jax', or add it to "
        "rrl_agents/checkpoints/onnx_primitives.py"
    )


def _elementwise(operator: str) -> _Writer:
    def write(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
        stored = next(value.stored for value in inputs if isinstance(value, Tensor))
        shapes = [value.shape for value in inputs if value.shape]
        names = [
            graph.floats(value, stored)
            if isinstance(value, Tensor)
            else np.transpose(value, stored if value.ndim else ())
            for value in inputs
        ]
        # A size of 1 gives way to every other.
        shape = (max(sizes, key=lambda size: size != 1) for sizes in zip(*shapes, strict=True))
        return Tensor(name=graph.add(operator, *names), shape=tuple(shape), stored=stored)

    return write


def _product(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
    """A product or quotient; a factor that all elements share waits for the next weights."""
    operator = step.primitive.name.capitalize()
    value, factor = inputs if operator == "Div" or isinstance(inputs[0], Tensor) else inputs[::-1]
    if isinstance(factor, Tensor) or factor.size > 1:
        return _elementwise(operator)(graph, step, inputs)
    number = factor.item() if operator == "Mul" else 1.0 / factor.item()
    scaled: Tensor = dataclasses.replace(value, factor=value.factor * number)
    return scaled


def _maximum(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    floors = [value.item() for value in inputs if not isinstance(value, Tensor) and not value.ndim]
    if floors == [-np.inf]:  # As a softmax begins.
        return tensors[0]
    if floors == [0]:
        return _elementwise("Relu")(graph, step, tensors)
    return _elementwise("Max")(graph, step, inputs)


def _integer_power(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    return _elementwise("Pow")(graph, step, [*inputs, np.float32(step.params["y"])])


def _converted(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    del graph
    found, wanted = step.invars[0].aval.dtype, step.params["new_dtype"]
    if (found, wanted) == (np.uint8, np.float32):
        return dataclasses.replace(inputs[0], is_bytes=True)
    if found == wanted:
        return inputs[0]
    raise _unknown(step)


def _reshaped(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    return graph.reshaped(inputs[0], _shape(step.outvars[0]))


def _with_new_axes(graph: Graph, step: Any, value: Any) -> Any:
    """Axes of size 1: what uses the array repeats its elements, as ONNX broadcasts like NumPy."""
    shape = [1] * len(step.params["shape"])
    for axis, size in zip(step.params["broadcast_dimensions"], value.shape, strict=True):
        shape[axis] = size
    if not isinstance(value, Tensor):
        return np.reshape(value, shape)
    return value if len(shape) == len(value.shape) else graph.reshaped(value, tuple(shape))


def _transposed(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    del graph
    stored = tuple(step.params["permutation"].index(axis) for axis in inputs[0].stored)
    return dataclasses.replace(inputs[0], shape=_shape(step.outvars[0]), stored=stored)


def _reduced(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    stored, axes = inputs[0].stored, step.params["axes"]
    left = [axis for axis in stored if axis not in axes]
    where = [stored.index(axis) for axis in axes]
    name = graph.floats(inputs[0], stored)
    # Opset 13 has the axes of sums as an input, those of maxima as an attribute.
    if step.primitive.name == "reduce_sum":
        name = graph.add("ReduceSum", name, np.array(where), keepdims=0)
    else:
        name = graph.add("ReduceMax", name, axes=where, keepdims=0)
    return _result(step, name, [sorted(left).index(axis) for axis in left])


def _convolution(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
    (maps, kernel), settings = inputs, step.params
    axes, (before, after) = settings["dimension_numbers"], zip(*settings["padding"], strict=True)
    is_plain = {*settings["lhs_dilation"], settings["batch_group_count"]} == {1}
    if not is_plain or isinstance(kernel, Tensor):
        raise _unknown(step)
    name = graph.add(
        "Conv",
        graph.floats(dataclasses.replace(maps, factor=1.0), axes.lhs_spec),
        np.transpose(kernel, axes.rhs_spec) * np.float32(maps.factor),
        strides=settings["window_strides"],
        pads=[*before, *after],
        dilations=settings["rhs_dilation"],
        group=settings["feature_group_count"],
    )
    return _result(step, name, axes.out_spec)


def _max_pooled(graph: Graph, step: Any, inputs: Sequence[Tensor]) -> Tensor:
    settings = step.params
    window, (before, after) = settings["window_dimensions"], zip(*settings["padding"], strict=True)
    dilations = {*settings["base_dilation"], *settings["window_dilation"]}
    if {*dilations, window[0], window[-1]} != {1}:
        raise _unknown(step)
    stored = (0, len(window) - 1, *range(1, len(window) - 1))
    name = graph.add(
        "MaxPool",
        graph.floats(inputs[0], stored),
        kernel_shape=window[1:-1],
        strides=settings["window_strides"][1:-1],
        pads=[*before[1:-1], *after[1:-1]],
    )
    return _result(step, name, stored)


def _layer(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
    (contracted, batch), (left, kernel) = step.params["dimension_numbers"], inputs
    is_layer = contracted == ((len(left.shape) - 1,), (0,)) and not batch[0]
    if not is_layer or isinstance(kernel, Tensor) or kernel.ndim != 2:
        raise _unknown(step)
    weights = kernel * np.float32(left.factor)
    if left.order is not None:
        weights[left.order] = weights.copy()
    rows = graph.floats(dataclasses.replace(left, factor=1.0, order=None))
    return _result(step, graph.add("MatMul", rows, weights))


def _concatenated(graph: Graph, step: Any, inputs: Sequence[Any]) -> Tensor:
    names = [graph.floats(value) if isinstance(value, Tensor) else value for value in inputs]
    return _result(step, graph.add("Concat", *names, axis=step.params["dimension"]))


_CALLS = {"pjit": "jaxpr", "jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Primitives that call a traced function, and the parameter that holds it."""

_REWRITTEN: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "rsqrt": lambda x: 1.0 / jnp.sqrt(x),
    "square": lambda x: x * x,
}
"""What ONNX has no operator for, by means of others."""

_SAME_NAME = ("Add", "Sub", "Min", "Neg", "Abs", "Exp", "Log", "Sqrt", "Tanh", "Erf", "Sin", "Cos")

_ELEMENTWISE: Mapping[str, _Writer] = {
    **{operator.lower(): _elementwise(operator) for operator in _SAME_NAME},
    "logistic": _elementwise("Sigmoid"),
    "stop_gradient": _elementwise("Identity"),
    "integer_pow": _integer_power,
    "mul": _product,
    "div": _product,
    "max": _maximum,
}

_WRITERS: Mapping[str, _Writer] = {
    **_ELEMENTWISE,
    "convert_element_type": _converted,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "transpose": _transposed,
    "reduce_sum": _reduced,
    "reduce_max": _reduced,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_pooled,
    "dot_general": _layer,
    "concatenate": _concatenated,
}
