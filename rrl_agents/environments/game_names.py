"""Names of Atari games: "ms_pacman" (ale-py's ROMs) and "MsPacman" (papers) are the same game."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rrl_agents.environments.score_tables import ATARI_RANDOM_RETURNS

_SEPARATORS = str.maketrans("", "", "_- ")


def rom_name(game: str) -> str:
    """Name of a game's ROM in snake_case.

    Args:
        game: The game in snake_case, CamelCase, or with hyphens or blanks.

    Raises:
        ValueError: When there is no such game; names the nearest ones.
    """
    # Here, as the rest is used where no emulator is installed.
    from ale_py import roms

    roms_by_key = {name_key(rom): rom for rom in roms.get_all_rom_ids()}
    rom = roms_by_key.get(name_key(game))
    if rom is None:
        nearest = nearest_names(game, roms_by_key.values())
        raise ValueError(f"no Atari game is called {game!r}; the nearest names are {nearest}")
    return rom


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
