"""`rrl teacher list`: the parameters are the flags."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from rrl_agents.checkpoints.card_markdown import one_line
from rrl_agents.checkpoints.fetched_source import fetched_game
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.environments.game_names import name_key
from services.cli.terminal import make_console
from services.library.catalogue import FETCHED, Entry, cache_directory, entries


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
    """What is shown of one teacher; `problem` says why the rest is empty."""

    name: str
    kind: str
    path: str
    game: str = ""
    algorithm: str = ""
    mean_return: float | None = None
    episodes: int | None = None
    problem: str = ""


def list_teachers(
    *, game: str | None = None, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
) -> None:
    """Show the teachers that can be given by name wherever a checkpoint is asked for.

    Bundled ones come with this package, fetched ones from `rrl teacher fetch`, imported ones from
    `rrl teacher import --name`, exported ones from `rrl teacher export`; all but the first lie in
    $RRL_CACHE, or ~/.cache/rrl.

    Args:
        game: Only this game.
        as_json: Print one JSON list instead of a table.
    """
    rows = [_row(entry) for entry in entries() if game is None or _plays(entry, game)]
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
        return
    if rows:
        make_console().print(_table(rows))
    else:
        print(f"no teacher{'' if game is None else f' of {game}'} here")
    print(f"\nall others than bundled ones lie in {cache_directory()}; get more: rrl teacher fetch")


def _plays(entry: Entry, game: str) -> bool:
    return name_key(entry.name.split("/")[0]) == name_key(game)


def _row(entry: Entry) -> _Row:
    row = _Row(name=entry.name, kind=entry.kind, path=str(entry.path))
    try:
        if entry.kind == FETCHED:
            return dataclasses.replace(row, game=fetched_game(entry.path) or "")
        card = read_card(entry.path / CARD_FILE)
    except ValueError as error:
        return dataclasses.replace(row, problem=str(error))
    score = card.score
    return dataclasses.replace(
        row,
        game=card.game,
        algorithm=card.algorithm,
        mean_return=None if score is None else score.mean_return,
        episodes=None if score is None else score.episodes,
    )


def _table(rows: list[_Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("name", "kind", "game", "algorithm", "mean return", "path"):
        table.add_column(column, justify="right" if column == "mean return" else "left")
    for row in rows:
        score = "" if row.mean_return is None else f"{row.mean_return:.2f} ({row.episodes} ep.)"
        cells = (row.name, row.kind, row.game, row.problem or row.algorithm, score, row.path)
        # A card's words are neither markup nor escapes of the terminal.
        table.add_row(*(escape(one_line(cell)) for cell in cells))
    return table
