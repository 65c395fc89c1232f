"""One door to every kind of teacher: a bundled name, a teacher's directory, a Dopamine agent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.card_facts import Compute
from rrl_agents.checkpoints.dopamine_agents.hints import Hints
from rrl_agents.checkpoints.fetched_source import SOURCE_FILE, fetched_game
from rrl_agents.checkpoints.find_checkpoint import index_file
from rrl_agents.checkpoints.import_dopamine import (
    OBSERVATION_SHAPE,
    ImportedAgent,
    import_dopamine_agent,
)
from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import Teacher, TeacherCard
from rrl_agents.checkpoints.teacher_directory import CARD_FILE, load_teacher_directory
from rrl_agents.environments.game_names import name_key
from rrl_agents.networks.registry import make_network
from rrl_agents.networks.size import check_size

BUNDLED_DIRECTORY = Path(__file__).resolve().parents[1] / "teachers"
"""Where the teachers that come with this package lie, one directory each."""

_FRAMES_PER_STEP = 4
"""Of Dopamine's Atari agents; their clock counts decisions."""

UNKNOWN_GAME = "unknown"

__all__ = ["Teacher", "TeacherCard", "bundled_teachers", "load_teacher"]


def bundled_teachers() -> tuple[str, ...]:
    """Names of the teachers that come with this package."""
    return tuple(sorted(card.parent.name for card in BUNDLED_DIRECTORY.glob(f"*/{CARD_FILE}")))


def load_teacher(
    path_or_name: str | Path,
    checkpoint_number: int | None = None,
    game: str | None = None,
    hints: Hints | None = None,
) -> Teacher:
    """Load a frozen policy, whatever its form.

    Args:
        path_or_name: A bundled name ("pong_dqn"; "./pong_dqn" is a path), a directory with a
            `card.json`, or a Dopamine agent: its directory, its `checkpoints` directory, or one
            `ckpt.N` file.
        checkpoint_number: Which Dopamine checkpoint, the newest complete one when None.
        game: Game of a Dopamine agent, which its checkpoint does not say. For fetched agents and
            teachers with a card it must agree with what those say.
        hints: What else a Dopamine checkpoint does not say; read where its shapes leave doubt.

    Returns:
        The teacher, checked: shapes fit the card and all parameters are finite.

    Raises:
        ValueError: When nothing is there (the message lists what was looked for), or it is
            damaged, unsafe or of an unsupported kind.
    """
    directory = _card_directory(str(path_or_name))
    if directory is None:
        agent = import_dopamine_agent(
            Path(path_or_name), checkpoint_number, **dataclasses.asdict(hints or Hints())
        )
        return _dopamine_teacher(agent, Path(path_or_name), game)
    if checkpoint_number is not None:
        raise ValueError(
            f"{path_or_name} is a teacher with a card, which has one set of parameters; leave out "
            f"the checkpoint number {checkpoint_number}"
        )
    teacher = load_teacher_directory(directory)
    if game is not None and name_key(game) != name_key(teacher.card.game):
        raise ValueError(f"{path_or_name} plays {teacher.card.game}, not {game}")
    return teacher


def _card_directory(path_or_name: str) -> Path | None:
    """Where the card lies, None when this is left to the Dopamine importer."""
    if path_or_name in bundled_teachers():
        return BUNDLED_DIRECTORY / path_or_name
    path = Path(path_or_name)
    # A TensorFlow checkpoint may be named by what its files' names have in common.
    if path.exists() or index_file(path).is_file():
        return path if (path / CARD_FILE).is_file() else None
    raise ValueError(
        f"no teacher {path_or_name!r}: looked for a bundled one ({', '.join(bundled_teachers())}), "
        f"a directory with {CARD_FILE}, and a Dopamine agent's directory, ckpt.N or "
        f"tf_ckpt-N.index file at {path.absolute()}"
    )


def _dopamine_teacher(agent: ImportedAgent, path: Path, game: str | None) -> Teacher:
    try:
        check_size(make_network(agent.network, agent.num_actions), OBSERVATION_SHAPE)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Teacher(params=agent.online_params, card=_card_of(agent, path, _game_of(path, game)))


def _game_of(path: Path, told: str | None) -> str | None:
    """The game of a Dopamine agent, None when nobody knows it."""
    try:
        fetched = fetched_game(path)
    except ValueError:
        if told is None:
            raise
        return told
    if told is not None and fetched is not None and name_key(told) != name_key(fetched):
        raise ValueError(f"{path} plays {fetched}, not {told}: its {SOURCE_FILE} says so")
    return fetched if told is None else told


def _card_of(agent: ImportedAgent, path: Path, game: str | None) -> TeacherCard:
    notes = "".join(f"; {note}" for note in agent.notes)
    steps = agent.training_steps
    trained = "an unknown number of" if steps is None else str(steps)
    return TeacherCard(
        name=f"{path.resolve().name}, Dopamine checkpoint {agent.number}",
        game=UNKNOWN_GAME if game is None else game,
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
