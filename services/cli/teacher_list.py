"""`rrl teacher list`: the parameters are the flags."""

from __future__ import annotations

import dataclasses
from typing import Any

from rrl_agents.checkpoints.fetched_source import fetched_game
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.environments.game_names import name_key
from services.cli.terminal import print_json, print_rows
from services.library.catalogue import (
    FETCHED,
    PACKAGED,
    PACKAGED_TEACHERS,
    Entry,
    entries,
    installed_teachers,
)
from services.library.places import cache_directory


def list_teachers(*, game: str | None = None, json: bool = False) -> None:
    """List the teachers that can be given by name wherever a command expects a checkpoint.

    Bundled teachers ship with this package; fetched ones come from `rrl teacher fetch`, imported
    ones from `rrl teacher import --name`, exported ones from `rrl teacher export`. The last three
    are stored in $RRL_CACHE, or ~/.cache/rrl. Packaged teachers are files of other packages,
    imported on first use; installed ones are code, in this package or in others.

    Args:
        game: List only teachers of this game.
        json: Print one JSON list instead of a table.
    """
    wanted = [entry for entry in entries() if game is None or _plays(entry, game)]
    facts = [_facts(entry) for entry in wanted]
    if game is None:
        facts += [_declared(name, factory) for name, factory in installed_teachers().items()]
    if json:
        print_json(facts)
        return
    titles = ("name", "kind", "game", "algorithm", "mean return", "path")
    if facts:
        print_rows(map(_row, facts), titles)
    else:
        print(f"no teacher{'' if game is None else f' of {game}'} here")
    print(
        f"\nfetched, imported and exported ones are in {cache_directory()}; get more: rrl teacher "
        "fetch"
    )


def _plays(entry: Entry, game: str) -> bool:
    return name_key(entry.name.split("/")[0]) == name_key(game)


def _declared(name: str, factory: str) -> dict[str, Any]:
    """The facts about an installed package's policy; nothing is imported."""
    unknown = {"game": "", "algorithm": "a Python policy", "problem": ""}
    scores = {"mean_return": None, "episodes": None}
    return {"name": name, "kind": "installed", "path": factory, **unknown, **scores}


def _facts(entry: Entry) -> dict[str, Any]:
    """The facts about a teacher; "problem" says why they are missing."""
    facts = {
        **dataclasses.asdict(entry),
        "path": str(entry.path),
        **dict.fromkeys(("game", "algorithm", "problem"), ""),
        **dict.fromkeys(("mean_return", "episodes")),
    }
    try:
        if entry.kind == FETCHED:
            return facts | {"game": fetched_game(entry.path) or ""}
        if entry.kind == PACKAGED:
            teacher = PACKAGED_TEACHERS[entry.name]
            return facts | {"game": teacher.game, "algorithm": teacher.algorithm}
        card = read_card(entry.path / CARD_FILE)
    except ValueError as error:
        return facts | {"problem": str(error)}
    facts |= {"game": card.game, "algorithm": card.algorithm}
    if card.score is not None:
        facts |= {"mean_return": card.score.mean_return, "episodes": card.score.episodes}
    return facts


def _row(facts: dict[str, Any]) -> list[str]:
    played = facts["mean_return"] is not None
    score = f"{facts['mean_return']:.2f} ({facts['episodes']} ep.)" if played else ""
    about = facts["problem"] or facts["algorithm"]
    return [facts["name"], facts["kind"], facts["game"], about, score, facts["path"]]
