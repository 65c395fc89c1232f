"""What a teacher of any kind is, without serving it: its card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.load_teacher import load_teacher
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_client.actions import DEFAULT_TEMPERATURE
from services.library.catalogue import locate
from services.shared.errors import UserError
from services.teacher.config import ModelConfig
from services.teacher.kinds import Kind, kind_of


def load_card(
    checkpoint: str,
    *,
    checkpoint_number: int | None = None,
    game: str | None = None,
    output: str | None = None,
    temperature: float | None = None,
    hints: Hints = Hints(),  # noqa: B008 - frozen
) -> TeacherCard:
    """Find out what a teacher is.

    A Python policy is made for that, by its factory; of an ONNX file only the graph is read.

    Args:
        checkpoint: Name of the catalogue, teacher directory, Dopamine checkpoint directory, ONNX
            file, or a Python policy as `module:factory`.
        checkpoint_number: Which checkpoint of a Dopamine directory; the newest when None.
        game: Game of a teacher that does not say it; None where it does.
        output: What its scores are, "q_values" or "logits"; None for what it says itself.
        temperature: Divides its logits before the softmax; None for what it says itself.
        hints: What else a Dopamine checkpoint does not say, where its shapes leave doubt.

    Returns:
        Its card, with what was told; of a teacher of logits always with a temperature.

    Raises:
        UserError: There is no such teacher, or it cannot be used; says what to do.
    """
    model = ModelConfig(
        name="teacher",
        checkpoint=locate(checkpoint),
        checkpoint_number=checkpoint_number,
        game=game,
        output=output,
        temperature=temperature,
        hints=hints,
    )
    try:
        return as_told(_card(model), model)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def as_told(card: TeacherCard, model: ModelConfig) -> TeacherCard:
    """The card with what the user says of the scores.

    Raises:
        ValueError: Output or temperature are out of range, or do not go together.
    """
    output = card.output if model.output is None else model.output
    temperature = card.temperature if output == card.output else None
    if model.temperature is not None:
        temperature = model.temperature
    if output == "logits" and temperature is None:
        temperature = DEFAULT_TEMPERATURE
    return dataclasses.replace(card, output=output, temperature=temperature)


def load_network(model: ModelConfig) -> Teacher:
    """Load one of our networks, or a Dopamine agent, as the user describes it.

    Raises:
        ValueError: As `load_teacher`.
    """
    return load_teacher(model.checkpoint, model.checkpoint_number, model.game, model.hints)


def refuse_number(model: ModelConfig) -> None:
    """Refuse the number of a checkpoint for what has none.

    Raises:
        ValueError: There is one.
    """
    if model.checkpoint_number is not None:
        raise ValueError(
            f"{model.checkpoint} has no numbered checkpoints; leave out the checkpoint number "
            f"{model.checkpoint_number}"
        )


def _card(model: ModelConfig) -> TeacherCard:
    kind = kind_of(model.checkpoint)
    if kind is Kind.NETWORK:
        return load_network(model).card
    refuse_number(model)
    if kind is Kind.PYTHON:
        from services.teacher.backends.entry_point import card_of_policy, make_policy

        return card_of_policy(make_policy(model.checkpoint), model.checkpoint, model)
    from services.teacher.backends.choice import check_has_onnx

    check_has_onnx("an ONNX file")
    from services.teacher.backends.onnx_file import read_onnx_file

    return read_onnx_file(Path(model.checkpoint), model).card
