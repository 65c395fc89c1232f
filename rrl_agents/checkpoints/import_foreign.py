"""Foreign work becomes a teacher's directory: a Dopamine agent, an ONNX file, or another directory.

Nothing in the files is executed. A Dopamine agent becomes parameters and a card, an ONNX file is
kept as it is beside its card.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl_agents.checkpoints.dopamine_agents.shapes import OBSERVATION_SHAPE
from rrl_agents.checkpoints.find_checkpoint import agent_directory
from rrl_agents.checkpoints.hints import Hints, LeftOpen
from rrl_agents.checkpoints.import_dopamine import ImportedAgent, import_dopamine_agent
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import (
    ONNX_POLICY_FILE,
    ONNX_SUFFIX,
    UNKNOWN_GAME,
    Compute,
    TeacherCard,
    is_teacher_directory,
)
from rrl_agents.checkpoints.teacher_directory import (
    load_teacher_directory,
    save_onnx_policy,
    save_teacher,
)
from rrl_agents.environments.game_names import name_key
from rrl_agents.networks.registry import make_network
from rrl_agents.networks.size import check_size
from rrl_agents.typed_json import decode

_FRAMES_PER_STEP = 4
"""Of Dopamine's Atari agents; their clock counts decisions."""


def import_foreign(
    source: str, destination: str, hints: Mapping[str, object], name: str | None = None
) -> None:
    """Read foreign work and write it as a teacher's directory.

    Args:
        source: One checkpoint's file of a Dopamine agent, an ONNX file, or a teacher's directory.
        destination: Directory to write.
        hints: Fields of `Hints`; those left out have their defaults.
        name: What it is called, GAME/NAME or NAME; its card says NAME. None for what its files or
            their names say.

    Raises:
        ValueError: It is missing, damaged, unsafe or cannot be a teacher; the message names the
            file and what is wrong in it. Or the hints are wrong, or do not say enough: the message
            then ends with the command that does.
        OSError: The disk refuses.
    """
    path, folder = Path(source), Path(destination)
    said = decode(Hints, {**dataclasses.asdict(Hints()), **hints}, "hints")
    said.check()
    try:
        if path.suffix.lower() == ONNX_SUFFIX and path.is_file():
            file = _onnx().read_onnx_file(path, said)
            save_onnx_policy(folder, file.encoded, _renamed(file.card, name))
        elif (path / ONNX_POLICY_FILE).is_file():
            file = _onnx().read_onnx_directory(path)
            save_onnx_policy(folder, file.encoded, _renamed(_with_hints(file.card, said), name))
        elif is_teacher_directory(path):
            teacher = load_teacher_directory(path)
            save_teacher(folder, teacher.params, _renamed(_with_hints(teacher.card, said), name))
        else:
            agent = import_dopamine_agent(path, hints=said)
            card = _renamed(_card_of(agent, path, said), name)
            save_teacher(folder, agent.online_params, card)
    except LeftOpen as error:
        command = _command(source, said, name, error.flags)
        then = name or "the directory that it prints"
        raise ValueError(
            f"{error}; say so once, and name {then} from then on: {command}"
        ) from error


def _command(source: str, said: Hints, name: str | None, flags: str) -> str:
    """What says all that was said, and the flags that are open."""
    given = [
        (f"--{field.name.replace('_', '-')}", getattr(said, field.name))
        for field in dataclasses.fields(said)
        if getattr(said, field.name) != field.default
    ]
    given += [] if name is None else [("--name", name)]
    words = [
        word for flag, value in given if flag not in flags.split() for word in (flag, str(value))
    ]
    return f"{shlex.join(['rrl', 'teacher', 'import', source, *words])} {flags}"


def _onnx() -> Any:
    """The readers of ONNX models, only here: the rest needs no onnx."""
    try:
        from rrl_agents.checkpoints.onnx_files import policy_file
    except ModuleNotFoundError as error:
        raise ValueError(
            f"an ONNX file needs the package {error.name}, which is not in this environment; "
            "import it where it is"
        ) from error
    return policy_file


def _renamed(card: TeacherCard, name: str | None) -> TeacherCard:
    return card if name is None else dataclasses.replace(card, name=name.rpartition("/")[2])


def _with_hints(card: TeacherCard, said: Hints) -> TeacherCard:
    """A card with what the user says of its scores; its game must be the one said."""
    if said.game is not None and name_key(said.game) != name_key(card.game) != UNKNOWN_GAME:
        raise ValueError(f"{card.name} plays {card.game}, not {said.game}")
    spec = said.applied_to(card.spec)
    game = said.game if card.game == UNKNOWN_GAME and said.game is not None else card.game
    return dataclasses.replace(card, game=game, output=spec.output, temperature=spec.temperature)


def _card_of(agent: ImportedAgent, path: Path, said: Hints) -> TeacherCard:
    try:
        check_size(make_network(agent.network, agent.num_actions), OBSERVATION_SHAPE)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    notes = "".join(f"; {note}" for note in agent.notes)
    steps = agent.training_steps
    trained = "an unknown number of" if steps is None else str(steps)
    card = TeacherCard(
        name=f"{agent_directory(path).resolve().name}, Dopamine checkpoint {agent.number}",
        game=UNKNOWN_GAME,
        network=agent.network,
        num_actions=agent.num_actions,
        observation_shape=OBSERVATION_SHAPE,
        algorithm=agent.algorithm,
        made=(
            f"imported from a Dopamine {agent.framework} {agent.algorithm} checkpoint, iteration "
            f"{agent.number}, after {trained} training steps{notes}"
        ),
        compute=Compute(environment_frames=None if steps is None else _FRAMES_PER_STEP * steps),
        parameters_sha256=params_hash(params_to_bytes(agent.online_params)),
    )
    return _with_hints(card, said)
