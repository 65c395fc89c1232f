"""The batcher with a policy whose values can be computed in the head."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence

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

# At most 8 rows at once, unpadded; in microseconds, so that no deadline of these tests is ever
# predicted to be missed.
# A query may have 40 rows, which nothing else is computed with.
FAST = BucketPlan({1: 1e-6, 4: 2e-6, 8: 3e-6, 40: 15e-6}, dynamic_batch_size=True)


class Sink:
    """Remembers the order in which queries are settled, by their first rows."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self._changed = threading.Condition()

    def settled(self, queries: Sequence[Query]) -> None:
        with self._changed:
            self.order += [query.user_data for query in queries]
            self._changed.notify_all()

    def wait_for(self, *marks: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: {*marks} <= {*self.order}, PATIENCE_SECONDS)

    def query(
        self,
        first: int,
        count: int = 1,
        *,
        seconds: float = math.inf,
        priority: Priority = Priority.ACTING,
        client: Hashable = None,
    ) -> Query:
        return Query(
            observations(first, count, SHAPE),
            deadline=time.monotonic() + seconds,
            priority=priority,
            client=self if client is None else client,
            sink=self,
            user_data=first,
        )


def sums(version: str = "1") -> PixelSums:
    return PixelSums(version, shape=SHAPE, dynamic_batch_size=False)


class Device:
    """A batcher with one model, whose policy computes while its gate is open."""

    def __init__(
        self,
        plan: BucketPlan = FAST,
        *,
        occupied: bool = True,
        max_queue_rows: int = 40,
        max_queue_bytes: int = 10_000,
        device_threads: int = 1,
    ) -> None:
        self.policy = sums()
        self.sink = Sink()
        self.batcher = Batcher(
            max_queue_rows=max_queue_rows,
            max_queue_bytes=max_queue_bytes,
            device_threads=device_threads,
        )
        self.model = ModelQueue(self.policy, plan, ModelStats(), version=3)
        self.batcher.add(self.model)
        if occupied:
            self.policy.gate.clear()
            self.ask(200)
            assert self.policy.entered.wait(PATIENCE_SECONDS)

    def ask(
        self,
        first: int,
        count: int = 1,
        *,
        seconds: float = math.inf,
        priority: Priority = Priority.ACTING,
        client: Hashable = None,
        model: ModelQueue | None = None,
    ) -> Query:
        made = self.sink.query(first, count, seconds=seconds, priority=priority, client=client)
        self.batcher.submit(made, model or self.model)
        return made

    def compute(self, *marks: int) -> None:
        """Open the gate, and wait for queries by their first rows."""
        self.policy.gate.set()
        self.sink.wait_for(*marks)


