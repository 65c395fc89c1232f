"""Imports another library's agent, an ONNX file or a directory as a teacher's directory.

Nothing in the files is executed. Agents of Dopamine, Stable-Baselines3, CleanRL and PyTorch are
converted to parameters and a card; an ONNX file is kept unchanged beside its card.
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
    """Read foreign files and write them as a teacher's directory.

    Args:
        source: One checkpoint's file of a Dopamine agent, a model that Stable-Baselines3, CleanRL
            or PyTorch saved, a frozen graph of TensorFlow, an ONNX file, or a teacher's directory.
        destination: Directory to write.
        hints: Fields of `Hints`; omitted ones have their defaults.
        name: Its name, GAME/NAME or NAME; its card has NAME. None takes the name from its files or
            their names.

    Raises:
        ImportError: ONNX or TensorFlow is needed but not installed.
        ValueError: It is missing, unsafe or unsupported; the message names the file and the fault.
            Or the hints are wrong or insufficient; the message then ends with the right command.
        OSError: Writing fails.
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
        # Imported here: the rest does not need onnx.
        from rrl_agents.checkpoints.onnx_policy_file import read_onnx_directory, read_onnx_file

        file = read_onnx_file(path, said) if is_file else read_onnx_directory(path)
        save_onnx_policy(folder, file.encoded, _as_said(file.card, said, name))
    else:
        teacher = _network(path, said)
        save_teacher(folder, teacher.params, _as_said(teacher.card, said, name))


def _network(path: Path, said: Hints) -> Teacher:
    """One of our networks, or an agent converted to one."""
    if is_teacher_directory(path):
        return load_teacher_directory(path)
    if is_frozen_graph(path):
        return import_frozen_graph(path, said)
    if is_model_file(path):
        return import_other_agent(path, said)
    return import_dopamine_agent(path, hints=said)


def _as_said(card: TeacherCard, said: Hints, name: str | None) -> TeacherCard:
    """A card with the user's hints on its scores; its game must match the hint."""
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
