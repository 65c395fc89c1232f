"""A public agent into the cache: find it, check it, download what is not here, write it down.

CACHE/checkpoints/<Game>/<agent>-run<k>/checkpoints/   the files, as Dopamine named them
CACHE/checkpoints/<Game>/<agent>-run<k>/source.json    written last: who reads it finds all
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY
from rrl_agents.environments.game_names import name_key
from services.library.fetch.agents import MAX_CHECKPOINT, MAX_RUN, PublicAgent
from services.library.fetch.bucket import Bucket
from services.library.fetch.checkpoints import RemoteCheckpoint, check_fetchable
from services.library.fetch.downloads import Downloads
from services.library.fetch.progress import FetchProgress
from services.library.fetch.runs import find_game, list_checkpoints
from services.library.fetch.source import (
    FetchedCheckpoint,
    FetchedSource,
    read_source,
    write_source,
)
from services.shared.errors import UserError
from services.shared.locks import locked

_LOCK_FILE = ".fetch.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchRequest:
    """What is wanted.

    Attributes:
        agent: Which public agent.
        game: In any spelling.
        run: Which of its runs, from 1.
        checkpoint: Dopamine's iteration; None for the newest there is.
        replay: The data, too.
        verify: Read files that are here again and compare them with the store's checksums.
        max_bytes: Refuse when all files together are larger.
    """

    agent: PublicAgent
    game: str
    run: int
    checkpoint: int | None = None
    replay: bool = False
    verify: bool = False
    max_bytes: int

    def __post_init__(self) -> None:
        """Refuse numbers that no run and no checkpoint has."""
        if not 1 <= self.run <= MAX_RUN:
            raise UserError(f"--run {self.run}: give 1 to {MAX_RUN}; most agents have 5 runs")
        if self.checkpoint is not None and not 0 <= self.checkpoint <= MAX_CHECKPOINT:
            raise UserError(f"--checkpoint {self.checkpoint}: give 0 to {MAX_CHECKPOINT}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """What is here now.

    Attributes:
        name: In the catalogue, `<Game>/<agent>-run<k>`.
        directory: Where.
        checkpoint: Its record.
        downloaded: Files that had to be downloaded.
    """

    name: str
    directory: Path
    checkpoint: FetchedCheckpoint
    downloaded: int


def fetched_before(request: FetchRequest, root: Path) -> Fetched | None:
    """What is wanted, where an earlier fetch brought all of it; nothing is asked of the network.

    Args:
        request: What is wanted; without a number the store must be asked which is the newest.
        root: Folder of everything fetched.
    """
    if request.checkpoint is None or request.verify or not root.is_dir():
        return None
    for folder in root.iterdir():
        if name_key(folder.name) != name_key(request.game):
            continue
        directory = root / request.agent.directory(folder.name, request.run)
        source = read_source(directory)
        here = None if source is None else source.checkpoint(request.checkpoint)
        if here is not None and _holds(directory, here) and here.has_replay >= request.replay:
            name = directory.relative_to(root).as_posix()
            return Fetched(name=name, directory=directory, checkpoint=here, downloaded=0)
    return None


def fetch_agent(
    request: FetchRequest, bucket: Bucket, root: Path, progress: FetchProgress
) -> Fetched:
    """Bring an agent into the cache.

    Args:
        request: What is wanted.
        bucket: The agent's bucket.
        root: Folder of everything fetched; made if missing.
        progress: Told what happens.

    Returns:
        What is here now; all of it verified.

    Raises:
        UserError: It is not there, can't be had, is too large, or is not what the store announced;
            says what to do.
    """
    game = find_game(bucket, request.agent, request.game)
    remote = _choose(request, list_checkpoints(bucket, request.agent, game, request.run))
    name = request.agent.directory(game, request.run)
    directory = root / name
    with_replay = request.replay or _has_replay(directory, remote)
    files = remote.files(with_replay=with_replay)
    # Before anything is made on the disk.
    check_fetchable(files, request.max_bytes)
    downloads = Downloads(bucket, directory / CHECKPOINTS_DIRECTORY, progress)
    try:
        (directory / CHECKPOINTS_DIRECTORY).mkdir(parents=True, exist_ok=True)
        with locked(directory / _LOCK_FILE):
            source = read_source(directory) or _new_source(request, game, bucket)
            known = source.checkpoint(remote.number)
            missing = downloads.missing(files, known, verify=request.verify)
            checkpoint = downloads.download(remote, missing, with_replay=with_replay)
            write_source(directory, source.with_checkpoint(checkpoint))
    except OSError as error:
        raise UserError(
            f"{directory}: {error.strerror or error}; mend that and run the same command again, "
            "which goes on from here"
        ) from error
    return Fetched(
        name=name, directory=directory, checkpoint=checkpoint, downloaded=downloads.downloaded
    )


def _choose(request: FetchRequest, checkpoints: dict[int, RemoteCheckpoint]) -> RemoteCheckpoint:
    """The checkpoint that is wanted, whole.

    Raises:
        UserError: It is not there or not whole; tells what is.
    """
    whole = [number for number, remote in checkpoints.items() if remote.lacking is None]
    number = request.checkpoint
    if number is None and whole:
        number = whole[-1]
    if number is None or number not in checkpoints:
        what = "" if number is None else f" checkpoint {number}"
        there = f"there: {_shown(whole)}" if whole else "that run has none; --list shows all"
        raise UserError(
            f"{request.agent.name} of {request.game}, run {request.run}: no{what}; {there}"
        )
    remote = checkpoints[number]
    if remote.lacking is not None:
        raise UserError(f"checkpoint {number} is not whole in the bucket: no {remote.lacking}")
    if request.replay and remote.lacking_replay is not None:
        raise UserError(
            f"checkpoint {number} has no whole replay data in the bucket: no "
            f"{remote.lacking_replay}; leave out --replay"
        )
    return remote


def _has_replay(directory: Path, remote: RemoteCheckpoint) -> bool:
    """Whether the checkpoint's data came with an earlier fetch: it stays part of it."""
    source = read_source(directory)
    known = None if source is None else source.checkpoint(remote.number)
    return known is not None and known.has_replay and remote.lacking_replay is None


def _holds(directory: Path, checkpoint: FetchedCheckpoint) -> bool:
    files = directory / CHECKPOINTS_DIRECTORY
    return all(
        (files / file.name).is_file() and (files / file.name).stat().st_size == file.content.size
        for file in checkpoint.files
    )


def _new_source(request: FetchRequest, game: str, bucket: Bucket) -> FetchedSource:
    return FetchedSource(
        agent=request.agent.name,
        game=game,
        run=request.run,
        bucket=bucket.name,
        prefix=request.agent.run_folder(game, request.run),
    )


def _shown(numbers: list[int]) -> str:
    if len(numbers) > 12:
        return f"{numbers[0]} to {numbers[-1]}, {len(numbers)} of them"
    return ", ".join(map(str, numbers))
