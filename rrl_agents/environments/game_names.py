"""Names of games: "ms_pacman" (ale-py's ROMs) and "MsPacman" (papers) are the same game.

A Gymnasium environment is named by its id, "CartPole-v1", or by the function that makes it,
"my_package:make_env".
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path

from rrl_agents import plugins
from rrl_agents.environments.score_tables import random_returns

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
"""MinAtar's games, as its modules are called."""

MULTIPLAYER_ROMS = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""Games that need two or more players: with one, the emulator ends the whole process."""

_SEPARATORS = str.maketrans("", "", "_- ")
_MOST_NAMES = 5
# Gymnasium's own form of an id, with the package whose import registers it before a colon.
_GYMNASIUM_ID = re.compile(r"(?:[A-Za-z_][\w.]*:)?(?:[\w-]+/)?[\w.-]+")
_NOT_IN_FOLDERS = re.compile(r"[^A-Za-z0-9_.+-]+")


@functools.cache
def rom_names() -> tuple[str, ...]:
    """Names of all ROMs that one player can play, snake_case, in alphabetical order."""
    # Read from ale-py's own list: importing it takes half a second, and Gymnasium.
    package = importlib.util.find_spec("ale_py")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'ale_py'", name="ale_py")
    files = json.loads((Path(package.origin).parent / "roms" / "md5.json").read_text())
    roms = {file.removesuffix(".bin") for file in files}
    return tuple(sorted(roms - MULTIPLAYER_ROMS))


def known_game(game: str, games: Iterable[str]) -> str:
    """Find the game that a spelling means.

    Args:
        game: The game in snake_case, CamelCase, or with hyphens or blanks.
        games: Names of the games that one player can play.

    Raises:
        ValueError: When there is no such game; names the nearest ones.
    """
    name = find_name(game, games)
    if name is None:
        raise ValueError(
            f"no game for one player is called {game!r}; the nearest names are "
            f"{nearest_names(game, games)}"
        )
    return name


def find_name(game: str, names: Iterable[str]) -> str | None:
    """The name among `names` that is a spelling of `game`; None if there is none."""
    return next((name for name in names if name_key(name) == name_key(game)), None)


def paper_name(game: str) -> str:
    """A game's name in CamelCase, as papers and public buckets write it.

    Args:
        game: An Atari game or another task, in either spelling.
    """
    words = (word[:1].upper() + word[1:] for word in game.split("_"))
    return find_name(game, random_returns("atari")) or folder_name("".join(words))


def folder_name(game: str) -> str:
    """A game's name as a part of a path: "my_package:make_env" becomes "my_package-make_env"."""
    return _NOT_IN_FOLDERS.sub("-", game)


def gymnasium_task(game: str) -> str:
    """The name of a Gymnasium environment.

    Args:
        game: Its id, "package:id" of one that importing a package registers, or "package:function".

    Returns:
        The id without the package, or "package:function".

    Raises:
        ValueError: When it is neither. Making the environment checks whether it exists.
    """
    if plugins.is_reference(game):
        return game
    if _GYMNASIUM_ID.fullmatch(game) is None:
        raise ValueError(
            f"environment.game is {game!r}; give an id of Gymnasium like LunarLander-v3, "
            "package:id, or package:function of one that makes an environment"
        )
    return game.rpartition(":")[2]


def name_key(game: str) -> str:
    """A key that all spellings of a game share, e.g. "Ms-Pacman" and "ms pacman"."""
    return game.translate(_SEPARATORS).lower()


def nearest_names(game: str, names: Iterable[str]) -> str:
    """The names that look most like `game`, for an error message."""
    by_key = {name_key(name): name for name in names}
    keys = difflib.get_close_matches(name_key(game), by_key, n=_MOST_NAMES, cutoff=0.0)
    return ", ".join(by_key[key] for key in keys)
