"""A public agent into the cache: find it, check it, download what is missing, record it.

CACHE/checkpoints/<Game>/<agent>-run<k>/checkpoints/   the files, as Dopamine named them
CACHE/checkpoints/<Game>/<agent>-run<k>/source.json    written last: all that it names is there
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from pathlib import Path

from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY
from rrl_agents.environments.game_names import name_key
from services.library.fetch.agents import public_agent
from services.library.fetch.bucket import Bucket
from services.library.fetch.checkpoints import (
    RemoteCheckpoint,
    find_game,
    list_checkpoints,
)
from services.library.fetch.download import Files, download_all, has_size, missing_files, total_size
from services.library.fetch.progress import WorkProgress, binary_size
from services.library.fetch.source import (
    FetchedCheckpoint,
    FetchedFile,
    FetchedSource,
    read_source,
    write_source,
)
from services.shared.errors import UserError
from services.shared.locks import locked

_LOCK_FILE = ".fetch.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchRequest:
    """What is wanted; the flags of `rrl teacher fetch`.

    Attributes:
        game: The game, in any spelling; without it, only --list makes sense.
        run: Which of the agent's runs.
        checkpoint: Which checkpoint; the newest there is by default.
        replay: The agent's replay data, too: gigabytes.
        agent: dqn400 (Agarwal et al. 2022); Dopamine's lucid-dqn, lucid-c51, lucid-rainbow and
            lucid-iqn (TensorFlow), or jax-dqn, jax-dqn_adam_mse, jax-c51, jax-rainbow,
            jax-quantile and jax-implicit_quantile.
        verify: Read what is here again and compare it with the store's checksums.
        max_gib: Refuse when the files together are larger, in GiB.
    """

    game: str = ""
    run: int = 1
    checkpoint: int | None = None
    replay: bool = False
    agent: str = "dqn400"
    verify: bool = False
    max_gib: float = 32.0

    def __post_init__(self) -> None:
        """Refuse a limit that is none."""
        if not 0 < self.max_gib <= 2**20:
            raise UserError(f"--max-gib {self.max_gib}: give more than 0 and at most {2**20}")


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
    """What is wanted, where an earlier fetch brought all of it; the network is not asked.

    Args:
        request: What is wanted; without a number the store must be asked which is the newest.
        root: Folder of everything fetched.
    """
    if request.checkpoint is None or request.verify or not root.is_dir():
        return None
    for folder in root.iterdir():
        if name_key(folder.name) != name_key(request.game):
            continue
        name = public_agent(request.agent).directory(folder.name, request.run)
        source = read_source(root / name)
        here = None if source is None else source.checkpoint(request.checkpoint)
        if here is None or here.has_replay < request.replay:
            continue
        checkpoints = root / name / CHECKPOINTS_DIRECTORY
        if all(has_size(checkpoints / file.name, file.content) for file in here.files):
            return Fetched(name=name, directory=root / name, checkpoint=here, downloaded=0)
    return None


def fetch_agent(
    request: FetchRequest, bucket: Bucket, root: Path, progress: WorkProgress
) -> Fetched:
    """Bring an agent into the cache.

    Args:
        request: What is wanted.
        bucket: The agent's bucket.
        root: Folder of everything fetched; made if missing.
        progress: Shows the downloads.

    Returns:
        What is here now; all of it verified.

    Raises:
        UserError: It is not there, cannot be had, is too large, or is not what the store announced;
            says what to do.
    """
    agent = public_agent(request.agent)
    game = find_game(bucket, agent, request.game)
    remote = _choose(request, list_checkpoints(bucket, agent, game, request.run))
    name = agent.directory(game, request.run)
    directory = root / name
    nothing = _source(request, game, bucket)
    known = (read_source(directory) or nothing).checkpoint(remote.number)
    # Data of an earlier fetch stays part of it.
    had_replay = known is not None and known.has_replay and remote.has_replay
    files = remote.files(with_replay=request.replay or had_replay)
    # Before anything is made on the disk.
    _check_fetchable(files, request.max_gib)
    try:
        folder = directory / CHECKPOINTS_DIRECTORY
        folder.mkdir(parents=True, exist_ok=True)
        with locked(directory / _LOCK_FILE):
            # Of files that were verified when they came, the size is enough.
            verified = () if known is None or request.verify else known.files
            contents = {file.name: file.content for file in verified}
            missing = missing_files(folder, files, contents)
            download_all(bucket.http, missing, folder, progress)
            record = FetchedCheckpoint(
                number=remote.number,
                has_replay=request.replay or had_replay,
                fetched_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                endpoint=bucket.endpoint,
                files=_records(files),
            )
            source = read_source(directory) or nothing
            write_source(directory, source.with_checkpoint(record))
    except OSError as error:
        raise UserError(
            f"{directory}: {error.strerror or error}; fix that and run the same command again, "
            "which resumes from here"
        ) from error
    return Fetched(name=name, directory=directory, checkpoint=record, downloaded=len(missing))


def _choose(request: FetchRequest, checkpoints: dict[int, RemoteCheckpoint]) -> RemoteCheckpoint:
    """The checkpoint that is wanted.

    Raises:
        UserError: It is not there, or not whole; says which are.
    """
    whole = [
        number
        for number, remote in checkpoints.items()
        if remote.is_whole and remote.has_replay >= request.replay
    ]
    number = max(whole, default=None) if request.checkpoint is None else request.checkpoint
    if number in whole:
        return checkpoints[number]
    shown = ", ".join(map(str, whole)) if len(whole) <= 12 else f"{whole[0]} to {whole[-1]}"
    raise UserError(
        f"{request.agent} of {request.game}, run {request.run}: no whole checkpoint"
        f"{'' if number is None else f' {number}'}{' with replay data' * request.replay}; there: "
        f"{shown or 'none'}. --list shows all"
    )


def _check_fetchable(files: Files, max_gib: float) -> None:
    """Refuse what could not be verified, would not be what its name says, or is too large.

    Raises:
        UserError: Says which file, why, and what to do.
    """
    for name, remote in files.items():
        if remote.content.crc32c is None and remote.content.md5 is None:
            raise UserError(
                f"{name}: the store gives no checksum, so nothing could verify it; ask another "
                "--endpoint"
            )
        if remote.is_packed and not name.endswith(".gz"):
            raise UserError(
                f"{name}: the store holds it gzipped, which a checkpoint is not; fetch it with "
                "another tool, unpack it, and give its path where a teacher is asked for"
            )
    if (total := total_size(files)) > max_gib * 2**30:
        raise UserError(
            f"{len(files)} files of {binary_size(total)} together, the limit is {max_gib} GiB; "
            "raise --max-gib if that is meant"
        )


def _source(request: FetchRequest, game: str, bucket: Bucket) -> FetchedSource:
    """Where an agent comes from of which nothing is here yet."""
    return FetchedSource(
        agent=request.agent,
        game=game,
        run=request.run,
        bucket=bucket.name,
        prefix=public_agent(request.agent).run_folder(game, request.run),
    )


def _records(files: Files) -> tuple[FetchedFile, ...]:
    return tuple(
        FetchedFile(name=name, generation=remote.generation, content=remote.content)
        for name, remote in files.items()
    )
