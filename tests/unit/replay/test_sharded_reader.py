"""Which shards are silent; the readers' own work is tested against a server."""

from __future__ import annotations

import time
from typing import cast

import pytest

from services.replay.connection import ReplayTimeout
from services.replay.reader import ReplayReader, Sample
from services.replay.sharded_reader import ShardedReader


class Reader:
    """Gives batches, or is silent."""

    def __init__(self) -> None:
        self.is_silent = False
        self.closed = 0

    def sample_mixed(self, teacher_share: float, timeout_seconds: float) -> Sample:
        if self.is_silent:
            raise ReplayTimeout("no batch in time")
        return cast("Sample", self)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present, which the test moves."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_shard_that_gives_nothing_for_long_is_named_though_others_give(
    clock: list[float],
) -> None:
    shards = [Reader(), Reader()]
    reader = ShardedReader([cast("ReplayReader", shard) for shard in shards])
    shards[1].is_silent = True
    assert [reader.sample_mixed(0.5, 1.0).shard for _ in range(3)] == [0, 0, 0]
    clock[0] += 19.0
    reader.sample_mixed(0.5, 1.0)
    assert reader.silent(20.0) == []
    clock[0] += 1.0
    assert reader.silent(20.0) == [1]
    reader.reconnect(1)
    assert [shard.closed for shard in shards] == [0, 1]
    # It has its time anew; once it gives, nobody has waited.
    assert reader.silent(20.0) == []
    shards[1].is_silent = False
    assert {reader.sample_mixed(0.5, 1.0).shard for _ in range(2)} == {0, 1}
    clock[0] += 20.0
    assert reader.silent(20.0) == []


def test_one_shard_alone_is_waited_for_and_named_likewise(clock: list[float]) -> None:
    shard = Reader()
    reader = ShardedReader([cast("ReplayReader", shard)])
    shard.is_silent = True
    with pytest.raises(ReplayTimeout):
        reader.sample_mixed(0.5, 1.0)
    clock[0] += 20.0
    assert reader.silent(20.0) == [0]
    # A pause in which nobody asked is no silence of theirs.
    reader.close()
    clock[0] += 60.0
    assert reader.silent(20.0) == []
