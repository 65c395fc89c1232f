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
from collections.abc import Mapping
from pathlib import Path

import onnx

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.load_teacher import UNKNOWN_GAME
from rrl_agents.checkpoints.onnx_export import OUTPUT_NAME
from rrl_agents.checkpoints.teacher_card import TeacherCard
from services.teacher.backends.onnx_ends import ends_of
from services.teacher.backends.onnx_parsing import MAX_TEXT, parse_model
from services.teacher.backends.onnx_sessions import OnnxModel
from services.teacher.config import ModelConfig

MAX_FILE_BYTES = 1 << 29
"""Bound of a file's size, 512 MiB: a hundred times a Nature DQN."""

METADATA_PREFIX = "rrl."
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
    encoded = read_bounded(path, MAX_FILE_BYTES, what="an ONNX file")
    try:
        return _checked_file(path, encoded, told)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked_file(path: Path, encoded: bytes, told: ModelConfig) -> OnnxFile:
    model = parse_model(encoded)
    ends = ends_of(model.graph)
    metadata = _metadata(model)
    output = told.output or metadata.get("output") or _OUTPUT_OF_NAME.get(ends.output_name)
    if output is None:
        raise ValueError(
            f"nothing says what its scores {ends.output_name!r} are: give --output q_values (the "
            "best is taken) or --output logits (drawn from their softmax), or set the metadata "
            "rrl.output"
        )
    card = TeacherCard(
        name=metadata.get("name") or path.stem[:MAX_TEXT],
        game=told.game or metadata.get("game") or UNKNOWN_GAME,
        network=None,
        num_actions=ends.num_actions,
        observation_shape=ends.observation_shape,
        observation_dtype=ends.observation_dtype,
        observation_order="as the ONNX model takes it",
        output=output,
        temperature=_temperature(output, told.temperature, metadata.get("temperature")),
        made=f"an ONNX file of {model.producer_name[:MAX_TEXT] or 'an unknown producer'}",
        parameters_sha256=hashlib.sha256(encoded).hexdigest(),
    )
    runnable = OnnxModel(encoded=encoded, input_name=ends.input_name, output_name=ends.output_name)
    return OnnxFile(model=runnable, card=card, fixed_rows=ends.fixed_rows)


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
        if len(entry.value) > MAX_TEXT or key in found:
            raise ValueError(
                f"its metadata {entry.key[:MAX_TEXT]!r} is longer than {MAX_TEXT} characters or "
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
