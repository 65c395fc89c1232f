"""Fetches a public agent into the cache: find, check, download what is missing, record.

CACHE/checkpoints/<Game>/<agent>-run<k>/checkpoints/   the files, as Dopamine named them
CACHE/checkpoints/<Game>/<agent>-run<k>/source.json    written last, when everything it names is
present
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
    """A checkpoint in the cache.

    Attributes:
        number: Dopamine's iteration.
        has_replay: Whether its replay data is in the cache, too.
        fetched_at: When it was complete, ISO 8601 in UTC.
        files: Its files as verified, by name in the `checkpoints` directory.
    """

    number: int
    has_replay: bool
    fetched_at: str
    files: Files

    def __post_init__(self) -> None:
        """Refuse names that Dopamine does not write, which could be paths."""
        for name in self.files:
            if checkpoint_number(name) is None:
                raise ValueError(f"{name[:80]!r} is not the name of a checkpoint's file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """The source of a fetched agent.

    Attributes:
        agent: Name of the public agent.
        game: The game, as spelled in the bucket.
        run: Number of the run.
        checkpoints: The checkpoints in the cache.
    """

    agent: str
    game: str
    run: int
    checkpoints: tuple[FetchedCheckpoint, ...] = ()

    def checkpoint(self, number: int) -> FetchedCheckpoint | None:
        """A checkpoint in the cache, or None."""
        return next((here for here in self.checkpoints if here.number == number), None)

    def with_checkpoint(self, checkpoint: FetchedCheckpoint) -> FetchedSource:
        """The source with a checkpoint added or replaced."""
        by_number = {here.number: here for here in (*self.checkpoints, checkpoint)}
        ordered = tuple(by_number[number] for number in sorted(by_number))
        return dataclasses.replace(self, checkpoints=ordered)


def read_source(directory: Path) -> FetchedSource | None:
    """Read an agent's `source.json`; None if there is none.

    Raises:
        UserError: It cannot be read.
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
    """Write an agent's `source.json`, atomically."""
    write_whole(directory / SOURCE_FILE, seal(encode(source), indent=1) + "\n")


_LOCK_FILE = ".fetch.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchRequest:
    """The agent to fetch; the flags of `rrl teacher fetch`.

    Attributes:
        game: The game, in snake_case or CamelCase; required unless you give --list.
        run: Number of the training run, of the several that were published for each game.
        checkpoint: Number of the checkpoint; the newest by default.
        replay: Also fetch the agent's replay data, which takes gigabytes.
        agent: The kind of agent: dqn400 (Agarwal et al. 2022); Dopamine's lucid-dqn, lucid-c51,
            lucid-rainbow and lucid-iqn (TensorFlow), or jax-dqn, jax-dqn_adam_mse, jax-c51,
            jax-rainbow, jax-quantile and jax-implicit_quantile.
        verify: Reread existing files and compare them with the store's checksums.
        max_gib: Largest total download, in GiB; larger ones are refused.
    """

    game: str = ""
    run: int = 1
    checkpoint: int | None = None
    replay: bool = False
    agent: str = "dqn400"
    verify: bool = False
    max_gib: float = 32.0

    def __post_init__(self) -> None:
        """Refuse an invalid limit."""
        if not 0 < self.max_gib <= 2**20:
            raise UserError(f"--max-gib {self.max_gib}: give more than 0 and at most {2**20}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """A fetched agent.

    Attributes:
        name: Its name in the catalogue, `<Game>/<agent>-run<k>`.
        directory: Its directory.
        checkpoint: Record of its checkpoint.
        downloaded: Files that had to be downloaded.
    """

    name: str
    directory: Path
    checkpoint: FetchedCheckpoint
    downloaded: int


def fetched_before(request: FetchRequest, root: Path) -> Fetched | None:
    """The requested agent if an earlier fetch has all of it; uses no network.

    Args:
        request: The request; without a number, only the store knows which is the newest.
        root: Folder of all downloads.
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
    """Fetch an agent into the cache.

    Args:
        request: The request.
        bucket: The agent's bucket.
        root: Folder of all downloads; created if missing.
        progress: Shows the downloads.

    Returns:
        The fetched agent, verified.

    Raises:
        UserError: It does not exist, is unavailable or too large, or differs from what the store
            announced.
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
    # Keep replay data of an earlier fetch.
    with_replay = request.replay or (known is not None and known.has_replay and remote.has_replay)
    files = remote.files if with_replay else remote.weights
    _check_fetchable(files, request.max_gib)
    try:
        folder = directory / CHECKPOINTS_DIRECTORY
        folder.mkdir(parents=True, exist_ok=True)
        with locked(directory / _LOCK_FILE):
            # For files verified on arrival, the size is enough.
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
    """Refuse files that cannot be verified, are compressed, or are too large.

    Raises:
        UserError: A file is refused; says why.
    """
    for name, remote in files.items():
        if remote.content.crc32c is None and remote.content.md5 is None:
            raise UserError(
                f"{name}: the store gives no checksum, so it cannot be verified; use another "
                "--endpoint"
            )
    check_bounds(files, int(max_gib * 2**30), "raise --max-gib to allow it")
