"""An ONNX model from anywhere: parsed, and refused where it could do harm or nothing.

Everything must lie in the file itself, of sizes that a policy has, in operators of ONNX Runtime.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, shape_inference

MAX_TENSOR_ELEMENTS = 1 << 27
"""Bound of any tensor of the graph, weights and a fixed batch included: 512 MiB of float32."""

MAX_TEXT = 200
"""Characters of a model's texts that are kept or quoted."""

_MAX_GRAPHS = 10_000

# The standard ones, and ONNX Runtime's own.
_KNOWN_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))


def parse_model(encoded: bytes) -> onnx.ModelProto:
    """Read a model and check all of it but its ends.

    Args:
        encoded: The file.

    Returns:
        The model, with the shapes that ONNX infers.

    Raises:
        ValueError: It is none, or holds custom operators, weights in other files or tensors of
            absurd sizes.
    """
    model = _parse(encoded)
    _check_self_contained(model)
    return _with_inferred_shapes(model)


def _parse(encoded: bytes) -> onnx.ModelProto:
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            model = onnx.ModelProto.FromString(encoded)
    except DecodeError as error:
        raise ValueError(f"this is no ONNX file ({error})") from error
    # protobuf only warns of bytes it makes nothing of.
    if complaints or not model.graph.node:
        raise ValueError("this is no ONNX file, or one without a graph")
    # What is no UTF-8 comes as bytes.
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ValueError("this is no ONNX file: its names are not UTF-8")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """The texts of a model that are looked at here."""
    yield model.producer_name
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        yield value.name
    for tensor in _tensors(model):
        yield tensor.name
    for function in model.functions:
        yield function.domain
    for node in _nodes(model):
        yield from (node.domain, node.op_type)


def _check_self_contained(model: onnx.ModelProto) -> None:
    """Refuse unknown operators, weights in other files, and tensors of absurd sizes."""
    own = {function.domain for function in model.functions}
    for node in _nodes(model):
        if node.domain not in _KNOWN_DOMAINS | own:
            raise ValueError(
                f"it uses the custom operator {node.domain}:{node.op_type}, which ONNX Runtime "
                "does not have; export it with standard operators"
            )
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(
                f"the weights {tensor.name!r} lie in another file; export the model as one file"
            )
        _check_size(tensor.name, tensor.dims)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, those of its functions, and those inside their nodes."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    seen = 0
    while waiting:
        graph = waiting.pop()
        seen += 1
        if seen > _MAX_GRAPHS:
            raise ValueError(f"it has more than {_MAX_GRAPHS} subgraphs")
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += attribute.graphs
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                yield attribute.t
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def _with_inferred_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that ONNX infers, none of them absurd."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    # Operators newer than the library have no shapes here; ONNX Runtime has its own judgement.
    except Exception:
        inferred = model
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        # A batch of any size counts as one row.
        _check_size(value.name, [size for size in sizes if size])
    return inferred


def _check_size(name: str, sizes: Sequence[int]) -> None:
    if any(size < 0 for size in sizes) or math.prod(sizes) > MAX_TENSOR_ELEMENTS:
        raise ValueError(
            f"its tensor {name[:MAX_TEXT]!r} has the sizes {[*sizes[:8]]}, beyond "
            f"{MAX_TENSOR_ELEMENTS} elements; this is no policy"
        )
