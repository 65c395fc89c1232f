"""A checkpoint in a bucket: its files, whether it is whole, and whether it can be fetched."""

from __future__ import annotations

import dataclasses

from services.library.fetch.bucket import StoredObject
from services.library.fetch.progress import binary_size
from services.shared.errors import UserError

MAX_FILES = 64
"""Of one checkpoint; real ones have up to 12."""

_REPLAY_COLUMNS = (
    "$store$_observation",
    "$store$_action",
    "$store$_reward",
    "$store$_terminal",
    "add_count",
    "invalid_range",
)
"""Without one of these the data can't be read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a checkpoint.

    Attributes:
        name: Its name on disk: a plain one of Dopamine's, never a path.
        stored: The object that holds it.
    """

    name: str
    stored: StoredObject

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stored.content.size


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteCheckpoint:
    """One checkpoint in a bucket.

    Attributes:
        number: Dopamine's iteration.
        weights: The agent itself.
        replay: Columns of its data.
    """

    number: int
    weights: tuple[RemoteFile, ...]
    replay: tuple[RemoteFile, ...]

    def files(self, *, with_replay: bool) -> tuple[RemoteFile, ...]:
        """The files to fetch, in this order: what makes a checkpoint count as whole comes last."""
        weights = tuple(sorted(self.weights, key=_completing_last))
        return (*self.replay, *weights) if with_replay else weights

    @property
    def lacking(self) -> str | None:
        """What of the agent itself is missing; None where it is whole."""
        names = {file.name for file in self.weights}
        if f"tf_ckpt-{self.number}.index" in names:
            return _lacking_shards(self.number, names)
        return None if f"ckpt.{self.number}" in names else f"ckpt.{self.number}"

    @property
    def lacking_replay(self) -> str | None:
        """What of the data is missing; None where it is whole."""
        names = {file.name for file in self.replay}
        wanted = [f"{column}_ckpt.{self.number}.gz" for column in _REPLAY_COLUMNS]
        return ", ".join(name for name in wanted if name not in names) or None


def total_size(files: tuple[RemoteFile, ...]) -> int:
    """Bytes of all files together."""
    return sum(file.size for file in files)


def check_fetchable(files: tuple[RemoteFile, ...], max_bytes: int) -> None:
    """Refuse what could not be verified, would not be what its name says, or is too large.

    Args:
        files: All files of a request.
        max_bytes: Most bytes together.

    Raises:
        UserError: Says which file, why, and what to do.
    """
    for file in files:
        if not file.stored.content.can_tell:
            raise UserError(
                f"{file.name}: the store gives no checksum, so nothing could verify it; ask "
                "another --endpoint"
            )
        if file.stored.is_packed and not file.name.endswith(".gz"):
            raise UserError(
                f"{file.name}: the store holds it gzipped, which a checkpoint is not; fetch it "
                "with another tool, unpack it, and give its path where a teacher is asked for"
            )
    total = total_size(files)
    if total > max_bytes:
        raise UserError(
            f"{len(files)} files of {binary_size(total)} together, the limit is "
            f"{binary_size(max_bytes)}; raise --max-gib if that is meant"
        )


def _completing_last(file: RemoteFile) -> tuple[int, str]:
    """TensorFlow's index and the sentinel say that the rest is there, so they come after it."""
    if file.name.startswith("sentinel_checkpoint_complete."):
        return 2, file.name
    return int(file.name.endswith(".index")), file.name


def _lacking_shards(number: int, names: set[str]) -> str | None:
    """What of a TensorFlow checkpoint's data is missing; each shard says how many there are."""
    stem = f"tf_ckpt-{number}.data-"
    shards = {name for name in names if name.startswith(stem)}
    counts = {int(name.rpartition("-")[2]) for name in shards}
    if len(counts) != 1 or not 0 < max(counts) <= MAX_FILES:
        return f"one set of {stem}*"
    count = max(counts)
    wanted = {f"{stem}{shard:05d}-of-{count:05d}" for shard in range(count)}
    return ", ".join(sorted(wanted - shards)) or None
