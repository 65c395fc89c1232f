"""The batcher with a policy whose values can be computed in the head.

Action a of an observation is worth (a + 1) times the sum of its pixels.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_client import PolicySpec, Priority
from rrl_client.requests import Refusal, RefusalCode
from services.teacher.batching.batcher import Batcher, Channel
from services.teacher.batching.buckets import BucketPlan
from services.teacher.batching.query import Query
from services.teacher.metrics import ModelTallies
from services.teacher.policies.interface import PolicyInfo
from tests.support.patience import PATIENCE_SECONDS


class PixelSums:
    """Computes while its gate is open; remembers the first pixel of every row it was given."""

    backend = "test"
    dynamic_batch_size = False
    max_concurrency = 1

    def __init__(self, version: str = "1") -> None:
        self.info = PolicyInfo(
            game="sums",
            name="sums",
            version=version,
            spec=PolicySpec(num_actions=2, observation_shape=(3,)),
        )
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        self.batches.append(observations[:, 0].tolist())
        self.entered.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        if (observations[:, 0] == 255).any():
            raise RuntimeError("a poisoned row")
        sums = observations.sum(axis=1, dtype=np.float32)
        return np.stack([sums, 2 * sums], axis=1)


class Waiting:
    """A sink whose queries can be waited for; remembers their order."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self._changed = threading.Condition()

    def settled(self, queries: Sequence[Query]) -> None:
        with self._changed:
            self.order += [query.mark for query in queries]
            self._changed.notify_all()

    def wait_for(self, mark: Any, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: mark in self.order, timeout_seconds), mark


@pytest.fixture
def policy() -> Iterator[PixelSums]:
    made = PixelSums()
    yield made
    made.gate.set()


@pytest.fixture
def batcher(policy: PixelSums) -> Iterator[Batcher]:
    made = Batcher(max_queue_rows=40, max_queue_bytes=10_000)
    yield made
    policy.gate.set()
    made.close(5.0)


# At most 8 rows at once, unpadded; in microseconds, so that no deadline of these tests is ever
# predicted to be missed.
FAST = BucketPlan({1: 1e-6, 4: 2e-6, 8: 3e-6}, dynamic_batch_size=True)
PADDED = BucketPlan({1: 1e-6, 4: 1.5e-6})


@pytest.fixture
def channel(batcher: Batcher, policy: PixelSums) -> Channel:
    made = Channel(policy, FAST, ModelTallies(), version=3)
    batcher.add(made)
    return made


@pytest.fixture
def sink() -> Waiting:
    return Waiting()


def rows(first: int, count: int) -> NDArray[np.uint8]:
    """`count` observations [p, 0, 0] with p = first, first + 1, ..."""
    observations = np.zeros((count, 3), np.uint8)
    observations[:, 0] = np.arange(first, first + count)
    return observations


def expected(first: int, count: int) -> NDArray[np.float32]:
    sums = np.arange(first, first + count, dtype=np.float32)
    return np.stack([sums, 2 * sums], axis=1)


def ask(
    sink: Waiting,
    first: int,
    count: int,
    *,
    seconds: float = math.inf,
    priority: Priority = Priority.ACTING,
) -> Query:
    return Query(
        rows(first, count),
        np.empty((count, 2), np.float32),
        deadline=time.monotonic() + seconds,
        priority=priority,
        sink=sink,
        mark=first,
    )


def occupy(batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting) -> Query:
    """Keep the device busy with row 200 until the gate is opened."""
    policy.gate.clear()
    policy.entered.clear()
    query = ask(sink, 200, 1)
    batcher.submit(query, channel)
    assert policy.entered.wait(PATIENCE_SECONDS)
    return query


def test_each_query_gets_its_own_rows(batcher: Batcher, channel: Channel, sink: Waiting) -> None:
    queries = [ask(sink, 10 * i, 1 + i) for i in range(6)]
    for query in queries:
        batcher.submit(query, channel)
    for i, query in enumerate(queries):
        sink.wait_for(10 * i)
        np.testing.assert_array_equal(query.values, expected(10 * i, 1 + i))
        assert (query.refusal, query.version, query.parameters_hash) == (None, 3, "1")


