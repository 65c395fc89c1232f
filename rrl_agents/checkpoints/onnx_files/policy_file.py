"""A policy as an ONNX file of any origin: what it takes, what it gives, and what is refused.

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
import math
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.hints import Hints, left_open
from rrl_agents.checkpoints.onnx_export import OUTPUT_NAME
from rrl_agents.checkpoints.onnx_files.parsing import MAX_TEXT, parse_model
from rrl_agents.checkpoints.onnx_files.signature import GraphSignature, read_signature
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
_WEIGHT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_OUTPUT_OF_NAME = {OUTPUT_NAME: "q_values", "q_values": "q_values", "logits": "logits"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A file that can be served.

    Attributes:
        encoded: The `ModelProto`.
        signature: Its input and its output.
        card: What it is.
    """

    encoded: bytes
    signature: GraphSignature
    card: TeacherCard

    @property
    def num_parameters(self) -> int:
        """Numbers among its weights."""
        constants = onnx.ModelProto.FromString(self.encoded).graph.initializer
        # Whole numbers among them are shapes and places.
        weights = (tensor for tensor in constants if tensor.data_type in _WEIGHT_TYPES)
        return sum(math.prod(tensor.dims) for tensor in weights)


def read_onnx_file(path: Path, said: Hints) -> OnnxFile:
    """Read a file and check all that can be checked without computing.

    Args:
        path: The file.
        said: What the user says of it, which goes first.

    Returns:
        The model with its card.

    Raises:
        ValueError: It is no ONNX file or one that cannot be served; says why, and what would do.
    """
    encoded = read_bounded(path, MAX_FILE_BYTES, what="an ONNX file")
    try:
        return _checked_file(path, encoded, said)
    except ValueError as error:
        error.args = (f"{path}: {error}",)
        raise


def read_onnx_directory(path: Path) -> OnnxFile:
    """Read the teacher's directory of an ONNX model.

    Raises:
        ValueError: A file is missing, too large or damaged, or the two disagree; says which.
    """
    card = read_card(path / CARD_FILE)
    file = path / ONNX_POLICY_FILE
    encoded = read_bounded(file, MAX_FILE_BYTES, what="an ONNX file")
    check_hash(encoded, card, str(path))
    try:
        signature = read_signature(parse_model(encoded).graph)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return OnnxFile(encoded=encoded, signature=signature, card=card)


def _checked_file(path: Path, encoded: bytes, said: Hints) -> OnnxFile:
    model = parse_model(encoded)
    signature = read_signature(model.graph)
    metadata = _metadata(model)
    card = TeacherCard(
        **dataclasses.asdict(_spec(signature, metadata, said)),
        name=metadata.get("name") or path.stem[:MAX_TEXT],
        game=said.game or metadata.get("game") or UNKNOWN_GAME,
        network=None,
        observation_order="as the ONNX model takes it",
        made=f"an ONNX file of {model.producer_name[:MAX_TEXT] or 'an unknown producer'}",
        parameters_sha256=params_hash(encoded),
    )
    return OnnxFile(encoded=encoded, signature=signature, card=card)


def _spec(signature: GraphSignature, metadata: Mapping[str, str], said: Hints) -> PolicySpec:
    name = signature.output_name
    output = metadata.get("output") or _OUTPUT_OF_NAME.get(name) or said.output
    if output is None:
        raise left_open(
            f"nothing says what its scores {name!r} are, q_values (the best is taken) or logits "
            "(drawn from their softmax)",
            "--output",
        )
    spec = PolicySpec(
        num_actions=signature.num_actions,
        observation_shape=signature.observation_shape,
        observation_dtype=signature.observation_dtype,
        output=output,
        temperature=_number(metadata.get("temperature")),
    )
    return said.applied_to(spec)


def _metadata(model: onnx.ModelProto) -> Mapping[str, str]:
    """What the file says of itself beside the graph, without the prefix.

    Raises:
        ValueError: A value is too long, or given twice.
    """
    found: dict[str, str] = {}
    for entry in model.metadata_props:
        if not entry.key.startswith(METADATA_PREFIX):
            continue
        key = entry.key[len(METADATA_PREFIX) :]
        if len(entry.value) > MAX_TEXT or key in found:
            raise ValueError(
                f"its metadata {entry.key[:MAX_TEXT]!r} is longer than {MAX_TEXT} characters or "
                "given twice"
            )
        found[key] = entry.value
    return found


def _number(temperature: str | None) -> float | None:
    try:
        return None if temperature is None else float(temperature)
    except ValueError as error:
        raise ValueError(
            f"its metadata rrl.temperature is {temperature!r}, not a number"
        ) from error
