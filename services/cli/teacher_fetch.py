"""`rrl teacher fetch`: the parameters, and those of the groups, are the flags."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import tyro

from rrl_agents.checkpoints.find_checkpoint import checkpoint_numbers, checkpoints_directory
from services.library.fetch.agents import PublicAgent, agent_names, public_agent
from services.library.fetch.bucket import PUBLIC_ENDPOINT, Bucket, parse_endpoint
from services.library.fetch.checkpoints import RemoteFile, total_size
from services.library.fetch.fetching import Fetched, FetchRequest, fetch_agent, fetched_before
from services.library.fetch.http import Http
from services.library.fetch.progress import binary_size, progress_on
from services.library.fetch.retries import Patience, RetryPolicy
from services.library.fetch.runs import (
    find_game,
    list_checkpoints,
    list_games,
    list_runs,
)
from services.library.places import cache_directory
from services.shared.errors import UserError

EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
"""Where Google's own clients look for another store, as HOST:PORT or URL."""

_GAME_COLUMNS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where from and where to.

    Attributes:
        cache: Folder for everything fetched; by default $RRL_CACHE, or ~/.cache/rrl.
        endpoint: Another store than Google's; $STORAGE_EMULATOR_HOST does the same.
        max_gib: Refuse when the files together are larger, in GiB.
    """

    cache: Path | None = None
    endpoint: str | None = None
    max_gib: float = 32.0


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
def fetch(
    *,
    game: str | None = None,
    run: int | None = None,
    checkpoint: int | None = None,
    replay: bool = False,
    agent: str = "dqn400",
    show: Annotated[bool, tyro.conf.arg(name="list")] = False,
    verify: bool = False,
    place: Place = Place(),  # noqa: B008 - frozen
) -> None:
    """Download a public agent, to be used by its name, e.g. Breakout/dqn400-run1.

    A download that was interrupted goes on where it was; what is here is not downloaded again.

    Args:
        game: The game, in any spelling.
        run: Which of the agent's runs; 1 by default.
        checkpoint: Which checkpoint; the newest there is by default.
        replay: The agent's replay data, too: gigabytes.
        agent: dqn400 (Agarwal et al. 2022); Dopamine's lucid-dqn, lucid-c51, lucid-rainbow and
            lucid-iqn (TensorFlow), or jax-dqn, jax-dqn_adam_mse, jax-c51, jax-rainbow,
            jax-quantile and jax-implicit_quantile.
        show: Only show what there is: games; with --game its runs and checkpoints.
        verify: Read what is here again and compare it with the store's checksums.
        place: Where from and where to.
    """
    chosen = public_agent(agent)
    endpoint = _endpoint(place.endpoint, os.environ)
    if show:
        _list(_bucket(endpoint, chosen, _tell), chosen, game, run)
        return
    if game is None:
        raise UserError("--game is missing; --list shows the games there are")
    if not 0 < place.max_gib <= 2**20:
        raise UserError(f"--max-gib {place.max_gib}: give more than 0 and at most {2**20}")
    request = FetchRequest(
        agent=chosen,
        game=game,
        run=1 if run is None else run,
        checkpoint=checkpoint,
        replay=replay,
        verify=verify,
        max_bytes=int(place.max_gib * 2**30),
    )
    cache = cache_directory() if place.cache is None else place.cache
    root = cache / "checkpoints"
    fetched = fetched_before(request, root) or _download(request, endpoint, root)
    _report(fetched, fetched.name if place.cache is None else str(fetched.directory))


def _download(request: FetchRequest, endpoint: str, root: Path) -> Fetched:
    try:
        with progress_on(sys.stderr) as progress:
            bucket = _bucket(endpoint, request.agent, progress.tell)
            return fetch_agent(request, bucket, root, progress)
    except KeyboardInterrupt:
        _tell("stopped; the same command goes on from here")
        raise


def _bucket(endpoint: str, agent: PublicAgent, tell: Callable[[str], None]) -> Bucket:
    return Bucket(endpoint, agent.bucket, Http(), Patience(RetryPolicy(), tell))


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _report(fetched: Fetched, called: str) -> None:
    files = fetched.checkpoint.files
    size = binary_size(sum(file.content.size for file in files))
    data = " with its replay data" if fetched.checkpoint.has_replay else ""
    news = f"{fetched.downloaded} of them new" if fetched.downloaded else "all here before"
    print(f"{fetched.name}: checkpoint {fetched.checkpoint.number}{data}")
    print(f"{len(files)} files of {size}, {news}, verified: {fetched.directory}")
    print(f"serve it: rrl teacher serve --checkpoint {shlex.quote(called)}{_number(fetched)}")


def _number(fetched: Fetched) -> str:
    """The flag that a checkpoint needs where a newer one lies beside it."""
    number = fetched.checkpoint.number
    newest = max(checkpoint_numbers(checkpoints_directory(fetched.directory)).complete, default=-1)
    return f" --checkpoint-number {number}" if number < newest else ""


def _list(bucket: Bucket, agent: PublicAgent, game: str | None, run: int | None) -> None:
    """Row by row, as the store tells: a game takes a request for each run."""
    if game is None:
        _list_games(list_games(bucket, agent), agent)
        return
    game = find_game(bucket, agent, game)
    runs = list_runs(bucket, agent, game) if run is None else (run,)
    row = "{:>5} {:>10}  {:>10}  {:>10}  {}".format
    print(row("run", "checkpoint", "weights", "replay", "name"))
    for number in runs:
        for remote in list_checkpoints(bucket, agent, game, number).values():
            weights = _size(remote.weights, remote.lacking)
            data = _size(remote.replay, remote.lacking_replay)
            name = agent.directory(game, number)
            print(row(number, remote.number, weights, data, name), flush=True)


def _size(files: tuple[RemoteFile, ...], lacking: str | None) -> str:
    if lacking is not None:
        return "not whole" if files else "-"
    return binary_size(total_size(files))


def _list_games(games: tuple[str, ...], agent: PublicAgent) -> None:
    if not games:
        raise UserError(f"there is nothing of {agent.name}; agents: {', '.join(agent_names())}")
    width = 2 + max(map(len, games))
    rows = -(-len(games) // _GAME_COLUMNS)
    for row in range(rows):
        print("".join(f"{name:<{width}}" for name in games[row::rows]).rstrip())
    print(f"\n{len(games)} games of {agent.name}; --game GAME --list shows its checkpoints")
    print(f"agents: {', '.join(agent_names())}")


def _endpoint(given: str | None, environment: Mapping[str, str]) -> str:
    return parse_endpoint(given or environment.get(EMULATOR_VARIABLE) or PUBLIC_ENDPOINT)