def test_what_gathers_while_the_device_is_busy_runs_together(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    for first in (0, 10, 20, 30):
        batcher.submit(ask(sink, first, 1), channel)
    policy.gate.set()
    sink.wait_for(30)
    assert policy.batches == [[200], [0, 10, 20, 30]]


def test_a_large_query_holds_up_a_small_one_by_one_turn_only(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 0, 39), channel)
    batcher.submit(ask(sink, 100, 1), channel)
    policy.gate.set()
    sink.wait_for(0)
    # A turn is 32 rows, four batches of 8; then the small one, then the 7 that are left.
    assert sink.order == [200, 100, 0]


def test_acting_comes_before_labelling_and_evaluation(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    for first, priority in (
        (1, Priority.EVALUATION),
        (11, Priority.LABELLING),
        (21, Priority.ACTING),
    ):
        batcher.submit(ask(sink, first, 8, priority=priority), channel)
    policy.gate.set()
    sink.wait_for(1)
    assert sink.order == [200, 21, 11, 1]


def test_rows_of_a_lower_priority_take_the_place_of_padding(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    channel = Channel(policy, PADDED, ModelTallies())
    batcher.add(channel)
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 1, 3), channel)
    batcher.submit(ask(sink, 11, 1, priority=Priority.EVALUATION), channel)
    policy.gate.set()
    sink.wait_for(11)
    assert policy.batches[1:] == [[1, 2, 3, 11]]


def test_a_late_query_is_told_while_the_device_is_still_busy_and_never_computed(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    late = ask(sink, 100, 4, seconds=0.1)
    batcher.submit(late, channel)
    # The gate is closed: the device does not get to it.
    sink.wait_for(100)
    assert time.monotonic() >= late.deadline
    assert late.refusal is not None
    assert late.refusal.code is RefusalCode.DEADLINE_EXCEEDED
    policy.gate.set()
    batcher.submit(ask(sink, 7, 1), channel)
    sink.wait_for(7)
    assert policy.batches == [[200], [7]]


def test_an_early_deadline_is_kept_though_a_later_one_was_queued_first(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 1, 1, seconds=60), channel)
    batcher.submit(ask(sink, 2, 1, seconds=0.1), channel)
    sink.wait_for(2, timeout_seconds=PATIENCE_SECONDS)
    assert sink.order == [2]


def test_a_late_query_on_the_device_is_settled_only_when_its_rows_are_free(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    # 12 rows are more than one batch: 8 are on the device when the deadline passes.
    policy.gate.clear()
    query = ask(sink, 0, 12, seconds=2.0)
    batcher.submit(query, channel)
    assert policy.entered.wait(PATIENCE_SECONDS)
    time.sleep(query.deadline + 0.2 - time.monotonic())
    assert sink.order == []
    policy.gate.set()
    sink.wait_for(0)
    assert query.refusal is not None
    assert query.refusal.code is RefusalCode.DEADLINE_EXCEEDED
    assert len(policy.batches) == 1


def test_a_cancelled_query_is_settled_and_never_computed(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    given_up = ask(sink, 100, 4)
    batcher.submit(given_up, channel)
    batcher.submit(ask(sink, 1, 1), channel)
    given_up.cancelled = True
    policy.gate.set()
    sink.wait_for(1)
    sink.wait_for(100)
    assert given_up.refusal is not None and given_up.refusal.code is RefusalCode.CANCELLED
    assert policy.batches == [[200], [1]]


def test_a_full_queue_refuses_by_rows_and_says_when_to_come_again(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 0, 40), channel)
    with pytest.raises(Refusal, match="40 of 40 rows") as caught:
        batcher.submit(ask(sink, 50, 1), channel)
    assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    policy.gate.set()
    sink.wait_for(0)
    batcher.submit(ask(sink, 50, 1), channel)
    sink.wait_for(50)


def test_a_full_queue_refuses_by_bytes(policy: PixelSums, sink: Waiting) -> None:
    batcher = Batcher(max_queue_rows=1000, max_queue_bytes=3 * 10)
    channel = Channel(policy, FAST, ModelTallies())
    batcher.add(channel)
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 0, 10), channel)
    assert batcher.queued_bytes == 30
    with pytest.raises(Refusal, match="no room for 1 more"):
        batcher.submit(ask(sink, 50, 1), channel)
    policy.gate.set()
    sink.wait_for(0)
    assert batcher.queued_bytes == 0
    batcher.close(5.0)


