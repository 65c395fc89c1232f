"""What every client does, the fakes for users' tests included."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_client import TeacherClient, TeacherFailed, TeacherPolicy, TeacherRejected
from rrl_client.fake import AsyncFakeTeacher, FakeTeacher
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.asyncio_clients import FromThread
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums, expected, observations

MAX_BATCH_ROWS = 16


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 4, MAX_BATCH_ROWS)),
    )
    server = TeacherServer(config, [PixelSums()])
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server.address
    server.stop(5.0)


def fake(address: str) -> FakeTeacher:
    del address
    return FakeTeacher(max_batch_rows=MAX_BATCH_ROWS)


def fake_of_asyncio(address: str) -> FromThread:
    return FromThread(address, make=lambda at: AsyncFakeTeacher(fake(at)))


KINDS: dict[str, Callable[[str], Any]] = {
    "blocking": TeacherClient,
    "blocking, messages": lambda address: TeacherClient(address, shared_memory=False),
    "asyncio": FromThread,
    "asyncio, messages": lambda address: FromThread(address, shared_memory=False),
    "fake": fake,
    "asyncio fake": fake_of_asyncio,
}


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Any]:
    with KINDS[request.param](address) as made:
        made.wait_until_ready(PATIENCE_SECONDS)
        yield made


def test_a_batch_of_any_size_is_answered_row_by_row(client: Any) -> None:
    # 100 rows are sent in pieces of at most 16, the largest batch.
    answer = client.evaluate(observations(0, 100))
    np.testing.assert_array_equal(answer.action_values, expected(0, 100))
    assert answer.action_values.dtype == np.float32
    assert answer.model_version == 1
    assert answer.teacher_version == client.describe().teacher_version


def test_a_description_says_what_is_taken_and_given(client: Any) -> None:
    about = client.describe()
    assert (about.spec.num_actions, about.max_batch_rows) == (2, MAX_BATCH_ROWS)
    assert (about.spec.observation_shape, about.spec.observation_dtype) == ((2, 3), "uint8")
    assert (about.spec.output, about.spec.temperature) == ("q_values", None)


def test_pipelined_queries_get_their_own_answers(client: Any) -> None:
    futures = [client.evaluate_future(observations(i, 1 + i % 3), 30) for i in range(30)]
    for i, future in enumerate(futures):
        np.testing.assert_array_equal(future.result().action_values, expected(i, 1 + i % 3))
        assert future.done()


def test_threads_that_share_a_client_get_their_own_answers(client: Any) -> None:
    def play(first: int) -> None:
        for count in (1, 4, 2, 20):
            values = client.evaluate(observations(first, count), timeout_seconds=PATIENCE_SECONDS)
            np.testing.assert_array_equal(values.action_values, expected(first, count))

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        list(threads.map(play, range(0, 120, 20)))


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (np.zeros((1, 3, 2), np.uint8), r"\(3, 2\); this teacher takes .*\(2, 3\)"),
        (np.zeros((2, 3), np.uint8), r"observation\[None\]"),
        (np.zeros((1, 2, 3), np.float32), "float32.*this teacher takes uint8"),
        (np.zeros((0, 2, 3), np.uint8), "row"),
        (np.zeros((1, 2, 3), np.int32), "int32"),
        ([[["a", "b", "c"]] * 2], "numbers"),
        ([[[0.5] * 3] * 2], "fractions.*uint8"),
        ([[[256] * 3] * 2], "256"),
    ],
)
def test_a_wrong_query_is_rejected_with_what_would_be_right(
    client: Any, batch: NDArray[Any], reason: str
) -> None:
    with pytest.raises(TeacherRejected, match=reason):
        client.evaluate(batch)
    with pytest.raises(TeacherRejected, match=reason):
        client.evaluate_future(batch).result()
    client.evaluate(observations(0, 1))


def test_lists_and_what_numpy_makes_of_objects_are_observations(client: Any) -> None:
    answer = client.evaluate(observations(3, 2).tolist())
    np.testing.assert_array_equal(answer.action_values, expected(3, 2))
    swapped = np.asfortranarray(observations(3, 2).astype(">u1"))
    answer = client.evaluate_future(swapped).result()
    np.testing.assert_array_equal(answer.action_values, expected(3, 2))


def test_one_request_of_more_rows_than_a_batch_is_rejected(client: Any) -> None:
    with pytest.raises(TeacherRejected, match="17 rows asked; send 1 to 16"):
        client.evaluate_future(observations(0, MAX_BATCH_ROWS + 1)).result()


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0, float("nan")])
def test_a_timeout_out_of_range_is_refused(client: Any, timeout_seconds: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        client.evaluate(observations(0, 1), timeout_seconds=timeout_seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_client_says_so(kind: str, address: str) -> None:
    client = KINDS[kind](address)
    client.evaluate(observations(0, 1))
    if isinstance(client, FromThread):
        # Its loop ends with it.
        client._run(client._client.close())
    else:
        client.close()
    with pytest.raises(TeacherFailed, match="was closed"):
        client.evaluate(observations(0, 1))
    with pytest.raises(TeacherFailed, match="was closed"):
        client.evaluate_future(observations(0, 1))
    client.close()


def test_the_policy_chooses_by_any_client(client: Any) -> None:
    policy = TeacherPolicy(client)
    # Twice the sum is worth more than the sum.
    np.testing.assert_array_equal(policy(observations(0, 5)), np.ones(5, np.int64))
    assert policy(observations(0, 1)[0]) == 1
    np.testing.assert_array_equal(policy.action_values(observations(4, 2)), expected(4, 2))
