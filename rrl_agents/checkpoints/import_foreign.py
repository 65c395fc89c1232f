"""Foreign work becomes a teacher's directory: another library's agent, an ONNX file, a directory.

Nothing in the files is executed. Agents of Dopamine, Stable-Baselines3, CleanRL and PyTorch become
parameters and a card, an ONNX file is kept as it is beside its card.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.frozen_graph import import_frozen_graph
from rrl_agents.checkpoints.hints import NO_HINTS, Hints, LeftOpen
from rrl_agents.checkpoints.import_dopamine import import_dopamine_agent
from rrl_agents.checkpoints.import_other_agent import import_other_agent
from rrl_agents.checkpoints.model_files import is_frozen_graph, is_model_file
from rrl_agents.checkpoints.teacher_card import (
    ONNX_POLICY_FILE,
    ONNX_SUFFIX,
    UNKNOWN_GAME,
    Teacher,
    TeacherCard,
    is_teacher_directory,
)
from rrl_agents.checkpoints.teacher_directory import (
    load_teacher_directory,
    save_onnx_policy,
    save_teacher,
)
from rrl_agents.environments.game_names import name_key


def import_foreign(
    source: str, destination: str, hints: Mapping[str, Any], name: str | None = None
) -> None:
    """Read foreign work and write it as a teacher's directory.

    Args:
        source: One checkpoint's file of a Dopamine agent, a model that Stable-Baselines3, CleanRL
            or PyTorch saved, a frozen graph of TensorFlow, an ONNX file, or a teacher's directory.
        destination: Directory to write.
        hints: Fields of `Hints`; those left out have their defaults.
        name: What it is called, GAME/NAME or NAME; its card says NAME. None for what its files or
            their names say.

    Raises:
        ImportError: ONNX or TensorFlow is needed, and not installed.
        ValueError: It is missing, unsafe or cannot be a teacher; the message names the file and
            what is wrong in it. Or the hints are wrong, or do not say enough: the message then ends
            with the command that does.
        OSError: The disk refuses.
        Exception: It is damaged; of nearly any class.
    """
    try:
        _import(Path(source), Path(destination), Hints(**hints), name)
    except LeftOpen as error:
        flags = [
            f"--{key.replace('_', '-')}={value}"
            for key, value in {**hints, "name": name, **error.hints}.items()
            if value != getattr(NO_HINTS, key, None)
        ]
        raise ValueError(
            f"{error}; say so once, and name {name or 'the directory that it prints'} from then "
            f"on: {shlex.join(['rrl', 'teacher', 'import', source, *flags])}"
        ) from error


def _import(path: Path, folder: Path, said: Hints, name: str | None) -> None:
    is_file = path.suffix.lower() == ONNX_SUFFIX and path.is_file()
    if is_file or (path / ONNX_POLICY_FILE).is_file():
        # Only here: the rest needs no onnx.
        from rrl_agents.checkpoints.onnx_policy_file import read_onnx_directory, read_onnx_file

        file = read_onnx_file(path, said) if is_file else read_onnx_directory(path)
        save_onnx_policy(folder, file.encoded, _as_said(file.card, said, name))
    else:
        teacher = _network(path, said)
        save_teacher(folder, teacher.params, _as_said(teacher.card, said, name))


def _network(path: Path, said: Hints) -> Teacher:
    """One of our networks, or an agent that becomes one."""
    if is_teacher_directory(path):
        return load_teacher_directory(path)
    if is_frozen_graph(path):
        return import_frozen_graph(path, said)
    if is_model_file(path):
        return import_other_agent(path, said)
    return import_dopamine_agent(path, hints=said)


def _as_said(card: TeacherCard, said: Hints, name: str | None) -> TeacherCard:
    """A card with what the user says of its scores; its game must be the one said."""
    if said.game is not None and name_key(said.game) != name_key(card.game) != UNKNOWN_GAME:
        raise ValueError(f"{card.name} plays {card.game}, not {said.game}")
    spec = said.applied_to(card.spec)
    return dataclasses.replace(
        card,
        name=card.name if name is None else name.rpartition("/")[2],
        game=said.game if card.game == UNKNOWN_GAME and said.game is not None else card.game,
        output=spec.output,
        temperature=spec.temperature,
    )
