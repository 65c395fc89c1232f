"""Names of games: "ms_pacman" (ale-py's ROMs) and "MsPacman" (papers) are the same game."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from rrl_agents.environments.score_tables import ATARI_RANDOM_RETURNS

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
"""MinAtar's games, as its modules are called."""

MULTIPLAYER_ROMS = ("combat", "joust", "maze_craze", "warlords")
"""Games that need two players or more: for one, the emulator ends the whole process."""

_SEPARATORS = str.maketrans("", "", "_- ")


def rom_name(game: str) -> str:
    """Name of a game's ROM in snake_case.

    Args:
        game: The game in snake_case, CamelCase, or with hyphens or blanks.

    Raises:
        ValueError: When there is no such game, naming the nearest ones, or it needs two players.
    """
    if find_name(game, MULTIPLAYER_ROMS) is not None:
        raise ValueError(
            f"{game!r} needs two players or more, and agents here play alone: choose another game "
            f"than {', '.join(MULTIPLAYER_ROMS)}"
        )
    roms = rom_names()
    rom = find_name(game, roms)
    if rom is None:
        nearest = nearest_names(game, roms)
        raise ValueError(f"no Atari game is called {game!r}; the nearest names are {nearest}")
    return rom


@functools.cache
def rom_names() -> tuple[str, ...]:
    """Names of all ROMs that one player can play, snake_case, in alphabetical order."""
    # Read from ale-py's own list: importing it takes half a second, and Gymnasium.
    package = importlib.util.find_spec("ale_py")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'ale_py'", name="ale_py")
    files = json.loads((Path(package.origin).parent / "roms" / "md5.json").read_text())
    roms = {file.removesuffix(".bin") for file in files}
    return tuple(sorted(roms - set(MULTIPLAYER_ROMS)))


def minatar_name(game: str) -> str:
    """Name of a MinAtar game in snake_case.

    Args:
        game: The game in snake_case, CamelCase, or with hyphens or blanks.

    Raises:
        ValueError: When there is no such game; names the five.
    """
    name = find_name(game, MINATAR_GAMES)
    if name is None:
        raise ValueError(
            f"no MinAtar game is called {game!r}; choose one of {', '.join(MINATAR_GAMES)}"
        )
    return name


def find_name(game: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is a spelling of `game`; None when there is none."""
    return next((name for name in names if name_key(name) == name_key(game)), None)


def paper_name(game: str) -> str:
    """A game's name in CamelCase, as papers and public buckets write it.

    Args:
        game: An Atari game or another task, in either spelling.
    """
    for name in ATARI_RANDOM_RETURNS:
        if name_key(name) == name_key(game):
            return name
    return "".join(part[:1].upper() + part[1:] for part in game.split("_"))


def name_key(game: str) -> str:
    """What all spellings of a game have in common: "Ms-Pacman" and "ms pacman" are it, too."""
    return game.translate(_SEPARATORS).lower()


def nearest_names(game: str, names: Iterable[str]) -> str:
    """Up to three names that look most like `game`, for an error message."""
    by_key = {name_key(name): name for name in names}
    keys = difflib.get_close_matches(name_key(game), by_key, n=3, cutoff=0.0)
    return ", ".join(by_key[key] for key in keys)
