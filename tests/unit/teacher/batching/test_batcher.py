"""The batcher with a policy whose values can be computed in the head."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from rrl_client import Priority
from rrl_client.requests import Refusal, RefusalCode
from services.teacher.batching.batcher import Batcher, ModelQueue
from services.teacher.batching.buckets import BucketPlan
from services.teacher.batching.query import Query
from services.teacher.metrics import ModelStats
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums, expected, observations

SHAPE = (3,)


class Waiting:
    """A sink whose queries can be waited for; remembers their order."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self._changed = threading.Condition()

    def settled(self, queries: Sequence[Query]) -> None:
        with self._changed:
            self.order += [query.user_data for query in queries]
            self._changed.notify_all()

    def wait_for(self, mark: Any, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: mark in self.order, timeout_seconds), mark


@pytest.fixture
def policy() -> Iterator[PixelSums]:
    made = sums()
    yield made
    made.gate.set()


def sums(version: str = "1") -> PixelSums:
    return PixelSums(version, shape=SHAPE, dynamic_batch_size=False)


@pytest.fixture
def batcher(policy: PixelSums) -> Iterator[Batcher]:
    made = Batcher(max_queue_rows=40, max_queue_bytes=10_000)
    yield made
    policy.gate.set()
    made.close(5.0)


# At most 8 rows at once, unpadded; in microseconds, so that no deadline of these tests is ever
# predicted to be missed.
# A query may have 40 rows, which nothing else is computed with.
FAST = BucketPlan({1: 1e-6, 4: 2e-6, 8: 3e-6, 40: 15e-6}, dynamic_batch_size=True)
PADDED = BucketPlan({1: 1e-6, 4: 1.5e-6})


@pytest.fixture
def model(batcher: Batcher, policy: PixelSums) -> ModelQueue:
    made = ModelQueue(policy, FAST, ModelStats(), version=3)
    batcher.add(made)
    return made


@pytest.fixture
def sink() -> Waiting:
    return Waiting()


def ask(
    sink: Waiting,
    first: int,
    count: int,
    *,
    seconds: float = math.inf,
    priority: Priority = Priority.ACTING,
    client: Hashable = None,
) -> Query:
    return Query(
        observations(first, count, SHAPE),
        deadline=time.monotonic() + seconds,
        priority=priority,
        client=sink if client is None else client,
        sink=sink,
        user_data=first,
    )


def occupy(batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting) -> Query:
    """Keep the device busy with row 200 until the gate is opened."""
    policy.gate.clear()
    policy.entered.clear()
    query = ask(sink, 200, 1)
    batcher.submit(query, model)
    assert policy.entered.wait(PATIENCE_SECONDS)
    return query


def test_each_query_gets_its_own_rows(batcher: Batcher, model: ModelQueue, sink: Waiting) -> None:
    queries = [ask(sink, 10 * i, 1 + i) for i in range(6)]
    for query in queries:
        batcher.submit(query, model)
    for i, query in enumerate(queries):
        sink.wait_for(10 * i)
        np.testing.assert_array_equal(query.values, expected(10 * i, 1 + i, SHAPE))
        assert (query.refusal, query.version, query.parameters_hash) == (None, 3, "1")


