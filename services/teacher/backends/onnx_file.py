"""Anybody's policy as an ONNX file: what it takes, what it gives, and what is refused.

The file must hold everything in itself: one input [B, ...] of observations, uint8 or float32, one
output float32 [B, A] of scores, operators that ONNX Runtime has. B is the batch, any or fixed; all
other sizes are numbers. What a file cannot show by its graph it may say in its `metadata_props`:

    rrl.output        "q_values" or "logits"; else an output of such a name says it
    rrl.temperature   divides the logits before the softmax
    rrl.game          e.g. "breakout"
    rrl.name          human-readable
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, shape_inference

from rrl_agents.checkpoints.load_teacher import UNKNOWN_GAME
from rrl_agents.checkpoints.onnx_export import OUTPUT_NAME
from rrl_agents.checkpoints.teacher_card import MAX_OBSERVATION_ELEMENTS, TeacherCard
from services.teacher.backends.onnx_sessions import OnnxModel
from services.teacher.config import ModelConfig

MAX_FILE_BYTES = 1 << 29
"""Bound of a file's size, 512 MiB: a hundred times a Nature DQN."""

MAX_ACTIONS = 1 << 16
MAX_FIXED_ROWS = 1 << 12
MAX_TENSOR_ELEMENTS = 1 << 27
"""Bound of any tensor of the graph, weights and a fixed batch included: 512 MiB of float32."""

METADATA_PREFIX = "rrl."
_MAX_TEXT = 200
_MAX_GRAPHS = 10_000

# The standard ones, and ONNX Runtime's own.
_KNOWN_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
_DTYPES = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}
_OUTPUT_OF_NAME = {OUTPUT_NAME: "q_values", "q_values": "q_values", "logits": "logits"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A file that can be served.

    Attributes:
        model: The model and the names of its ends.
        card: What it is.
        fixed_rows: Rows its batch must have; None for any.
    """

    model: OnnxModel
    card: TeacherCard
    fixed_rows: int | None


def read_onnx_file(path: Path, told: ModelConfig) -> OnnxFile:
    """Read a file and check all that can be checked without computing.

    Args:
        path: The file.
        told: What the user says of it, which goes before what the file says.

    Returns:
        The model with its card.

    Raises:
        ValueError: It is no ONNX file or one that cannot be served; says why, and what would do.
    """
    encoded = _read_bounded(path)
    try:
        return _checked_file(path, encoded, told)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked_file(path: Path, encoded: bytes, told: ModelConfig) -> OnnxFile:
    model = _parse(encoded)
    _check_self_contained(model)
    model = _with_inferred_shapes(model)
    entrance, way_out = _ends(model.graph)
    rows, shape = _observation_axes(entrance)
    metadata = _metadata(model)
    output = told.output or metadata.get("output") or _OUTPUT_OF_NAME.get(way_out.name)
    if output is None:
        raise ValueError(
            f"nothing says what its scores {way_out.name!r} are: give --output q_values (the best "
            "is taken) or --output logits (drawn from their softmax), or set the metadata "
            "rrl.output"
        )
    card = TeacherCard(
        name=metadata.get("name") or path.stem[:_MAX_TEXT],
        game=told.game or metadata.get("game") or UNKNOWN_GAME,
        network=None,
        num_actions=_actions(way_out, rows),
        observation_shape=shape,
        observation_dtype=_DTYPES[entrance.type.tensor_type.elem_type],
        observation_order="as the ONNX model takes it",
        output=output,
        temperature=_temperature(output, told.temperature, metadata.get("temperature")),
        made=f"an ONNX file of {model.producer_name[:_MAX_TEXT] or 'an unknown producer'}",
        parameters_sha256=hashlib.sha256(encoded).hexdigest(),
    )
    ends = OnnxModel(encoded=encoded, input_name=entrance.name, output_name=way_out.name)
    return OnnxFile(model=ends, card=card, fixed_rows=rows)


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            encoded = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if len(encoded) > MAX_FILE_BYTES:
        raise ValueError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; give a smaller policy")
    return encoded


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
    """Refuse operators nobody here has, weights in other files, and tensors of absurd sizes."""
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
    """The model with what ONNX can tell of its tensors' shapes, none of them absurd."""
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    # Of operators newer than the library nothing is told; ONNX Runtime has its own judgement.
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
            f"its tensor {name[:_MAX_TEXT]!r} has the sizes {[*sizes[:8]]}, beyond "
            f"{MAX_TENSOR_ELEMENTS} elements; this is no policy"
        )


