"""Reads a policy from an ONNX file of any origin, and checks it.

The file must be self-contained, with one input [B, ...] of observations, uint8 or float32, one
output float32 [B, A] of scores, and operators that ONNX Runtime supports. B is the batch, any or
fixed; all other sizes are numbers. Facts that the graph does not show can be in `metadata_props`:

    rrl.output        "q_values" or "logits"; else the name of the output
    rrl.temperature   divides the logits before the softmax
    rrl.game          e.g. "breakout"
    rrl.name          human-readable

ONNX Runtime decides what can be computed. The cost of preparing and running a hostile model is not
bounded here: foreign files are read in a confined process (`services/library/confined.py`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.hints import Hints, LeftOpen
from rrl_agents.checkpoints.onnx_export import OUTPUT_NAME
from rrl_agents.checkpoints.params_codec import params_hash
from rrl_agents.checkpoints.teacher_card import (
    CARD_FILE,
    ONNX_POLICY_FILE,
    UNKNOWN_GAME,
    TeacherCard,
    read_card,
)
from rrl_agents.checkpoints.teacher_directory import check_hash
from rrl_client.spec import PolicySpec

MAX_FILE_BYTES = 1 << 29
"""Bound of a file's size, 512 MiB: a hundred times a Nature DQN."""

METADATA_PREFIX = "rrl."

_MAX_TEXT = 200
"""Most characters of a model's texts that are stored or quoted."""

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_OUTPUT_OF_NAME = {OUTPUT_NAME: "q_values", "q_values": "q_values", "logits": "logits"}
_WEIGHT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A valid ONNX file.

    Attributes:
        encoded: The `ModelProto`.
        card: Its card.
    """

    encoded: bytes
    card: TeacherCard

    @property
    def num_parameters(self) -> int:
        """Number of its weights, without scalars and integers: factors, shapes or indices."""
        weights = (each for each in _tensors(self.encoded) if each.data_type in _WEIGHT_TYPES)
        return sum(size for size in (math.prod(each.dims) for each in weights) if size > 1)


def read_onnx_file(path: Path, said: Hints) -> OnnxFile:
    """Read a file, and run it once.

    Args:
        path: The file.
        said: The user's hints, which take precedence.

    Returns:
        The model with its card.

    Raises:
        ValueError: It is not an ONNX file, cannot be served, or does not define its scores; says
            what is needed.
        Exception: It fails; of nearly any class.
    """
    encoded = read_bounded(path, MAX_FILE_BYTES, what="an ONNX file")
    _check_self_contained(encoded, path)
    try:
        return OnnxFile(encoded=encoded, card=_made_card(encoded, path.stem, said))
    except ValueError as error:
        error.args = (f"{path}: {error}",)
        raise


def read_onnx_directory(path: Path) -> OnnxFile:
    """Read the teacher's directory of an ONNX model.

    Raises:
        ValueError: A file is missing, too large or damaged, or the two disagree.
    """
    card = read_card(path / CARD_FILE)
    file = path / ONNX_POLICY_FILE
    encoded = read_bounded(file, MAX_FILE_BYTES, what="an ONNX file")
    check_hash(encoded, card, str(path))
    _check_self_contained(encoded, file)
    return OnnxFile(encoded=encoded, card=card)


def _check_self_contained(encoded: bytes, path: Path) -> None:
    """Refuse weights in external files."""
    try:
        tensors = list(_tensors(encoded))
    except DecodeError as error:
        raise ValueError(f"{path}: this is not an ONNX file ({error})") from error
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(
                f"{path}: the weights {tensor.name[:_MAX_TEXT]!r} are in another file; export the "
                "model as one file"
            )


def _tensors(encoded: bytes) -> Iterator[onnx.TensorProto]:
    """All tensors of a model, at any depth."""
    messages: list[Message] = [onnx.ModelProto.FromString(encoded)]
    while messages:
        message = messages.pop()
        if isinstance(message, TensorProto):
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                messages += [value] if isinstance(value, Message) else value


def open_session(
    encoded: bytes, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Prepare a model for ONNX Runtime on the CPU.

    Raises:
        ValueError: ONNX Runtime cannot compute it.
    """
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors only.
    # Never ONNX Runtime's own format, whatever the file begins with.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])
    # This is the only common class of its C++ errors.
    except Exception as error:
        raise ValueError(f"ONNX Runtime cannot compute this model ({error})") from error


def observations_and_scores(session: onnxruntime.InferenceSession) -> tuple[Any, Any]:
    """The input and the output of a policy's model, `onnxruntime.NodeArg`s: name, type, shape.

    Raises:
        ValueError: There is not exactly one of each, or they do not fit a policy.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shown = f"it takes {_shown(inputs)} and gives {_shown(outputs)}"
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{shown}; a teacher has one input, the observations, and one output, the scores: "
            "export it with those only"
        )
    (taken,), (given,) = inputs, outputs
    are_typed = taken.type in _DTYPES and given.type == "tensor(float)"
    are_shaped = len(taken.shape) >= 2 and len(given.shape) == 2
    sizes = (*taken.shape[1:], *given.shape[1:])
    if not are_typed or not are_shaped or not all(isinstance(size, int) for size in sizes):
        raise ValueError(
            f"{shown}; it must take observations [batch, ...] of {' or '.join(_DTYPES)} and give "
            "scores [batch, actions] of tensor(float), with a number for every axis but the batch"
        )
    return taken, given


def fixed_rows(observations: Any) -> int | None:
    """The fixed batch size of a model's input; None for any."""
    rows = observations.shape[0]
    return rows if isinstance(rows, int) else None


def _shown(values: Sequence[Any]) -> str:
    shown = [f"{each.name[:_MAX_TEXT]} {each.type} {each.shape[:8]}" for each in values[:8]]
    return ", ".join(shown) or "nothing"


def _made_card(encoded: bytes, name: str, said: Hints) -> TeacherCard:
    """The card of a foreign model; runs it once on zeros."""
    session = open_session(encoded)
    observations, scores = observations_and_scores(session)
    about = session.get_modelmeta()
    metadata = {
        key.removeprefix(METADATA_PREFIX): text[:_MAX_TEXT]
        for key, text in about.custom_metadata_map.items()
        if key.startswith(METADATA_PREFIX)
    }
    output = metadata.get("output") or _OUTPUT_OF_NAME.get(scores.name) or said.output
    if output is None:
        raise LeftOpen(
            f"nothing says what its scores {scores.name[:_MAX_TEXT]!r} are, q_values "
            "(the best is taken) or logits (drawn from their softmax)",
            output="q_values",
        )
    spec = PolicySpec(
        num_actions=scores.shape[1],
        observation_shape=tuple(observations.shape[1:]),
        observation_dtype=_DTYPES[observations.type],
        output=output,
        temperature=_number(metadata.get("temperature")),
    )
    session.run(None, {observations.name: spec.zeros(fixed_rows(observations) or 1)})
    return TeacherCard(
        **dataclasses.asdict(said.applied_to(spec)),
        name=metadata.get("name") or name[:_MAX_TEXT],
        game=said.game or metadata.get("game") or UNKNOWN_GAME,
        network=None,
        observation_order="as the ONNX model takes it",
        made=f"an ONNX file of {about.producer_name[:_MAX_TEXT] or 'an unknown producer'}",
        parameters_sha256=params_hash(encoded),
    )


def _number(temperature: str | None) -> float | None:
    try:
        return None if temperature is None else float(temperature)
    except ValueError as error:
        raise ValueError(
            f"its metadata rrl.temperature is {temperature!r}, not a number"
        ) from error