def test_what_gathers_while_the_device_is_busy_runs_together(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    for first in (0, 10, 20, 30):
        batcher.submit(ask(sink, first, 1), model)
    policy.gate.set()
    sink.wait_for(30)
    assert policy.batches == [[200], [0, 10, 20, 30]]


def test_a_client_with_many_queries_holds_up_another_by_one_of_them(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    for first in (0, 10, 20):
        batcher.submit(ask(sink, first, 8, client="busy"), model)
    batcher.submit(ask(sink, 100, 1, client="other"), model)
    policy.gate.set()
    sink.wait_for(20)
    assert sink.order == [200, 0, 100, 10, 20]


def test_a_query_is_computed_whole_though_it_is_larger_than_other_batches(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    assert model.plan.next_bucket(30) == 8
    occupy(batcher, model, policy, sink)
    query = ask(sink, 0, 30)
    batcher.submit(query, model)
    policy.gate.set()
    sink.wait_for(0)
    assert policy.batches[1:] == [list(range(30))]
    np.testing.assert_array_equal(query.values, expected(0, 30, SHAPE))


def test_acting_comes_before_labelling_and_evaluation(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    for first, priority in (
        (1, Priority.EVALUATION),
        (11, Priority.LABELLING),
        (21, Priority.ACTING),
    ):
        batcher.submit(ask(sink, first, 8, priority=priority), model)
    policy.gate.set()
    sink.wait_for(1)
    assert sink.order == [200, 21, 11, 1]


def test_rows_of_a_lower_priority_take_the_place_of_padding(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    model = ModelQueue(policy, PADDED, ModelStats())
    batcher.add(model)
    occupy(batcher, model, policy, sink)
    batcher.submit(ask(sink, 1, 3), model)
    batcher.submit(ask(sink, 11, 1, priority=Priority.EVALUATION), model)
    policy.gate.set()
    sink.wait_for(11)
    assert policy.batches[1:] == [[1, 2, 3, 11]]


def test_a_late_query_is_told_while_the_device_is_still_busy_and_never_computed(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    late = ask(sink, 100, 4, seconds=0.1)
    batcher.submit(late, model)
    # The gate is closed: the device does not get to it.
    sink.wait_for(100)
    assert time.monotonic() >= late.deadline
    assert late.refusal is not None
    assert late.refusal.code is RefusalCode.DEADLINE_EXCEEDED
    policy.gate.set()
    batcher.submit(ask(sink, 7, 1), model)
    sink.wait_for(7)
    assert policy.batches == [[200], [7]]


def test_an_early_deadline_is_kept_though_a_later_one_was_queued_first(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    batcher.submit(ask(sink, 1, 1, seconds=60), model)
    batcher.submit(ask(sink, 2, 1, seconds=0.1), model)
    sink.wait_for(2, timeout_seconds=PATIENCE_SECONDS)
    assert sink.order == [2]


def test_a_query_on_the_device_is_answered_though_its_deadline_passes(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    policy.gate.clear()
    query = ask(sink, 0, 8, seconds=0.3)
    batcher.submit(query, model)
    assert policy.entered.wait(PATIENCE_SECONDS)
    time.sleep(query.deadline + 0.2 - time.monotonic())
    # Its rows are read until the batch ends.
    assert sink.order == []
    policy.gate.set()
    sink.wait_for(0)
    np.testing.assert_array_equal(query.values, expected(0, 8, SHAPE))


def test_a_cancelled_query_is_settled_and_never_computed(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    given_up = ask(sink, 100, 4)
    batcher.submit(given_up, model)
    batcher.submit(ask(sink, 1, 1), model)
    given_up.cancelled = True
    policy.gate.set()
    sink.wait_for(1)
    sink.wait_for(100)
    assert given_up.refusal is not None and given_up.refusal.code is RefusalCode.CANCELLED
    assert policy.batches == [[200], [1]]


def test_a_full_queue_refuses_by_rows_and_says_when_to_come_again(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    batcher.submit(ask(sink, 0, 40), model)
    with pytest.raises(Refusal, match="40 of 40 rows") as caught:
        batcher.submit(ask(sink, 50, 1), model)
    assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    policy.gate.set()
    sink.wait_for(0)
    batcher.submit(ask(sink, 50, 1), model)
    sink.wait_for(50)


def test_a_full_queue_refuses_by_bytes(policy: PixelSums, sink: Waiting) -> None:
    batcher = Batcher(max_queue_rows=1000, max_queue_bytes=3 * 10)
    model = ModelQueue(policy, FAST, ModelStats())
    batcher.add(model)
    occupy(batcher, model, policy, sink)
    batcher.submit(ask(sink, 0, 10), model)
    assert batcher.queued_bytes == 30
    with pytest.raises(Refusal, match="no room for 1 more"):
        batcher.submit(ask(sink, 50, 1), model)
    policy.gate.set()
    sink.wait_for(0)
    assert batcher.queued_bytes == 0
    batcher.close(5.0)


def test_the_dead_make_room(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    given_up = ask(sink, 0, 40)
    batcher.submit(given_up, model)
    given_up.cancelled = True
    batcher.submit(ask(sink, 50, 1), model)
    sink.wait_for(0)


def test_a_query_that_would_come_too_late_is_refused_at_once(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    slow = ModelQueue(policy, BucketPlan({1: 1.0, 8: 2.0}), ModelStats())
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
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    other_policy = sums("2")
    other = ModelQueue(other_policy, FAST, ModelStats(), version=4)
    batcher.add(other)
    occupy(batcher, model, policy, sink)
    queries = [ask(sink, first, 1) for first in range(4)]
    for query, asked in zip(queries, (model, other, model, other), strict=True):
        batcher.submit(query, asked)
    policy.gate.set()
    for first in range(4):
        sink.wait_for(first)
    assert [query.version for query in queries] == [3, 4, 3, 4]
    assert [query.parameters_hash for query in queries] == ["1", "2", "1", "2"]
    assert (policy.batches, other_policy.batches) == ([[200], [0, 2]], [[1, 3]])


def test_a_removed_channel_answers_what_waits_and_takes_nothing_more(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    batcher.submit(ask(sink, 0, 1), model)
    assert not batcher.remove(model, 0.05)
    policy.gate.set()
    assert batcher.remove(model, PATIENCE_SECONDS)
    sink.wait_for(0)
    with pytest.raises(Refusal, match="replaced"):
        batcher.submit(ask(sink, 1, 1), model)


def test_an_error_in_the_policy_fails_its_batch_and_not_the_next(
    batcher: Batcher, model: ModelQueue, sink: Waiting
) -> None:
    poisoned = ask(sink, 255, 1)
    batcher.submit(poisoned, model)
    sink.wait_for(255)
    assert poisoned.refusal is not None and poisoned.refusal.code is RefusalCode.INTERNAL
    fine = ask(sink, 1, 1)
    batcher.submit(fine, model)
    sink.wait_for(1)
    np.testing.assert_array_equal(fine.values, expected(1, 1, SHAPE))


def test_closing_answers_what_waits_and_refuses_what_is_new(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    queued = ask(sink, 0, 10)
    batcher.submit(queued, model)
    threading.Timer(0.1, policy.gate.set).start()
    batcher.close(PATIENCE_SECONDS)
    np.testing.assert_array_equal(queued.values, expected(0, 10, SHAPE))
    with pytest.raises(Refusal, match="draining"):
        batcher.submit(ask(sink, 1, 1), model)


def test_closing_refuses_what_still_waits_after_the_grace(
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    queued = ask(sink, 0, 10)
    batcher.submit(queued, model)
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
    model = ModelQueue(policy, FAST, ModelStats())
    batcher.add(model)
    failures: list[object] = []

    def play(first: int) -> None:
        mine = Waiting()
        for turn in range(30):
            query = ask(mine, first, 1 + turn % 5, priority=Priority(turn % 3))
            query.user_data = turn
            batcher.submit(query, model)
            mine.wait_for(turn)
            if query.refusal or (query.values != expected(first, 1 + turn % 5, SHAPE)).any():
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
    batcher: Batcher, model: ModelQueue, policy: PixelSums, sink: Waiting
) -> None:
    occupy(batcher, model, policy, sink)
    # Half of 40 rows for evaluation, three quarters with labelling, all with acting.
    for first, priority, rooms in ((0, Priority.EVALUATION, 20), (50, Priority.LABELLING, 10)):
        for index in range(rooms):
            batcher.submit(ask(sink, first + index, 1, priority=priority), model)
        with pytest.raises(Refusal, match="no room"):
            batcher.submit(ask(sink, 99, 1, priority=priority), model)
    for index in range(10):
        batcher.submit(ask(sink, 100 + index, 1), model)
    with pytest.raises(Refusal, match="no room"):
        batcher.submit(ask(sink, 99, 1), model)


def test_what_is_left_of_a_batch_with_cancelled_queries_runs_as_one(
    batcher: Batcher, policy: PixelSums, sink: Waiting
) -> None:
    # Of 6 rows the plan would run 4 first and then 2; but 8 were to be taken, and 2 are dead.
    model = ModelQueue(policy, BucketPlan({1: 1e-6, 2: 1.5e-6, 4: 2e-6, 8: 3.9e-6}), ModelStats())
    assert model.plan.next_bucket(6) == 4
    batcher.add(model)
    occupy(batcher, model, policy, sink)
    queries = [ask(sink, first, 1) for first in range(8)]
    for query in queries:
        batcher.submit(query, model)
    queries[0].cancelled = queries[1].cancelled = True
    policy.gate.set()
    for query in queries[2:]:
        sink.wait_for(query.user_data)
        np.testing.assert_array_equal(query.values, expected(query.user_data, 1, SHAPE))
        assert query.refusal is None


def test_closing_ends_idle_device_threads_at_once(policy: PixelSums, sink: Waiting) -> None:
    batcher = Batcher(max_queue_rows=40, max_queue_bytes=10_000, device_threads=3)
    model = ModelQueue(policy, FAST, ModelStats())
    batcher.add(model)
    occupy(batcher, model, policy, sink)
    # Too few rows for a batch beside the one under way; they expire while the service closes.
    batcher.submit(ask(sink, 0, 2, seconds=0.1), model)
    threading.Timer(0.4, policy.gate.set).start()
    start = time.monotonic()
    batcher.close(PATIENCE_SECONDS)
    assert time.monotonic() - start < PATIENCE_SECONDS / 2
    assert not [thread for thread in threading.enumerate() if "teacher-device" in thread.name]
