"""The batcher with a policy whose values can be computed in the head.

Action a of an observation is worth (a + 1) times the sum of its pixels.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.teacher.batcher import Batcher, DeadlinePassed, QueueFull, Stopped
from services.teacher.buckets import BucketPlan
from services.teacher.metrics import TeacherMetrics
from services.teacher.policy import PolicyInfo

NEVER = math.inf


class PixelSums:
    """Computes while its gate is open; remembers the first pixel of every row it was given."""

    info = PolicyInfo(
        game="sums",
        name="sums",
        version="1",
        num_actions=2,
        observation_shape=(3,),
        observation_dtype="uint8",
    )

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        self.batches.append(observations[:, 0].tolist())
        self.entered.set()
        assert self.gate.wait(30)
        if (observations[:, 0] == 255).any():
            raise RuntimeError("a poisoned row")
        sums = observations.sum(axis=1, dtype=np.float32)
        return np.stack([sums, 2 * sums], axis=1)


@pytest.fixture
def policy() -> PixelSums:
    return PixelSums()


@pytest.fixture
def batcher(policy: PixelSums) -> Iterator[Batcher]:
    # Time grows with the rows, so a batch is never padded further than to the next size.
    plan = BucketPlan({1: 1.0, 4: 4.0, 8: 8.0})
    made = Batcher(policy, plan, max_queue_rows=20, metrics=TeacherMetrics(CollectorRegistry()))
    yield made
    policy.gate.set()
    made.close(5.0)


def rows(first: int, count: int) -> NDArray[np.uint8]:
    """`count` observations [p, 0, 0] with p = first, first + 1, ..."""
    observations = np.zeros((count, 3), np.uint8)
    observations[:, 0] = np.arange(first, first + count)
    return observations


def expected(first: int, count: int) -> NDArray[np.float32]:
    sums = np.arange(first, first + count, dtype=np.float32)
    return np.stack([sums, 2 * sums], axis=1)


def occupy(policy: PixelSums, batcher: Batcher) -> concurrent.futures.Future[NDArray[np.float32]]:
    """Keep the device busy with one row [200, 0, 0] until the gate is opened."""
    policy.gate.clear()
    future = batcher.submit(rows(200, 1), NEVER)
    assert policy.entered.wait(5)
    return future


def test_requests_that_gathered_while_the_device_was_busy_share_a_batch(
    policy: PixelSums, batcher: Batcher
) -> None:
    busy = occupy(policy, batcher)
    futures = [batcher.submit(rows(10 * i, 2), NEVER) for i in range(4)]
    policy.gate.set()
    for i, future in enumerate(futures):
        np.testing.assert_array_equal(future.result(5), expected(10 * i, 2))
    np.testing.assert_array_equal(busy.result(5), expected(200, 1))
    # The busy row alone, then all eight waiting rows in one batch of eight, oldest first.
    assert policy.batches == [[200], [0, 1, 10, 11, 20, 21, 30, 31]]


def test_a_lone_request_runs_at_once_and_is_padded_to_the_smallest_size_that_pays(
    policy: PixelSums, batcher: Batcher
) -> None:
    np.testing.assert_array_equal(batcher.submit(rows(5, 3), NEVER).result(5), expected(5, 3))
    # 3 rows as 1 + 1 + 1 cost 3 s, padded to 4 they cost 4 s.
    assert policy.batches == [[5], [6], [7]]


def test_a_request_larger_than_the_largest_size_is_split_and_put_together(
    policy: PixelSums, batcher: Batcher
) -> None:
    np.testing.assert_array_equal(batcher.submit(rows(0, 20), NEVER).result(5), expected(0, 20))
    # 20 = 8 + 8 + 4.
    assert [len(batch) for batch in policy.batches] == [8, 8, 4]


def test_a_request_that_finds_no_room_is_refused_and_the_queued_ones_are_answered(
    policy: PixelSums, batcher: Batcher
) -> None:
    occupy(policy, batcher)
    waiting = [batcher.submit(rows(i, 10), NEVER) for i in (0, 50)]
    with pytest.raises(QueueFull, match="20 of 20 rows"):
        batcher.submit(rows(0, 1), NEVER)
    policy.gate.set()
    for first, future in zip((0, 50), waiting, strict=True):
        np.testing.assert_array_equal(future.result(5), expected(first, 10))
    np.testing.assert_array_equal(batcher.submit(rows(9, 1), NEVER).result(5), expected(9, 1))


def test_a_cancelled_request_is_never_computed_and_gives_its_room_back(
    policy: PixelSums, batcher: Batcher
) -> None:
    occupy(policy, batcher)
    given_up = batcher.submit(rows(100, 20), NEVER)
    assert given_up.cancel()
    kept = batcher.submit(rows(0, 20), NEVER)
    policy.gate.set()
    np.testing.assert_array_equal(kept.result(5), expected(0, 20))
    assert not set(range(100, 120)) & set(itertools.chain(*policy.batches))


def test_a_request_whose_deadline_passed_while_it_waited_is_never_computed(
    policy: PixelSums, batcher: Batcher
) -> None:
    occupy(policy, batcher)
    late = batcher.submit(rows(100, 2), time.monotonic() + 0.05)
    in_time = batcher.submit(rows(0, 1), time.monotonic() + 30)
    time.sleep(0.1)
    policy.gate.set()
    with pytest.raises(DeadlinePassed):
        late.result(5)
    np.testing.assert_array_equal(in_time.result(5), expected(0, 1))
    assert policy.batches == [[200], [0]]


def test_a_failing_batch_fails_its_requests_and_not_the_next_ones(
    policy: PixelSums, batcher: Batcher
) -> None:
    poisoned = batcher.submit(rows(255, 1), NEVER)
    with pytest.raises(RuntimeError, match="poisoned"):
        poisoned.result(5)
    np.testing.assert_array_equal(batcher.submit(rows(1, 1), NEVER).result(5), expected(1, 1))


def test_closing_answers_what_is_queued_and_takes_nothing_more(
    policy: PixelSums, batcher: Batcher
) -> None:
    occupy(policy, batcher)
    queued = batcher.submit(rows(0, 4), NEVER)
    closing = threading.Thread(target=batcher.close, args=(10.0,))
    closing.start()
    while True:
        try:
            batcher.submit(rows(0, 1), NEVER).cancel()
        except Stopped:
            break
    policy.gate.set()
    np.testing.assert_array_equal(queued.result(5), expected(0, 4))
    closing.join(5)
    assert not closing.is_alive()


def test_closing_without_patience_fails_what_is_queued(policy: PixelSums, batcher: Batcher) -> None:
    occupy(policy, batcher)
    queued = batcher.submit(rows(0, 4), NEVER)
    closing = threading.Thread(target=batcher.close, args=(0.0,))
    closing.start()
    with pytest.raises(Stopped):
        queued.result(5)
    policy.gate.set()
    closing.join(5)
    assert not closing.is_alive()


def test_many_threads_get_their_own_rows_back(policy: PixelSums, batcher: Batcher) -> None:
    def ask(first: int) -> None:
        for count in (1, 2, 3):
            values = batcher.submit(rows(first, count), NEVER).result(10)
            np.testing.assert_array_equal(values, expected(first, count))

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(0, 180, 3)))
