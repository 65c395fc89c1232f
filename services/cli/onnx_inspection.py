"""A look at an ONNX file: its card by the rules of the teacher service, and its weights.

No session is made of it, so nothing in it is computed.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.inspect_checkpoint import Inspection
from rrl_agents.checkpoints.inspection.findings import MAX_LAYERS, Layer, shown
from rrl_agents.checkpoints.onnx_files.policy_file import MAX_FILE_BYTES, read_onnx_file
from rrl_agents.checkpoints.onnx_files.signature import inputs_of, type_name
from rrl_agents.checkpoints.stated_scores import StatedScores
from rrl_agents.checkpoints.teacher_card import TeacherCard


def inspect_onnx_file(path: Path) -> Inspection:
    """Look at an ONNX file.

    Args:
        path: The file.

    Returns:
        What was found; what is wrong, or keeps it from being served, is among it.
    """
    model = _parse(path)
    layers = () if model is None else _layers(model)
    card, notes, problems = _card(path)
    return Inspection(
        path=str(path),
        format="ONNX file",
        details=() if model is None else _details(model),
        game=None if card is None else card.game,
        agent=None if card is None else card.algorithm,
        num_actions=None if card is None else card.num_actions,
        layers=layers[:MAX_LAYERS],
        num_parameters=sum(layer.count for layer in layers),
        card=card,
        notes=(*notes, *(() if model is None else _ends(model))),
        problems=problems,
    )


def _parse(path: Path) -> onnx.ModelProto | None:
    try:
        encoded = read_bounded(path, MAX_FILE_BYTES, what="an ONNX file")
        return onnx.ModelProto.FromString(encoded)
    except Exception:  # The reader says what is wrong, in its own words.
        return None


def _card(path: Path) -> tuple[TeacherCard | None, tuple[str, ...], tuple[str, ...]]:
    """The card, notes, and what keeps the file from being served."""
    try:
        return read_onnx_file(path, StatedScores()).card, (), ()
    except ValueError as error:
        problem = str(error)
    try:
        card = read_onnx_file(path, StatedScores(output="q_values")).card
    except ValueError:
        return None, (), (problem,)
    note = "it does not say what its scores are: serve it with --output; q_values is assumed here"
    return card, (note,), ()


def _details(model: onnx.ModelProto) -> tuple[str, ...]:
    producer = " ".join((model.producer_name, model.producer_version)).strip() or "unknown"
    opsets = (f"{shown(one.domain) or 'ai.onnx'} {one.version}" for one in model.opset_import)
    return (
        f"IR version {model.ir_version}",
        f"operator sets {', '.join(opsets) or 'none'}",
        f"producer {shown(producer)}",
    )


def _layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    return tuple(
        Layer(name=shown(tensor.name), shape=tuple(tensor.dims), dtype=type_name(tensor.data_type))
        for tensor in model.graph.initializer
    )


def _ends(model: onnx.ModelProto) -> tuple[str, ...]:
    ends = (("input", inputs_of(model.graph)), ("output", model.graph.output))
    return tuple(f"{what} {_describe(value)}" for what, values in ends for value in values[:8])


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sizes = (
        str(size.dim_value) if size.HasField("dim_value") else "?" for size in tensor.shape.dim[:8]
    )
    return f"{shown(value.name)}: {type_name(tensor.elem_type)} [{', '.join(sizes)}]"
