"""`source.json` of a fetched agent: where it came from, and what was verified when it came.

Written after the files it tells of, so a file told of here was whole and had these checksums.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rrl_agents.checkpoints.bounded_files import read_bounded
from rrl_agents.checkpoints.fetched_source import MAX_SOURCE_BYTES, SOURCE_FILE
from rrl_agents.checkpoints.sealed_json import decode_sealed, seal
from rrl_agents.durable_files import write_whole
from rrl_agents.typed_json import encode
from services.library.fetch.agents import read_file_name
from services.library.fetch.checksums import Checksums
from services.shared.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """A file that was verified.

    Attributes:
        name: Its name in the `checkpoints` directory.
        generation: Which version of the object it is.
        content: Size and the store's checksums.
    """

    name: str
    generation: str
    content: Checksums

    def __post_init__(self) -> None:
        """Refuse a name that Dopamine does not write: it could be a path."""
        if read_file_name(self.name) is None:
            raise ValueError(f"{self.name[:80]!r} is no name of a checkpoint's file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedCheckpoint:
    """A checkpoint that is here.

    Attributes:
        number: Dopamine's iteration.
        has_replay: Whether its data is here, too.
        fetched_at: When it was whole, ISO 8601 in UTC.
        endpoint: The store it came from.
        files: All of its files.
    """

    number: int
    has_replay: bool
    fetched_at: str
    endpoint: str
    files: tuple[FetchedFile, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """Where an agent came from.

    Attributes:
        agent: Name of the public agent.
        game: As the bucket spells it.
        run: Which run.
        bucket: The bucket.
        prefix: The run's folder in it.
        checkpoints: What is here.
    """

    agent: str
    game: str
    run: int
    bucket: str
    prefix: str
    checkpoints: tuple[FetchedCheckpoint, ...] = ()

    def checkpoint(self, number: int) -> FetchedCheckpoint | None:
        """A checkpoint that is here, or None."""
        return next((here for here in self.checkpoints if here.number == number), None)

    def with_checkpoint(self, checkpoint: FetchedCheckpoint) -> FetchedSource:
        """The same with a checkpoint put in, in place of one of its number."""
        kept = [here for here in self.checkpoints if here.number != checkpoint.number]
        ordered = sorted([*kept, checkpoint], key=lambda here: here.number)
        return dataclasses.replace(self, checkpoints=tuple(ordered))


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