def _ends(graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """Its only input and its only output."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    for what, values in (("input", inputs), ("output", graph.output)):
        if len(values) != 1:
            names = ", ".join(value.name[:_MAX_TEXT] for value in values[:8]) or "none"
            raise ValueError(
                f"it has {len(values)} {what}s ({names}); a teacher has one input, the "
                "observations, and one output, the scores: export it with those only"
            )
    return inputs[0], graph.output[0]


def _observation_axes(value: onnx.ValueInfoProto) -> tuple[int | None, tuple[int, ...]]:
    """Rows of a fixed batch, None for any, and the shape of one observation."""
    kind, sizes = value.type.tensor_type.elem_type, _sizes(value)
    if kind not in _DTYPES:
        raise ValueError(
            f"its input {value.name!r} takes {_type_name(kind)}; observations are uint8 or float32"
        )
    if len(sizes) < 2 or None in sizes[1:]:
        raise ValueError(
            f"its input {value.name!r} has the shape {_shown(sizes)}; it must be [batch, ...] "
            "with a number for every axis but the batch"
        )
    shape = tuple(size for size in sizes[1:] if size is not None)
    if math.prod(shape) > MAX_OBSERVATION_ELEMENTS:
        raise ValueError(
            f"its input {value.name!r} has the shape {_shown(sizes)}; an observation has at most "
            f"{MAX_OBSERVATION_ELEMENTS} elements"
        )
    rows = sizes[0]
    if rows is not None and rows > MAX_FIXED_ROWS:
        raise ValueError(
            f"its batch is fixed to {rows} rows; export it with a batch of any size, or of at most "
            f"{MAX_FIXED_ROWS}"
        )
    return rows, shape


def _actions(value: onnx.ValueInfoProto, rows: int | None) -> int:
    kind, sizes = value.type.tensor_type.elem_type, _sizes(value)
    if kind != TensorProto.FLOAT:
        raise ValueError(f"its output {value.name!r} is {_type_name(kind)}; scores are float32")
    if len(sizes) != 2 or sizes[1] is None or sizes[1] > MAX_ACTIONS:
        raise ValueError(
            f"its output {value.name!r} has the shape {_shown(sizes)}; scores are [batch, A], with "
            f"the number of actions A written down, at most {MAX_ACTIONS}"
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


def _type_name(kind: int) -> str:
    names = {number: name for name, number in TensorProto.DataType.items()}
    return str(names.get(kind, kind)).lower()


def _metadata(model: onnx.ModelProto) -> Mapping[str, str]:
    """What the file says of itself beside the graph, without the prefix.

    Raises:
        ValueError: A text is too long, or said twice.
    """
    found: dict[str, str] = {}
    for entry in model.metadata_props:
        if not entry.key.startswith(METADATA_PREFIX):
            continue
        key = entry.key[len(METADATA_PREFIX) :]
        if len(entry.value) > _MAX_TEXT or key in found:
            raise ValueError(
                f"its metadata {entry.key[:_MAX_TEXT]!r} is longer than {_MAX_TEXT} characters or "
                "said twice"
            )
        found[key] = entry.value
    return found


def _temperature(output: str, told: float | None, said: str | None) -> float | None:
    """The temperature told, or else said by the file where it is for the same kind of scores."""
    if told is not None or output != "logits" or said is None:
        return told
    try:
        return float(said)
    except ValueError as error:
        raise ValueError(f"its metadata rrl.temperature is {said!r}, not a number") from error