@pytest.fixture
def device_with() -> Iterator[Callable[..., Device]]:
    """Makes devices; an occupied one computes row 200 until its gate is opened."""
    made: list[Device] = []

    def make(*plan: BucketPlan, **settings: int) -> Device:
        made.append(Device(*plan, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for device in made:
        device.policy.gate.set()
        device.batcher.close(5.0)


@pytest.fixture
def device(device_with: Callable[..., Device]) -> Device:
    return device_with()


def test_each_query_gets_its_own_rows(device_with: Callable[..., Device]) -> None:
    device = device_with(occupied=False)
    queries = [device.ask(10 * i, 1 + i) for i in range(6)]
    for i, query in enumerate(queries):
        device.sink.wait_for(10 * i)
        np.testing.assert_array_equal(query.values, expected(10 * i, 1 + i, SHAPE))
        assert (query.refusal, query.version, query.parameters_hash) == (None, 3, "1")


def test_what_gathers_while_the_device_is_busy_runs_together(device: Device) -> None:
    for first in (0, 10, 20, 30):
        device.ask(first)
    device.compute(30)
    assert device.policy.batches == [[200], [0, 10, 20, 30]]


def test_a_client_with_many_queries_holds_up_another_by_one_of_them(device: Device) -> None:
    for first in (0, 10, 20):
        device.ask(first, 8, client="busy")
    device.ask(100, client="other")
    device.compute(20)
    assert device.sink.order == [200, 0, 100, 10, 20]


def test_a_query_is_computed_whole_though_it_is_larger_than_other_batches(device: Device) -> None:
    assert device.model.plan.next_bucket(30) == 8
    query = device.ask(0, 30)
    device.compute(0)
    assert device.policy.batches[1:] == [list(range(30))]
    np.testing.assert_array_equal(query.values, expected(0, 30, SHAPE))


def test_acting_comes_before_labelling_and_evaluation(device: Device) -> None:
    device.ask(1, 8, priority=Priority.EVALUATION)
    device.ask(11, 8, priority=Priority.LABELLING)
    device.ask(21, 8)
    device.compute(1)
    assert device.sink.order == [200, 21, 11, 1]


def test_rows_of_a_lower_priority_take_the_place_of_padding(
    device_with: Callable[..., Device],
) -> None:
    device = device_with(BucketPlan({1: 1e-6, 4: 1.5e-6}))
    device.ask(1, 3)
    device.ask(11, priority=Priority.EVALUATION)
    device.compute(11)
    assert device.policy.batches[1:] == [[1, 2, 3, 11]]


def test_a_late_query_is_told_while_the_device_is_still_busy_and_never_computed(
    device: Device,
) -> None:
    # A later deadline that was queued first holds up no other.
    device.ask(7, seconds=PATIENCE_SECONDS)
    late = device.ask(100, 4, seconds=0.1)
    # The gate is closed: the device does not get to it.
    device.sink.wait_for(100)
    assert device.sink.order == [100]
    assert time.monotonic() >= late.deadline
    assert late.refusal is not None and late.refusal.code is RefusalCode.DEADLINE_EXCEEDED
    device.compute(7)
    assert device.policy.batches == [[200], [7]]


def test_a_query_on_the_device_is_answered_though_its_deadline_passes(
    device_with: Callable[..., Device],
) -> None:
    device = device_with(occupied=False)
    device.policy.gate.clear()
    query = device.ask(0, 8, seconds=0.3)
    assert device.policy.entered.wait(PATIENCE_SECONDS)
    time.sleep(query.deadline + 0.1 - time.monotonic())
    # Its rows are read until the batch ends.
    assert device.sink.order == []
    device.compute(0)
    np.testing.assert_array_equal(query.values, expected(0, 8, SHAPE))


def test_a_cancelled_query_makes_room_is_settled_and_never_computed(device: Device) -> None:
    given_up = device.ask(100, 40)
    given_up.cancelled = True
    device.ask(1)
    device.compute(1, 100)
    assert given_up.refusal is not None and given_up.refusal.code is RefusalCode.CANCELLED
    assert device.policy.batches == [[200], [1]]


def test_a_full_queue_refuses_by_rows_and_says_when_to_come_again(device: Device) -> None:
    device.ask(0, 40)
    with pytest.raises(Refusal, match="40 of 40 rows") as caught:
        device.ask(50)
    assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    device.compute(0)
    device.ask(50)
    device.sink.wait_for(50)


def test_a_full_queue_refuses_by_bytes(device_with: Callable[..., Device]) -> None:
    device = device_with(max_queue_bytes=3 * 10)
    device.ask(0, 10)
    assert device.batcher.queued_bytes == 30
    with pytest.raises(Refusal, match="no room for 1 more"):
        device.ask(50)
    device.compute(0)
    assert device.batcher.queued_bytes == 0


def test_a_query_that_would_come_too_late_is_refused_at_once(
    device_with: Callable[..., Device],
) -> None:
    device = device_with(BucketPlan({1: 1.0, 8: 2.0}))
    device.ask(0, 8)
    # 1 s of the row on the device, 2 s of the 8 rows, 1 s of its own.
    with pytest.raises(Refusal, match="deadline") as caught:
        device.ask(50, seconds=3.0)
    assert caught.value.code is RefusalCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_seconds == pytest.approx(1.0, abs=0.5)
    device.ask(60, seconds=5.0)
    # Labelling does not stand in the way of acting, but acting in the way of labelling.
    with pytest.raises(Refusal, match="deadline"):
        device.ask(70, seconds=3.0, priority=Priority.LABELLING)


def test_the_rows_of_a_batch_are_of_one_channel(device: Device) -> None:
    other_policy = sums("2")
    other = ModelQueue(other_policy, FAST, ModelStats(), version=4)
    device.batcher.add(other)
    queries = [device.ask(first, model=(device.model, other)[first % 2]) for first in range(4)]
    device.compute(*range(4))
    assert [query.version for query in queries] == [3, 4, 3, 4]
    assert [query.parameters_hash for query in queries] == ["1", "2", "1", "2"]
    assert (device.policy.batches, other_policy.batches) == ([[200], [0, 2]], [[1, 3]])


def test_a_removed_channel_answers_what_waits_and_takes_nothing_more(device: Device) -> None:
    device.ask(0)
    assert not device.batcher.remove(device.model, 0.05)
    device.policy.gate.set()
    assert device.batcher.remove(device.model, PATIENCE_SECONDS)
    device.sink.wait_for(0)
    with pytest.raises(Refusal, match="replaced"):
        device.ask(1)


def test_an_error_in_the_policy_fails_its_batch_and_not_the_next(
    device_with: Callable[..., Device],
) -> None:
    device = device_with(occupied=False)
    poisoned = device.ask(255)
    device.sink.wait_for(255)
    assert poisoned.refusal is not None and poisoned.refusal.code is RefusalCode.INTERNAL
    fine = device.ask(1)
    device.sink.wait_for(1)
    np.testing.assert_array_equal(fine.values, expected(1, 1, SHAPE))


def test_closing_answers_what_waits_and_refuses_what_is_new(device: Device) -> None:
    queued = device.ask(0, 10)
    threading.Timer(0.1, device.policy.gate.set).start()
    device.batcher.close(PATIENCE_SECONDS)
    np.testing.assert_array_equal(queued.values, expected(0, 10, SHAPE))
    with pytest.raises(Refusal, match="draining"):
        device.ask(1)


def test_closing_refuses_what_still_waits_after_the_grace(device: Device) -> None:
    queued = device.ask(0, 10)
    closing = threading.Thread(target=device.batcher.close, args=(0.05,))
    closing.start()
    device.sink.wait_for(0)
    assert queued.refusal is not None and queued.refusal.code is RefusalCode.UNAVAILABLE
    device.policy.gate.set()
    closing.join(PATIENCE_SECONDS)
    assert device.policy.batches == [[200]]


@pytest.mark.parametrize("device_threads", [1, 3])
def test_many_threads_lose_and_mix_nothing(
    device_with: Callable[..., Device], device_threads: int
) -> None:
    device = device_with(occupied=False, max_queue_rows=400, device_threads=device_threads)
    failures: list[object] = []

    def play(first: int) -> None:
        mine = Sink()
        for turn in range(30):
            query = mine.query(first, 1 + turn % 5, priority=Priority(turn % 3))
            query.user_data = turn
            device.batcher.submit(query, device.model)
            mine.wait_for(turn)
            if query.refusal or (query.values != expected(first, 1 + turn % 5, SHAPE)).any():
                failures.append(query)

    threads = [threading.Thread(target=play, args=(20 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not failures
    assert device.policy.rows == 8 * sum(1 + turn % 5 for turn in range(30))


def test_a_flood_of_what_can_wait_leaves_room_for_acting(device: Device) -> None:
    # Half of 40 rows for evaluation, three quarters with labelling, all with acting.
    for first, priority, room in (
        (0, Priority.EVALUATION, 20),
        (50, Priority.LABELLING, 10),
        (100, Priority.ACTING, 10),
    ):
        for index in range(room):
            device.ask(first + index, priority=priority)
        with pytest.raises(Refusal, match="no room"):
            device.ask(99, priority=priority)


def test_what_is_left_of_a_batch_with_cancelled_queries_runs_as_one(
    device_with: Callable[..., Device],
) -> None:
    # Of 6 rows the plan would run 4 first and then 2; but 8 were to be taken, and 2 are dead.
    device = device_with(BucketPlan({1: 1e-6, 2: 1.5e-6, 4: 2e-6, 8: 3.9e-6}))
    assert device.model.plan.next_bucket(6) == 4
    queries = [device.ask(first) for first in range(8)]
    queries[0].cancelled = queries[1].cancelled = True
    device.compute(*range(8))
    assert queries[0].refusal is not None and queries[0].refusal.code is RefusalCode.CANCELLED
    for query in queries[2:]:
        np.testing.assert_array_equal(query.values, expected(query.user_data, 1, SHAPE))
        assert query.refusal is None


def test_closing_ends_idle_device_threads_at_once(device_with: Callable[..., Device]) -> None:
    device = device_with(device_threads=3)
    # Too few rows for a batch beside the one under way; they expire while the service closes.
    device.ask(0, 2, seconds=0.1)
    threading.Timer(0.4, device.policy.gate.set).start()
    start = time.monotonic()
    device.batcher.close(PATIENCE_SECONDS)
    assert time.monotonic() - start < PATIENCE_SECONDS / 2
    assert not [thread for thread in threading.enumerate() if "teacher-device" in thread.name]