def test_the_dead_make_room(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    given_up = ask(sink, 0, 40)
    batcher.submit(given_up, channel)
    given_up.cancelled = True
    batcher.submit(ask(sink, 50, 1), channel)
    sink.wait_for(0)


def test_a_query_that_would_come_too_late_is_refused_at_once(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    slow = Channel(policy, BucketPlan({1: 1.0, 8: 2.0}), ModelTallies())
    batcher.add(slow)
    occupy(batcher, slow, policy, sink)
    batcher.submit(ask(sink, 0, 8), slow)
    # 1 s of the row on the device, 2 s of the 8 rows, 1 s of its own.
    with pytest.raises(Refusal, match="deadline") as caught:
        batcher.submit(ask(sink, 50, 1, seconds=3.0), slow)
    assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_seconds == pytest.approx(1.0, abs=0.5)
    batcher.submit(ask(sink, 60, 1, seconds=5.0), slow)
    # Labelling does not stand in the way of acting, but acting in the way of labelling.
    with pytest.raises(Refusal, match="deadline"):
        batcher.submit(ask(sink, 70, 1, seconds=3.0, priority=Priority.LABELLING), slow)


def test_the_rows_of_a_batch_are_of_one_channel(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    other_policy = PixelSums(version="2")
    other = Channel(other_policy, FAST, ModelTallies(), version=4)
    batcher.add(other)
    occupy(batcher, channel, policy, sink)
    queries = [ask(sink, first, 1) for first in range(4)]
    for query, asked in zip(queries, (channel, other, channel, other), strict=True):
        batcher.submit(query, asked)
    policy.gate.set()
    for first in range(4):
        sink.wait_for(first)
    assert [query.version for query in queries] == [3, 4, 3, 4]
    assert [query.parameters_hash for query in queries] == ["1", "2", "1", "2"]
    assert (policy.batches, other_policy.batches) == ([[200], [0, 2]], [[1, 3]])


def test_a_removed_channel_answers_what_waits_and_takes_nothing_more(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    batcher.submit(ask(sink, 0, 1), channel)
    assert not batcher.remove(channel, 0.05)
    policy.gate.set()
    assert batcher.remove(channel, PATIENCE_SECONDS)
    sink.wait_for(0)
    with pytest.raises(Refusal, match="replaced"):
        batcher.submit(ask(sink, 1, 1), channel)


def test_an_error_in_the_policy_fails_its_batch_and_not_the_next(
    batcher: Batcher, channel: Channel, sink: Waiting
) -> None:
    poisoned = ask(sink, 255, 1)
    batcher.submit(poisoned, channel)
    sink.wait_for(255)
    assert poisoned.refusal is not None and poisoned.refusal.code is RefusalCode.INTERNAL
    fine = ask(sink, 1, 1)
    batcher.submit(fine, channel)
    sink.wait_for(1)
    np.testing.assert_array_equal(fine.values, expected(1, 1))


def test_closing_answers_what_waits_and_refuses_what_is_new(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    queued = ask(sink, 0, 10)
    batcher.submit(queued, channel)
    threading.Timer(0.1, policy.gate.set).start()
    batcher.close(PATIENCE_SECONDS)
    np.testing.assert_array_equal(queued.values, expected(0, 10))
    with pytest.raises(Refusal, match="draining"):
        batcher.submit(ask(sink, 1, 1), channel)


def test_closing_refuses_what_still_waits_after_the_grace(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    queued = ask(sink, 0, 10)
    batcher.submit(queued, channel)
    closing = threading.Thread(target=batcher.close, args=(0.05,))
    closing.start()
    sink.wait_for(0)
    assert queued.refusal is not None and queued.refusal.code is RefusalCode.UNAVAILABLE
    policy.gate.set()
    closing.join(PATIENCE_SECONDS)
    assert policy.batches == [[200]]


@pytest.mark.parametrize("device_threads", [1, 3])
def test_many_threads_lose_and_mix_nothing(policy: PixelSums, device_threads: int) -> None:
    batcher = Batcher(max_queue_rows=400, max_queue_bytes=10_000, device_threads=device_threads)
    channel = Channel(policy, FAST, ModelTallies())
    batcher.add(channel)
    failures: list[object] = []

    def play(first: int) -> None:
        mine = Waiting()
        for turn in range(30):
            query = ask(mine, first, 1 + turn % 5, priority=Priority(turn % 3))
            query.mark = turn
            batcher.submit(query, channel)
            mine.wait_for(turn)
            if query.refusal or (query.values != expected(first, 1 + turn % 5)).any():
                failures.append(query)

    threads = [threading.Thread(target=play, args=(20 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    batcher.close(5.0)
    assert not failures
    assert sum(map(len, policy.batches)) == 8 * sum(1 + turn % 5 for turn in range(30))


def test_a_flood_of_what_can_wait_leaves_room_for_acting(
    batcher: Batcher, channel: Channel, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, channel, policy, sink)
    # Half of 40 rows for evaluation, three quarters with labelling, all with acting.
    for first, priority, rooms in ((0, Priority.EVALUATION, 20), (50, Priority.LABELLING, 10)):
        for index in range(rooms):
            batcher.submit(ask(sink, first + index, 1, priority=priority), channel)
        with pytest.raises(Refusal, match="no room"):
            batcher.submit(ask(sink, 99, 1, priority=priority), channel)
    for index in range(10):
        batcher.submit(ask(sink, 100 + index, 1), channel)
    with pytest.raises(Refusal, match="no room"):
        batcher.submit(ask(sink, 99, 1), channel)


def test_what_is_left_of_a_batch_with_cancelled_queries_runs_as_one(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    # Of 6 rows the plan would run 4 first and then 2; but 8 were to be taken, and 2 are dead.
    channel = Channel(policy, BucketPlan({1: 1e-6, 2: 1.5e-6, 4: 2e-6, 8: 3.9e-6}), ModelTallies())
    assert channel.plan.next_bucket(6) == 4
    batcher.add(channel)
    occupy(batcher, channel, policy, sink)
    queries = [ask(sink, first, 1) for first in range(8)]
    for query in queries:
        batcher.submit(query, channel)
    queries[0].cancelled = queries[1].cancelled = True
    policy.gate.set()
    for query in queries[2:]:
        sink.wait_for(query.mark)
        np.testing.assert_array_equal(query.values, expected(query.mark, 1))
        assert query.refusal is None


def test_closing_ends_idle_device_threads_at_once(policy: PixelSums, sink: Waiting) -> None:
    batcher = Batcher(max_queue_rows=40, max_queue_bytes=10_000, device_threads=3)
    channel = Channel(policy, FAST, ModelTallies())
    batcher.add(channel)
    occupy(batcher, channel, policy, sink)
    # Too few rows for a batch beside the one under way; they expire while the service closes.
    batcher.submit(ask(sink, 0, 2, seconds=0.1), channel)
    threading.Timer(0.4, policy.gate.set).start()
    start = time.monotonic()
    batcher.close(PATIENCE_SECONDS)
    assert time.monotonic() - start < PATIENCE_SECONDS / 2
    assert not [thread for thread in threading.enumerate() if "teacher-device" in thread.name]
