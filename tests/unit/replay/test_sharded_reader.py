"""In which order shards are asked; the readers' own work is tested against a server."""

from __future__ import annotations

from typing import cast

import pytest

from services.replay.failures import ReplayTimeout
from services.replay.reader import ReplayReader, ShardedReader
from services.replay.samples import Sample


class Reader:
    """Gives batches, or none."""

    def __init__(self) -> None:
        self.is_silent = False
        self.closed = 0

    def sample_mixed(self, teacher_share: float, timeout_seconds: float, updates: range) -> Sample:
        if self.is_silent:
            raise ReplayTimeout("no batch in time")
        return cast("Sample", self)

    def close(self) -> None:
        self.closed += 1


def sharded(*shards: Reader) -> ShardedReader:
    return ShardedReader([cast("ReplayReader", shard) for shard in shards])


def test_shards_take_turns_and_one_without_a_batch_is_skipped() -> None:
    shards = [Reader(), Reader()]
    reader = sharded(*shards)
    assert [reader.sample_mixed(0.5, 1.0, range(1)).shard for _ in range(4)] == [0, 1, 0, 1]
    shards[1].is_silent = True
    assert [reader.sample_mixed(0.5, 1.0, range(1)).shard for _ in range(3)] == [0, 0, 0]
    shards[1].is_silent = False
    assert {reader.sample_mixed(0.5, 1.0, range(1)).shard for _ in range(2)} == {0, 1}


def test_no_batch_in_time_is_a_timeout_and_closing_disconnects_all_shards() -> None:
    shards = [Reader(), Reader()]
    for shard in shards:
        shard.is_silent = True
    reader = sharded(*shards)
    with pytest.raises(ReplayTimeout):
        reader.sample_mixed(0.5, 0.05, range(1))
    reader.close()
    assert [shard.closed for shard in shards] == [1, 1]
