"""The teacher's real server over real sockets, with a policy computed in the head.

Action a of an observation is worth (a + 1) times the sum of its six pixels.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from numpy.typing import NDArray

from rrl_client import (
    TeacherClient,
    TeacherFailed,
    TeacherOverloaded,
    TeacherRejected,
    TeacherTimeout,
    TeacherUnavailable,
)
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.errors import UserError
from services.shared.health import is_serving, wait_until_serving
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import SERVICE_NAME, TeacherServer
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import PixelSums, expected, observations

BUCKETS = (1, 4, 16)
MAX_BATCH_ROWS = BUCKETS[-1]
MAX_QUEUE_ROWS = 32


def make_server(policy: PixelSums, **changes: Any) -> TeacherServer:
    batching = BatchingConfig(
        buckets=BUCKETS,
        max_queue_rows=MAX_QUEUE_ROWS,
        stream_credit_rows=2 * MAX_QUEUE_ROWS,
    )
    settings: dict[str, Any] = {
        "models": (ModelConfig(reference="in memory"),),
        "port": 0,
        "metrics_port": 0,
        "batching": batching,
    }
    return TeacherServer(TeacherConfig(**(settings | changes)), [policy])


@pytest.fixture
def policy() -> Iterator[PixelSums]:
    made = PixelSums(dynamic_batch_size=False)
    yield made
    made.gate.set()


@pytest.fixture
def server(policy: PixelSums) -> Iterator[TeacherServer]:
    made = make_server(policy)
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    policy.forget()
    yield made
    policy.gate.set()
    made.stop(5.0)


@pytest.fixture
def client(server: TeacherServer) -> Iterator[TeacherClient]:
    # Over gRPC: what a server refuses, and how it counts that, is looked at here.
    with TeacherClient(server.address, shared_memory=False) as made:
        yield made


@pytest.fixture
def stub(server: TeacherServer) -> Iterator[teacher_pb2_grpc.TeacherStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield teacher_pb2_grpc.TeacherStub(channel)


def occupy(policy: PixelSums, client: TeacherClient) -> Any:
    """Keep the device busy with one row until the gate is opened."""
    policy.gate.clear()
    policy.entered.clear()
    future = client.evaluate_future(observations(200, 1), 60)
    assert policy.entered.wait(PATIENCE_SECONDS)
    return future


def queued_rows(server: TeacherServer) -> float:
    return metric(server, 'rrl_teacher_queue_rows{model="teacher",priority="acting"}')


def metric(server: TeacherServer, name: str) -> float:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    page = opener.open(
        f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=PATIENCE_SECONDS
    ).read()
    (line,) = [line for line in page.decode().splitlines() if line.startswith(name + " ")]
    return float(line.split()[1])


def wait_for_queued_rows(server: TeacherServer, rows: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while queued_rows(server) != rows:
        assert time.monotonic() < end, f"{queued_rows(server)} rows are queued, not {rows}"
        time.sleep(0.01)


def test_a_batch_of_any_size_is_answered_row_by_row(client: TeacherClient) -> None:
    # 100 rows are sent in pieces of at most 16, and computed in batches of at most 8.
    answer = client.evaluate(observations(0, 100))
    np.testing.assert_array_equal(answer.action_values, expected(0, 100))
    assert answer.action_values.dtype == np.float32
    assert answer.teacher_version == "v1"


def test_describe_says_what_is_served(client: TeacherClient) -> None:
    about = client.describe()
    assert (about.game, about.name, about.spec.num_actions) == ("sums", "pixel sums", 2)
    assert (about.spec.observation_shape, about.spec.observation_dtype) == ((2, 3), "uint8")
    assert (about.teacher_version, about.max_batch_rows) == ("v1", MAX_BATCH_ROWS)


def test_concurrent_requests_get_exactly_the_rows_of_separate_ones(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    busy = occupy(policy, client)
    futures = [client.evaluate_future(observations(10 * i, 1 + i), 30) for i in range(5)]
    # 1 + 2 + 3 + 4 + 5 rows.
    wait_for_queued_rows(server, 15)
    policy.gate.set()
    for i, future in enumerate(futures):
        np.testing.assert_array_equal(future.result().action_values, expected(10 * i, 1 + i))
    np.testing.assert_array_equal(busy.result().action_values, expected(200, 1))


def test_many_clients_at_once_get_their_own_answers(server: TeacherServer) -> None:
    # 8 clients with at most 4 rows each never overfill the queue of 32.
    def play(first: int) -> None:
        with TeacherClient(server.address) as mine:
            for count in (1, 4, 2, 3, 4):
                values = mine.evaluate(observations(first, count), timeout_seconds=PATIENCE_SECONDS)
                np.testing.assert_array_equal(values.action_values, expected(first, count))

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(play, range(0, 160, 20)))


def test_a_full_queue_refuses_and_answers_afterwards(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    occupy(policy, client)
    waiting = [client.evaluate_future(observations(0, 16), 60) for _ in range(2)]
    wait_for_queued_rows(server, 32)
    with pytest.raises(TeacherOverloaded, match="32 of 32 rows.*try again in"):
        client.evaluate(observations(0, 1))
    policy.gate.set()
    for future in waiting:
        np.testing.assert_array_equal(future.result().action_values, expected(0, 16))
    np.testing.assert_array_equal(client.evaluate(observations(7, 1)).action_values, expected(7, 1))


def test_a_query_past_its_deadline_fails_in_time_and_is_never_computed(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    occupy(policy, client)
    # The gate is closed: no answer comes.
    with pytest.raises(TeacherTimeout, match="allow more time"):
        client.evaluate(observations(100, 4), timeout_seconds=0.2)
    in_time = client.evaluate_future(observations(0, 1), 60)
    # The late one has left the queue by itself.
    wait_for_queued_rows(server, 1)
    policy.gate.set()
    np.testing.assert_array_equal(in_time.result().action_values, expected(0, 1))
    assert not set(range(100, 104)) & set(policy.computed)


def test_a_cancelled_query_is_never_computed(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    occupy(policy, client)
    given_up = client.evaluate_future(observations(100, 4), 60)
    wait_for_queued_rows(server, 4)
    given_up.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        given_up.result()
    # Travels behind the news that the other is cancelled.
    last = client.evaluate_future(observations(0, 1), 60)
    wait_for_queued_rows(server, 5)
    policy.gate.set()
    last.result()
    end = time.monotonic() + PATIENCE_SECONDS
    while metric(server, 'rrl_teacher_cancelled_total{model="teacher",priority="acting"}') < 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not set(range(100, 104)) & set(policy.computed)


def test_a_future_reports_when_it_is_done(client: TeacherClient) -> None:
    done = threading.Event()
    future = client.evaluate_future(observations(3, 2))
    future.add_done_callback(lambda it: done.set() if it is future and it.done() else None)
    assert done.wait(PATIENCE_SECONDS)
    np.testing.assert_array_equal(future.result().action_values, expected(3, 2))


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (np.zeros((1, 3, 2), np.uint8), r"\(3, 2\); this teacher takes \(2, 3\)"),
        (np.zeros((1, 2, 3), np.float32), "'float32'; this teacher takes uint8"),
        (np.zeros((0, 2, 3), np.uint8), "at least one row"),
        (np.zeros((1, 2, 3), np.int32), "int32"),
    ],
)
def test_a_wrong_query_is_rejected_with_what_would_be_right(
    client: TeacherClient, batch: NDArray[Any], reason: str
) -> None:
    with pytest.raises(TeacherRejected, match=reason):
        client.evaluate(batch)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_rows": 0, "observations": b""},
        {"batch_rows": 17, "observations": bytes(17 * 6)},
        {"batch_rows": 3},
        {"observations": bytes(11)},
        {"observation_dtype": "object"},
        {"observation_dtype": ""},
        {"observation_shape": [6]},
        {"batch_rows": 2**32 - 1},
    ],
)
def test_a_request_that_contradicts_itself_or_the_limits_is_an_invalid_argument(
    stub: teacher_pb2_grpc.TeacherStub, changes: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {
        "batch_rows": 2,
        "observation_shape": [2, 3],
        "observation_dtype": "uint8",
        "observations": bytes(12),
    }
    with pytest.raises(grpc.RpcError) as caught:
        stub.Evaluate(teacher_pb2.EvaluateRequest(**(fields | changes)), timeout=PATIENCE_SECONDS)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_far_beyond_the_limit_is_refused_unread(client: TeacherClient) -> None:
    # The limit is 4 MiB; a million rows are 6 MB.
    with pytest.raises(TeacherRejected, match="send fewer rows"):
        client.evaluate_future(np.zeros((1_000_000, 2, 3), np.uint8)).result()


def test_an_error_in_the_policy_fails_its_query_and_not_the_next(client: TeacherClient) -> None:
    with pytest.raises(TeacherFailed, match="see the teacher's log"):
        client.evaluate(observations(255, 1))
    np.testing.assert_array_equal(client.evaluate(observations(1, 1)).action_values, expected(1, 1))


def test_nothing_is_served_before_the_warm_up_is_over(policy: PixelSums) -> None:
    policy.gate.clear()
    server = make_server(policy)
    server.start()
    try:
        assert policy.entered.wait(PATIENCE_SECONDS)
        for name in ("", SERVICE_NAME):
            with grpc.insecure_channel(server.address) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                status = check(
                    health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE_SECONDS
                ).status
            assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(UserError, match="not serving within"):
            wait_until_serving(server.address, 0.3)
        with pytest.raises(TimeoutError):
            server.wait_until_ready(0.01)
        with TeacherClient(server.address) as client:
            with pytest.raises(TeacherUnavailable, match="it is warming up"):
                client.evaluate(observations(0, 1))
            with pytest.raises(TeacherUnavailable, match="within 0.3 s"):
                client.wait_until_ready(0.3)
            policy.gate.set()
            client.wait_until_ready(PATIENCE_SECONDS)
            assert is_serving(server.address, SERVICE_NAME, timeout_seconds=PATIENCE_SECONDS)
            np.testing.assert_array_equal(
                client.evaluate(observations(4, 1)).action_values, expected(4, 1)
            )
    finally:
        policy.gate.set()
        server.stop(5.0)


def test_stopping_during_the_warm_up_ends_cleanly(policy: PixelSums) -> None:
    policy.gate.clear()
    server = make_server(policy)
    server.start()
    assert policy.entered.wait(PATIENCE_SECONDS)
    stopping = threading.Thread(target=server.stop, args=(5.0,))
    stopping.start()
    wait_until(lambda: server._ready.cancelled(), "the stop is known")
    policy.gate.set()
    stopping.join(PATIENCE_SECONDS)
    assert server.wait(0)
    # The warm-up was at its first size; the two others were not begun.
    assert set(map(len, policy.batches)) == {1}


def test_a_stop_answers_what_is_queued_and_refuses_what_is_new(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    busy = occupy(policy, client)
    queued = client.evaluate_future(observations(0, 12), 60)
    wait_for_queued_rows(server, 12)
    stopping = threading.Thread(target=server.stop, args=(30.0,))
    stopping.start()
    end = time.monotonic() + PATIENCE_SECONDS
    while is_serving(server.address, timeout_seconds=PATIENCE_SECONDS):
        assert time.monotonic() < end
    with pytest.raises(TeacherUnavailable, match="is draining|or draining"):
        client.evaluate(observations(0, 1))
    policy.gate.set()
    np.testing.assert_array_equal(queued.result().action_values, expected(0, 12))
    np.testing.assert_array_equal(busy.result().action_values, expected(200, 1))
    stopping.join(PATIENCE_SECONDS)
    assert server.wait(0)


def test_a_health_watcher_does_not_hold_up_the_stop(server: TeacherServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        start = time.monotonic()
        server.stop(PATIENCE_SECONDS)
        assert time.monotonic() - start < PATIENCE_SECONDS / 2
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_reflection_lists_the_services(server: TeacherServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=PATIENCE_SECONDS)
    names = {service.name for service in answer.list_services_response.service}
    assert {"rrl.teacher.v1.Teacher", "grpc.health.v1.Health"} <= names


def test_metrics_rise_with_the_requests(
    server: TeacherServer, policy: PixelSums, client: TeacherClient
) -> None:
    client.evaluate(observations(0, 6))
    client.evaluate(observations(0, 1))
    with pytest.raises(TeacherRejected):
        client.evaluate(np.zeros((1, 9), np.uint8))
    priority = 'model="teacher",priority="acting"'
    assert metric(server, f'rrl_teacher_queries_total{{code="OK",{priority}}}') == 2
    assert metric(server, f'rrl_teacher_queries_total{{code="INVALID_ARGUMENT",{priority}}}') == 1
    assert metric(server, f'rrl_teacher_rejected_total{{{priority},reason="invalid"}}') == 1
    assert metric(server, f"rrl_teacher_rows_total{{{priority}}}") == 7
    assert metric(server, f"rrl_teacher_latency_seconds_count{{{priority}}}") == 2
    assert metric(server, f"rrl_teacher_wait_seconds_count{{{priority}}}") == 2
    model = '{model="teacher"}'
    assert metric(server, f"rrl_teacher_batch_rows_sum{model}") == 7
    # Real and padding rows together are what the policy was given.
    padding = metric(server, f"rrl_teacher_padding_rows_total{model}")
    assert 7 + padding == len(policy.computed)
    assert metric(server, f"rrl_teacher_forward_seconds_count{model}") >= 2
    assert metric(server, "rrl_teacher_compilations_after_ready_total") == 0
    assert metric(server, "rrl_teacher_serving") == 1
    assert queued_rows(server) == 0


def test_a_port_in_use_is_one_line_and_leaves_the_other_server_alone(
    server: TeacherServer, client: TeacherClient
) -> None:
    port = int(server.address.rpartition(":")[2])
    second = make_server(PixelSums(), port=port)
    with pytest.raises(UserError, match=f"{port}.*--port"):
        second.start()
    third = make_server(PixelSums(), metrics_port=server.metrics_port)
    with pytest.raises(UserError, match=f"{server.metrics_port}.*--metrics-port"):
        third.start()
    np.testing.assert_array_equal(client.evaluate(observations(2, 1)).action_values, expected(2, 1))


def test_nobody_at_the_address_is_unavailable(server: TeacherServer) -> None:
    address = server.address
    server.stop(1.0)
    with TeacherClient(address) as client, pytest.raises(TeacherUnavailable, match=address):
        client.evaluate(observations(0, 1))


def test_a_client_finds_a_teacher_that_starts_later_on_the_same_address(
    server: TeacherServer, client: TeacherClient
) -> None:
    port = int(server.address.rpartition(":")[2])
    client.evaluate(observations(0, 1))
    server.stop(1.0)
    with pytest.raises(TeacherUnavailable):
        client.evaluate(observations(0, 1), timeout_seconds=1.0)
    successor = make_server(PixelSums(), port=port)
    successor.start()
    try:
        client.wait_until_ready(PATIENCE_SECONDS)
        np.testing.assert_array_equal(
            client.evaluate(observations(1, 1)).action_values, expected(1, 1)
        )
    finally:
        successor.stop(1.0)


def no_room(observations: NDArray[Any]) -> None:
    """Fails on larger batches, as a device without memory for them does."""
    if len(observations) > BUCKETS[0]:
        raise RuntimeError("out of memory: tried to allocate 2.00 GiB\nand more lines")


def test_a_policy_that_fails_as_it_warms_up_ends_the_service_with_its_reason() -> None:
    policy = PixelSums()
    policy.before_batch = no_room
    server = make_server(policy)
    server.start()
    try:
        reason = (
            rf"failed on a batch of {BUCKETS[1]} states \(RuntimeError: out of memory: tried to "
        )
        with pytest.raises(UserError, match=reason) as failed:
            server.run(threading.Event())
        assert server.failure is failed.value
        assert "and more lines" not in str(failed.value)
        assert not is_serving(server.address, timeout_seconds=PATIENCE_SECONDS)
    finally:
        server.stop(0.0)
