"""Where a fetched agent came from: `source.json` in its directory, which knows the game.

Written by the fetcher, last of all; a Dopamine checkpoint itself does not say its game.
"""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import unseal

SOURCE_FILE = "source.json"
MAX_SOURCE_BYTES = 1 << 20


def fetched_game(path: Path) -> str | None:
    """The game of a fetched agent.

    Args:
        path: The agent's directory, its `checkpoints` directory, or a file in that.

    Returns:
        The game, None where no source is known.

    Raises:
        ValueError: There is a source that cannot be read; says what to do.
    """
    # Absolute, as a path may be given from inside the agent's directory.
    path = path.absolute()
    for directory in (path, *list(path.parents)[:2]):
        source = directory / SOURCE_FILE
        if source.is_file():
            return _game(source)
    return None


def _game(source: Path) -> str:
    try:
        content = unseal(
            read_bounded(source, MAX_SOURCE_BYTES, what="a fetched agent's source").decode()
        )
        game = content["game"]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{source}: says no game ({error}); fetch the agent again, or delete the file and give "
            "the game yourself"
        ) from error
    if not isinstance(game, str) or not game.isalnum() or len(game) > 100:
        raise ValueError(f"{source}: the game is no name; fetch the agent again")
    return game
