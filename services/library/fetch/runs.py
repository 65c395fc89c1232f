"""What a bucket holds of an agent: games, runs, and the checkpoints of a run."""

from __future__ import annotations

import re

from rrl_agents.environments.game_names import name_key, nearest_names
from services.library.fetch.agents import MAX_RUN, PublicAgent, read_file_name
from services.library.fetch.bucket import Bucket
from services.library.fetch.checkpoints import MAX_FILES, RemoteCheckpoint, RemoteFile
from services.shared.errors import UserError

_CHECKPOINTS = "checkpoints/"


def list_games(bucket: Bucket, agent: PublicAgent) -> tuple[str, ...]:
    """Games of an agent, as the bucket spells them; sorted."""
    return tuple(sorted(_folders(bucket, agent.prefix, "[A-Za-z0-9]{1,64}")))


def list_runs(bucket: Bucket, agent: PublicAgent, game: str) -> tuple[int, ...]:
    """Runs of a game; sorted."""
    folders = _folders(bucket, agent.game_folder(game), "[1-9][0-9]{0,4}")
    return tuple(sorted(run for run in map(int, folders) if run <= MAX_RUN))


def find_game(bucket: Bucket, agent: PublicAgent, game: str) -> str:
    """A game as the bucket spells it.

    Args:
        bucket: Where to look.
        agent: Whose games.
        game: In any spelling: "ms_pacman", "MsPacman".

    Raises:
        UserError: There is none; tells the nearest.
    """
    games = list_games(bucket, agent)
    for found in games:
        if name_key(found) == name_key(game):
            return found
    if not games:
        raise UserError(
            f"there is nothing of {agent.name} at {bucket.endpoint}/{bucket.name}/{agent.prefix}; "
            "check --agent and --endpoint"
        )
    raise UserError(
        f"there is no {agent.name} of {game[:80]!r}; the nearest names are "
        f"{nearest_names(game, games)}. --list shows all"
    )


def list_checkpoints(
    bucket: Bucket, agent: PublicAgent, game: str, run: int
) -> dict[int, RemoteCheckpoint]:
    """Checkpoints of a run, by number, in order.

    Args:
        bucket: Where they lie.
        agent: Whose.
        game: As the bucket spells it.
        run: Which run.

    Raises:
        UserError: The store answers nonsense.
    """
    folder = agent.run_folder(game, run)
    weights: dict[int, dict[str, RemoteFile]] = {}
    replay: dict[int, dict[str, RemoteFile]] = {}
    for stored in bucket.list_objects(folder).objects:
        if not stored.name.startswith(folder):
            continue
        name = stored.name[len(folder) :].removeprefix(_CHECKPOINTS)
        told = read_file_name(name)
        if told is None:
            continue
        files = (weights if told.kind == "weights" else replay).setdefault(told.checkpoint, {})
        if name in files or len(files) == MAX_FILES:
            raise UserError(
                f"{bucket.endpoint} is no store to be trusted: it lists {name} twice, or more than "
                f"{MAX_FILES} files of one checkpoint; check --endpoint"
            )
        files[name] = RemoteFile(name=name, stored=stored)
    return {
        number: RemoteCheckpoint(
            number=number,
            weights=tuple(weights[number].values()),
            replay=tuple(replay.get(number, {}).values()),
        )
        for number in sorted(weights)
    }


def _folders(bucket: Bucket, prefix: str, pattern: str) -> list[str]:
    """Names of the folders below a prefix; those that are none of ours are left out."""
    found = bucket.list_objects(prefix, folders=True).prefixes
    names = [name[len(prefix) :].rstrip("/") for name in found if name.startswith(prefix)]
    return [name for name in names if re.fullmatch(pattern, name)]
