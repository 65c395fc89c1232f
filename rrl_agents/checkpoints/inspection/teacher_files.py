"""A look at a teacher's directory: its card, and the parameters as far as they can be read."""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.inspection.findings import MAX_LAYERS, Inspection, Layer, layers_of
from rrl_agents.checkpoints.params_codec import MAX_PARAMS_BYTES, ROOT, params_from_bytes
from rrl_agents.checkpoints.teacher_card import TeacherCard
from rrl_agents.checkpoints.teacher_directory import (
    CARD_FILE,
    PARAMS_FILE,
    load_teacher_directory,
    read_card,
)
from rrl_agents.types import Params


def is_teacher_directory(path: Path) -> bool:
    """Whether one of the files of a teacher's directory lies there."""
    return (path / CARD_FILE).is_file() or (path / PARAMS_FILE).is_file()


def inspect_teacher_directory(path: Path) -> Inspection:
    """Look at a teacher's directory.

    Args:
        path: Directory with `card.json` and `params.safetensors`, or one of them.

    Returns:
        What was found; what is wrong is among it.
    """
    problems: list[str] = []
    card: TeacherCard | None = None
    layers: tuple[Layer, ...] = ()
    try:
        # Whole, with everything that a service would check.
        teacher = load_teacher_directory(path)
        card, layers = teacher.card, _layers(teacher.params)
    except ValueError as error:
        problems.append(str(error))
        card, layers = _card_alone(path), _layers_alone(path)
    return Inspection(
        path=str(path),
        format="teacher's directory",
        details=(f"{PARAMS_FILE} and {CARD_FILE}",),
        game=None if card is None else card.game,
        agent=None if card is None else card.algorithm,
        network=None if card is None else card.network,
        num_actions=None if card is None else card.num_actions,
        layers=layers[:MAX_LAYERS],
        num_parameters=sum(layer.count for layer in layers),
        card=card,
        problems=tuple(problems),
    )


def _card_alone(path: Path) -> TeacherCard | None:
    try:
        return read_card(path / CARD_FILE)
    except ValueError:
        return None


def _layers_alone(path: Path) -> tuple[Layer, ...]:
    try:
        encoded = read_bounded(path / PARAMS_FILE, MAX_PARAMS_BYTES, what="a teacher's parameters")
        return _layers(params_from_bytes(encoded))
    except ValueError:
        return ()


def _layers(params: Params) -> tuple[Layer, ...]:
    return tuple(sorted(layers_of(params[ROOT]), key=lambda layer: layer.name))
