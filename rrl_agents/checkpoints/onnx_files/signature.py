"""The signature of a policy's graph: observations in, scores out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from rrl_agents.checkpoints.onnx_files.parsing import MAX_TEXT

MAX_FIXED_ROWS = 1 << 12

_DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphSignature:
    """What a graph takes and gives; its sizes are not held to any bounds yet.

    Attributes:
        input_name: Takes the observations, [B, *observation_shape].
        output_name: Gives the scores, float32 [B, A].
        fixed_rows: The batch B, None for any.
        observation_shape: Shape of one observation.
        observation_dtype: "uint8" or "float32".
        num_actions: Actions A.
    """

    input_name: str
    output_name: str
    fixed_rows: int | None
    observation_shape: tuple[int, ...]
    observation_dtype: str
    num_actions: int


def read_signature(graph: onnx.GraphProto) -> GraphSignature:
    """Find the input and the output of a graph.

    Raises:
        ValueError: There are others than one of each, or they are not those of a policy.
    """
    taken, given = _only("input", inputs_of(graph)), _only("output", graph.output)
    rows, *shape = _observation_axes(taken)
    return GraphSignature(
        input_name=taken.name,
        output_name=given.name,
        fixed_rows=rows,
        observation_shape=tuple(size for size in shape if size is not None),
        observation_dtype=_DTYPES[taken.type.tensor_type.elem_type],
        num_actions=_actions(given, rows),
    )


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What a graph is given at each call: its inputs but its weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def type_name(kind: int) -> str:
    """The name of an ONNX element type, e.g. "float"."""
    names = {number: name for name, number in TensorProto.DataType.items()}
    return str(names.get(kind, f"type {kind}")).lower()


def _only(what: str, values: Sequence[onnx.ValueInfoProto]) -> onnx.ValueInfoProto:
    if len(values) != 1:
        names = ", ".join(value.name[:MAX_TEXT] for value in values[:8]) or "none"
        raise ValueError(
            f"it has {len(values)} {what}s ({names}); a teacher has one input, the observations, "
            "and one output, the scores: export it with those only"
        )
    return values[0]


def _observation_axes(value: onnx.ValueInfoProto) -> list[int | None]:
    """Rows of a fixed batch, None for any, and the shape of one observation."""
    kind, sizes = value.type.tensor_type.elem_type, _sizes(value)
    if kind not in _DTYPES:
        raise ValueError(
            f"its input {value.name!r} takes {type_name(kind)}; observations are "
            f"{' or '.join(_DTYPES.values())}"
        )
    if len(sizes) < 2 or None in sizes[1:]:
        raise ValueError(
            f"its input {value.name!r} has the shape {_shown(sizes)}; it must be [batch, ...] "
            "with a number for every axis but the batch"
        )
    rows = sizes[0]
    if rows is not None and rows > MAX_FIXED_ROWS:
        raise ValueError(
            f"its batch is fixed to {rows} rows; export it with a batch of any size, or of at most "
            f"{MAX_FIXED_ROWS}"
        )
    return sizes


def _actions(value: onnx.ValueInfoProto, rows: int | None) -> int:
    kind, sizes = value.type.tensor_type.elem_type, _sizes(value)
    if kind != TensorProto.FLOAT:
        raise ValueError(f"its output {value.name!r} is {type_name(kind)}; scores are float32")
    if len(sizes) != 2 or sizes[1] is None:
        raise ValueError(
            f"its output {value.name!r} has the shape {_shown(sizes)}; scores are [batch, A], with "
            "the number of actions A written down"
        )
    if sizes[0] is not None and sizes[0] != rows:
        raise ValueError(
            f"it takes {'any number of' if rows is None else rows} rows and gives {sizes[0]}; "
            "there must be one row of scores for each observation"
        )
    return sizes[1]


def _sizes(value: onnx.ValueInfoProto) -> list[int | None]:
    """Sizes of a tensor's axes, None where they are free."""
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"{value.name!r} is no tensor")
    sizes = value.type.tensor_type.shape.dim
    for size in sizes:
        if size.HasField("dim_value") and size.dim_value < 1:
            raise ValueError(f"{value.name!r} has an axis of size {size.dim_value}")
    return [size.dim_value if size.HasField("dim_value") else None for size in sizes]


def _shown(sizes: list[int | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in sizes[:8])}]"
