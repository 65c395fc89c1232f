"""A public agent into the cache: find it, check it, download what is missing, record it.

CACHE/checkpoints/<Game>/<agent>-run<k>/checkpoints/   the files, as Dopamine named them
CACHE/checkpoints/<Game>/<agent>-run<k>/source.json    written last: all that it names is there
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.fetched_source import MAX_SOURCE_BYTES, SOURCE_FILE
from rrl_agents.checkpoints.find_checkpoint import CHECKPOINTS_DIRECTORY
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.durable_files import write_whole
from rrl_agents.environments.game_names import name_key
from rrl_agents.typed_json import encode
from services.library.fetch.bucket import Bucket
from services.library.fetch.download import (
    Files,
    check_bounds,
    download_missing,
    has_size,
)
from services.library.fetch.progress import WorkProgress
from services.library.fetch.public_agents import (
    checkpoint_number,
    checkpoints_of,
    choose,
    find_game,
    public_agent,
)
from services.shared.errors import UserError
from services.shared.locks import locked


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedCheckpoint:
    """A checkpoint that is here.

    Attributes:
        number: Dopamine's iteration.
        has_replay: Whether its data is here, too.
        fetched_at: When it was whole, ISO 8601 in UTC.
        files: All of its files, as they were when they were verified; by their names in the
            `checkpoints` directory.
    """

    number: int
    has_replay: bool
    fetched_at: str
    files: Files

    def __post_init__(self) -> None:
        """Refuse a name that Dopamine does not write: it could be a path."""
        for name in self.files:
            if checkpoint_number(name) is None:
                raise ValueError(f"{name[:80]!r} is no name of a checkpoint's file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """Where an agent came from.

    Attributes:
        agent: Name of the public agent.
        game: As the bucket spells it.
        run: Which run.
        checkpoints: What is here.
    """

    agent: str
    game: str
    run: int
    checkpoints: tuple[FetchedCheckpoint, ...] = ()

    def checkpoint(self, number: int) -> FetchedCheckpoint | None:
        """A checkpoint that is here, or None."""
        return next((here for here in self.checkpoints if here.number == number), None)

    def with_checkpoint(self, checkpoint: FetchedCheckpoint) -> FetchedSource:
        """The same with a checkpoint put in, in place of one of its number."""
        by_number = {here.number: here for here in (*self.checkpoints, checkpoint)}
        ordered = tuple(by_number[number] for number in sorted(by_number))
        return dataclasses.replace(self, checkpoints=ordered)


def read_source(directory: Path) -> FetchedSource | None:
    """Read an agent's `source.json`; None where there is none.

    Raises:
        UserError: It can't be read; says what to do.
    """
    path = directory / SOURCE_FILE
    if not path.exists():
        return None
    try:
        text = read_bounded(path, MAX_SOURCE_BYTES, what="a fetched agent's source")
        return decode_sealed(FetchedSource, text.decode(), str(path))
    except ValueError as error:
        raise UserError(f"{error}; delete {path} and fetch again: whole files stay") from error


def write_source(directory: Path, source: FetchedSource) -> None:
    """Write an agent's `source.json`, whole or not at all."""
    write_whole(directory / SOURCE_FILE, seal(encode(source), indent=1) + "\n")


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
    if request.checkpoint is None or request.verify:
        return None
    agent = public_agent(request.agent)
    for directory in root.glob(agent.directory("*", request.run)):
        game = directory.parent.name
        source = read_source(directory) if name_key(game) == name_key(request.game) else None
        here = None if source is None else source.checkpoint(request.checkpoint)
        if here is None or here.has_replay < request.replay:
            continue
        files = directory / CHECKPOINTS_DIRECTORY
        if all(has_size(files / file, remote.content) for file, remote in here.files.items()):
            name = agent.directory(game, request.run)
            return Fetched(name=name, directory=directory, checkpoint=here, downloaded=0)
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
    remote = choose(
        checkpoints_of(bucket.objects(agent.run_folder(game, request.run))),
        request.checkpoint,
        f"{request.agent} of {request.game}, run {request.run}",
        with_replay=request.replay,
    )
    name = agent.directory(game, request.run)
    directory = root / name
    nothing = FetchedSource(agent=request.agent, game=game, run=request.run)
    known = (read_source(directory) or nothing).checkpoint(remote.number)
    # Data of an earlier fetch stays part of it.
    with_replay = request.replay or (known is not None and known.has_replay and remote.has_replay)
    files = remote.files if with_replay else remote.weights
    _check_fetchable(files, request.max_gib)
    try:
        folder = directory / CHECKPOINTS_DIRECTORY
        folder.mkdir(parents=True, exist_ok=True)
        with locked(directory / _LOCK_FILE):
            # Of files that were verified when they came, the size is enough.
            verified = {} if known is None or request.verify else known.files
            downloaded = download_missing(bucket.http, files, folder, progress, verified)
            record = FetchedCheckpoint(
                number=remote.number,
                has_replay=with_replay,
                fetched_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                files=files,
            )
            source = read_source(directory) or nothing
            write_source(directory, source.with_checkpoint(record))
    except OSError as error:
        raise UserError(
            f"{directory}: {error.strerror or error}; fix that and run the same command again, "
            "which resumes from here"
        ) from error
    return Fetched(name=name, directory=directory, checkpoint=record, downloaded=downloaded)


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
    check_bounds(files, int(max_gib * 2**30), "raise --max-gib if that is meant")
