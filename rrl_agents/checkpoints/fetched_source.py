"""The source of a fetched agent: `source.json` in its directory, which has the game.

The fetcher writes it last; a Dopamine checkpoint itself does not record its game.
"""

from __future__ import annotations

from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.sealed_json import unseal

SOURCE_FILE = "source.json"
MAX_SOURCE_BYTES = 1 << 20


def fetched_game(agent: Path) -> str | None:
    """The game of a fetched agent.

    Args:
        agent: The agent's directory.

    Returns:
        The game; None without a source.

    Raises:
        ValueError: The source cannot be read; says what to do.
    """
    source = agent / SOURCE_FILE
    if not source.is_file():
        return None
    try:
        content = read_bounded(source, MAX_SOURCE_BYTES, what="a fetched agent's source")
        game = unseal(content.decode())["game"]
        if not isinstance(game, str) or not game.isalnum() or len(game) > 100:
            raise ValueError("its game is not a name")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{source}: says no game ({error}); fetch the agent again, or delete the file and give "
            "the game yourself"
        ) from error
    return game
