"""`rrl teacher fetch`: the parameters, and those of the groups, are the flags."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from rrl_agents.checkpoints.find_checkpoint import (
    DopamineCheckpoint,
    checkpoints_directory,
    complete_checkpoints,
)
from rrl_agents.checkpoints.teacher_card import CARD_FILE, read_card
from rrl_agents.escaped_markdown import one_line
from services.cli.terminal import print_rows, showing_progress
from services.library.fetch import public_agents
from services.library.fetch.bucket import Bucket, parse_endpoint
from services.library.fetch.download import Files, total_size
from services.library.fetch.fetching import Fetched, FetchRequest, fetch_agent, fetched_before
from services.library.fetch.http_retries import Http
from services.library.fetch.progress import binary_size
from services.library.places import CACHE_VARIABLE, cache_directory
from services.library.teacher_references import open_reference
from services.shared.errors import UserError


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
def fetch(
    request: FetchRequest = FetchRequest(),  # noqa: B008 - frozen
    reference: Annotated[Positional[str | None], tyro.conf.arg(metavar="[URL]")] = None,
    *,
    show: Annotated[bool, tyro.conf.arg(name="list")] = False,
    cache: Path | None = None,
    endpoint: str | None = None,
) -> None:
    """Download a public agent, or the teacher at a URL.

    Example: `rrl teacher fetch --game Breakout` makes the name Breakout/dqn400-run1 available. An
    interrupted download resumes; complete files are not downloaded again.

    Args:
        request: Which public agent.
        reference: A teacher by URL instead of a public agent: hf://ORG/REPO[@REVISION][/FILE],
            gs://… or https://…. Commands that take a teacher also take such a URL directly.
        show: Only list what is available: the games, or with --game its runs and checkpoints.
        cache: Folder for downloads; by default $RRL_CACHE, or ~/.cache/rrl.
        endpoint: URL of a store to use instead of Google Cloud Storage; by default that of
            $STORAGE_EMULATOR_HOST, if set.
    """
    if reference is not None:
        others = {"list": show, "endpoint": endpoint is not None}
        for field in dataclasses.fields(request):
            others[field.name] = getattr(request, field.name) != field.default
        _fetch_reference(reference, cache, [name for name, is_given in others.items() if is_given])
        return
    agent = public_agents.public_agent(request.agent)
    bucket = Bucket(parse_endpoint(endpoint), agent.bucket, Http())
    if show:
        _list(bucket, agent, request.game)
        return
    if not request.game:
        raise UserError("--game is missing; --list shows the available games")
    store = cache or cache_directory()
    root = store / "checkpoints"
    fetched = fetched_before(request, root) or _download(request, bucket, root)
    _report(fetched)
    directory, number = checkpoints_directory(fetched.directory), fetched.checkpoint.number
    file = str(DopamineCheckpoint(directory=directory, number=number).file)
    try:
        # Roles that only read the store look for it there.
        open_reference(file, store=store / "imported")
    except UserError as error:
        print(error, file=sys.stderr)
        return
    called = fetched.name if cache is None else str(fetched.directory)
    is_newest = number >= max(complete_checkpoints(directory), default=number)
    reference = called if is_newest else file
    print(f"serve it: rrl teacher serve --checkpoint {shlex.quote(reference)}")


def _fetch_reference(reference: str, cache: Path | None, others: Sequence[str]) -> None:
    """Download and import the teacher at a URL; `others` are flags for public agents only."""
    if "://" not in reference:
        raise UserError(f"{reference}: give a URL, or --game of a public agent")
    if others:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise UserError(
            f"{flags}: only for public agents, not for a URL; leave out one or the other"
        )
    if cache is not None:
        os.environ[CACHE_VARIABLE] = str(cache)
    directory = open_reference(reference)
    assert isinstance(directory, Path), "a URL is not an entry point"
    card = read_card(directory / CARD_FILE)
    print(f"{card.name}: {one_line(card.algorithm)} on {one_line(card.game)}")
    print(f"verified: {directory}")
    called = reference if cache is None else str(directory)
    print(f"serve it: rrl teacher serve --checkpoint {shlex.quote(called)}")


def _download(request: FetchRequest, bucket: Bucket, root: Path) -> Fetched:
    try:
        with showing_progress() as progress:
            return fetch_agent(request, bucket, root, progress)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from here", file=sys.stderr)
        raise


def _report(fetched: Fetched) -> None:
    files = fetched.checkpoint.files
    size = binary_size(total_size(files))
    data = " with its replay data" if fetched.checkpoint.has_replay else ""
    news = f"{fetched.downloaded} of them new" if fetched.downloaded else "all here before"
    print(f"{fetched.name}: checkpoint {fetched.checkpoint.number}{data}")
    print(f"{len(files)} files of {size}, {news}, verified: {fetched.directory}")


def _list(bucket: Bucket, agent: public_agents.PublicAgent, game: str) -> None:
    if not game:
        games = public_agents.list_games(bucket, agent)
        print(textwrap.fill("  ".join(games), 80))
        print(f"\n{len(games)} games of {agent.name}; --game GAME --list shows its checkpoints")
        print(f"agents: {', '.join(public_agents.agent_names())}")
        return
    game = public_agents.find_game(bucket, agent, game)
    rows = []
    for run in public_agents.list_runs(bucket, agent, game):
        objects = bucket.objects(agent.run_folder(game, run))
        for number, remote in public_agents.checkpoints_of(objects).items():
            weights = _size(remote.weights, remote.is_whole)
            data = _size(remote.replay, remote.has_replay)
            rows.append([str(run), str(number), weights, data, agent.directory(game, run)])
    print_rows(rows, ["run", "checkpoint", "weights", "replay", "name"])


def _size(files: Files, is_whole: bool) -> str:
    return binary_size(total_size(files)) if is_whole else "not whole" if files else "-"
