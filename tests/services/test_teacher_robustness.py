"""What bad clients do to the real server: nothing that others notice, and nothing that stays.

After every test the server answers as before, no row is queued, no stream is counted, no thread or
descriptor is left over, and the log holds no error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rrl_client import TeacherClient
from rrl_client.shared_memory import SharedRows, host_id
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.cli.shutdown import install_shutdown_event
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import SERVICE_NAME, TeacherServer
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import POISON, PixelSums

# Some versions of protobuf warn of what they cannot read, and read what comes before.
pytestmark = pytest.mark.filterwarnings("ignore:Unexpected end-group tag:RuntimeWarning")

ROOT = Path(__file__).resolve().parents[2]
CREDIT_ROWS = 64
MAX_BATCH_ROWS = 16
METHODS = ("Describe", "ListModels", "Evaluate")
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# What a wrong caller may be answered. UNKNOWN and INTERNAL are the server's own mistakes.
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
REFUSAL_CODES = {code.value[0] for code in REFUSALS}

few = settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
many = settings(few, max_examples=2000)


def make_server(policy: PixelSums) -> TeacherServer:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=0,
        batching=BatchingConfig(
            buckets=(1, 8, MAX_BATCH_ROWS),
            max_queue_rows=256,
            stream_credit_rows=CREDIT_ROWS,
            longest_wait_seconds=20.0,
        ),
    )
    return TeacherServer(config, [policy])


def serve() -> None:
    """Serve until SIGTERM; in a process of its own."""
    shutdown = install_shutdown_event()
    server = make_server(PixelSums(shape=(2,)))
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    print(server.address, flush=True)
    shutdown.wait()
    server.stop(5.0)


def identity(content: bytes) -> bytes:
    return content


def request(pixel: int, rows: int = 1, **changes: Any) -> teacher_pb2.EvaluateRequest:
    fields: dict[str, Any] = {
        "batch_rows": rows,
        "observation_shape": [2],
        "observation_dtype": "uint8",
        "observations": bytes([pixel] * 2 * rows),
    }
    return teacher_pb2.EvaluateRequest(**(fields | changes))


def values(response: teacher_pb2.EvaluateResponse) -> list[float]:
    return np.frombuffer(response.action_values, "<f4").tolist()  # type: ignore[no-any-return]


def check_it_answers(stub: teacher_pb2_grpc.TeacherStub, pixel: int = 7) -> None:
    assert values(stub.Evaluate(request(pixel), timeout=PATIENCE_SECONDS)) == [2 * pixel, 4 * pixel]


def metrics(server: TeacherServer) -> str:
    page = NO_PROXY.open(
        f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=PATIENCE_SECONDS
    )
    with page:
        return str(page.read().decode())


def metric(page: str, name: str) -> float:
    """The sum of a metric's series, or of those that begin with given labels."""
    pattern = rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$"
    return sum(float(value) for value in re.findall(pattern, page, re.MULTILINE))


def is_idle(server: TeacherServer) -> bool:
    page = metrics(server)
    names = ("rrl_teacher_queue_rows", "rrl_teacher_queue_bytes", "rrl_teacher_streams")
    return all(metric(page, name) == 0 for name in names)


def open_descriptors() -> list[str]:
    """What the descriptors of this process are of."""
    found = []
    for entry in os.scandir("/proc/self/fd"):
        # That of the scan itself is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry.path))
    return found


def new_resources(threads: list[threading.Thread], descriptors: list[str]) -> list[str]:
    """Threads and descriptors of this process, beyond those given; it holds server and clients."""
    names = [thread.name for thread in threading.enumerate() if thread not in threads]
    found = open_descriptors()
    if len(found) <= len(descriptors):
        return names
    kinds = Counter(re.sub(r"\d+", "", path) for path in found)
    kinds.subtract(re.sub(r"\d+", "", path) for path in descriptors)
    return [*names, *(f"{count} x {kind}" for kind, count in kinds.items() if count > 0)]


@pytest.fixture(scope="module")
def policy() -> PixelSums:
    return PixelSums(shape=(2,))


@pytest.fixture(scope="module")
def server(policy: PixelSums) -> Iterator[TeacherServer]:
    made = make_server(policy)
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    # gRPC keeps what its first calls made.
    with grpc.insecure_channel(made.address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        check_it_answers(stub)
        assert len(list(stub.EvaluateStream(iter([teacher_pb2.QueryFrame()])))) == 1
    metrics(made)
    yield made
    policy.gate.set()
    made.stop(5.0)


@pytest.fixture(autouse=True)
def nothing_stays(
    server: TeacherServer, policy: PixelSums, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    wait_until(lambda: is_idle(server), "idle before the test")
    threads, descriptors = threading.enumerate(), open_descriptors()
    yield
    policy.gate.set()
    with grpc.insecure_channel(server.address) as channel:
        check_it_answers(teacher_pb2_grpc.TeacherStub(channel))
    wait_until(lambda: is_idle(server), "idle after the test")
    end = time.monotonic() + PATIENCE_SECONDS
    while new := new_resources(threads, descriptors):
        assert time.monotonic() < end, f"left over: {new}"
        time.sleep(0.02)
    errors = [
        record.getMessage()
        for record in caplog.get_records("call")
        if (record.levelno >= logging.ERROR or record.exc_info)
        and record.getMessage() != "the policy failed on a batch"
    ]
    assert not errors


@pytest.fixture
def channel(server: TeacherServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


@pytest.fixture
def stub(channel: grpc.Channel) -> teacher_pb2_grpc.TeacherStub:
    return teacher_pb2_grpc.TeacherStub(channel)


# Requests.

texts = st.text(max_size=30) | st.sampled_from(["", "teacher", "v1", "1", "é" * 600])
numbers = st.integers(0, 2**32 - 1) | st.integers(0, 20)
messages = st.builds(
    teacher_pb2.EvaluateRequest,
    batch_rows=numbers,
    observation_shape=st.lists(numbers, max_size=4) | st.just([2]) | st.just([1] * 300),
    observation_dtype=st.sampled_from(["uint8", "float32", "object", "<U8", ""]) | texts,
    observations=st.binary(max_size=64),
    model=texts,
    version=texts,
    priority=st.sampled_from([0, 0, 1, 2, 3, -1, 2**31 - 1]),
)
in_memory = st.builds(
    lambda rows, offset: teacher_pb2.EvaluateRequest(
        batch_rows=rows,
        observation_shape=[2],
        observation_dtype="uint8",
        memory_offset=offset,
    ),
    numbers,
    numbers | st.integers(0, 2**64 - 1),
)


def check_random_bytes(channel: grpc.Channel, method: str, content: bytes) -> None:
    call = channel.unary_unary(f"/{SERVICE_NAME}/{method}", identity, identity)
    try:
        call(content, timeout=PATIENCE_SECONDS)
    except grpc.RpcError as error:
        assert error.code() in REFUSALS, error.details()
    check_it_answers(teacher_pb2_grpc.TeacherStub(channel))


def check_random_fields(
    stub: teacher_pb2_grpc.TeacherStub, message: teacher_pb2.EvaluateRequest
) -> None:
    fits = len(message.observations) == 2 * message.batch_rows
    try:
        response = stub.Evaluate(message, timeout=PATIENCE_SECONDS)
    except grpc.RpcError as error:
        poisoned = POISON in message.observations and fits
        assert error.code() in REFUSALS or poisoned, error.details()
        assert error.details(), "a refusal says what is wrong"
    else:
        assert fits and response.batch_rows == message.batch_rows
    check_it_answers(stub)


@few
@given(method=st.sampled_from(METHODS), content=st.binary(max_size=200))
def test_random_bytes_are_refused(channel: grpc.Channel, method: str, content: bytes) -> None:
    check_random_bytes(channel, method, content)


@few
@given(message=messages)
def test_random_fields_are_answered_or_refused(
    stub: teacher_pb2_grpc.TeacherStub, message: teacher_pb2.EvaluateRequest
) -> None:
    check_random_fields(stub, message)


@pytest.mark.slow
@many
@given(method=st.sampled_from(METHODS), content=st.binary(max_size=5000))
def test_many_random_bytes_are_refused(channel: grpc.Channel, method: str, content: bytes) -> None:
    check_random_bytes(channel, method, content)


@pytest.mark.slow
@many
@given(message=messages)
def test_many_random_fields_are_answered_or_refused(
    stub: teacher_pb2_grpc.TeacherStub, message: teacher_pb2.EvaluateRequest
) -> None:
    check_random_fields(stub, message)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "m" * 60_000}, grpc.StatusCode.NOT_FOUND),
        ({"version": "é" * 30_000}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"observation_dtype": "\U0001f600" * 10_000}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"observation_shape": [2**32 - 1] * 10_000}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"batch_rows": 2**32 - 1}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_refusal_of_something_huge_still_fits_the_trailers(
    stub: teacher_pb2_grpc.TeacherStub, changes: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Evaluate(request(1, **changes), timeout=PATIENCE_SECONDS)
    assert caught.value.code() == code


def test_failing_batches_fail_their_queries_alone(stub: teacher_pb2_grpc.TeacherStub) -> None:
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Evaluate(request(POISON, 3), timeout=PATIENCE_SECONDS)
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        check_it_answers(stub)


# Streams.

queries = st.builds(
    teacher_pb2.Query,
    tag=st.integers(0, 5) | st.integers(0, 2**64 - 1),
    timeout_ms=st.sampled_from([0, 1, 5000, 2**32 - 1]),
    request=messages
    | in_memory
    | st.builds(request, st.integers(0, 254), st.integers(1, 40))
    | st.just(teacher_pb2.EvaluateRequest()),
)
OWN = SharedRows(2, 16)
"""Zeros in memory of this process, which it may share with the server."""

offers = st.builds(
    teacher_pb2.MemoryOffer,
    host_id=st.just(host_id()) | texts,
    process_id=st.just(os.getpid()) | numbers,
    descriptor=st.just(OWN.descriptor) | st.integers(0, 20) | numbers,
    size_bytes=st.just(OWN.size_bytes) | st.integers(0, 2**64 - 1),
    proof=st.just(OWN.proof) | st.binary(max_size=40),
)
frames = st.lists(
    st.builds(
        teacher_pb2.QueryFrame,
        queries=st.lists(queries, max_size=8),
        memory=st.none() | offers,
        cancelled_tags=st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), max_size=8),
    ),
    max_size=6,
)


def check_random_frames(
    stub: teacher_pb2_grpc.TeacherStub, sent: list[teacher_pb2.QueryFrame]
) -> None:
    asked = [query.tag for frame in sent for query in frame.queries]
    answers: list[teacher_pb2.Answer] = []
    try:
        for frame in stub.EvaluateStream(iter(sent), timeout=PATIENCE_SECONDS):
            answers += frame.answers
    except grpc.RpcError as error:
        # The two misuses that end a stream: a tag that is in use, and a second memory.
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
        offered = sum(frame.HasField("memory") for frame in sent)
        assert len(set(asked)) < len(asked) or offered > 1
    else:
        assert sorted(answer.tag for answer in answers) == sorted(asked)
    for answer in answers:
        if answer.HasField("failure"):
            is_policys = "the policy failed" in answer.failure.message
            assert answer.failure.code in REFUSAL_CODES or is_policys
    check_it_answers(stub)


@few
@given(sent=frames)
def test_random_frames_are_answered_or_end_their_stream(
    stub: teacher_pb2_grpc.TeacherStub, sent: list[teacher_pb2.QueryFrame]
) -> None:
    check_random_frames(stub, sent)


@pytest.mark.slow
@many
@given(sent=frames)
def test_many_random_frames_are_answered_or_end_their_stream(
    stub: teacher_pb2_grpc.TeacherStub, sent: list[teacher_pb2.QueryFrame]
) -> None:
    check_random_frames(stub, sent)


@few
@given(content=st.binary(min_size=1, max_size=200))
def test_random_bytes_on_a_stream_end_it_at_most(channel: grpc.Channel, content: bytes) -> None:
    call = channel.stream_stream(f"/{SERVICE_NAME}/EvaluateStream", identity, identity)
    try:
        assert list(call(iter([content]), timeout=PATIENCE_SECONDS))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    check_it_answers(teacher_pb2_grpc.TeacherStub(channel))


def test_rows_that_are_a_lie_do_not_break_the_credit(stub: teacher_pb2_grpc.TeacherStub) -> None:
    # Three refused queries of 2**32 - 1 rows: their sum does not fit the frame that returns them.
    lies = [
        teacher_pb2.Query(tag=tag, request=request(1, batch_rows=2**32 - 1)) for tag in range(3)
    ]
    honest = teacher_pb2.Query(tag=9, request=request(3))
    sent = [teacher_pb2.QueryFrame(queries=lies), teacher_pb2.QueryFrame(queries=[honest])]
    answers = {
        answer.tag: answer
        for frame in stub.EvaluateStream(iter(sent), timeout=PATIENCE_SECONDS)
        for answer in frame.answers
    }
    assert sorted(answers) == [0, 1, 2, 9]


def test_thousands_of_empty_queries_are_all_refused(stub: teacher_pb2_grpc.TeacherStub) -> None:
    frame = teacher_pb2.QueryFrame(queries=[teacher_pb2.Query(tag=tag) for tag in range(2000)])
    answers = [
        answer
        for received in stub.EvaluateStream(iter([frame] * 5), timeout=PATIENCE_SECONDS)
        for answer in received.answers
    ]
    assert len(answers) == 10_000
    assert {answer.failure.code for answer in answers} == {
        grpc.StatusCode.INVALID_ARGUMENT.value[0]
    }


@pytest.mark.parametrize(
    "frame",
    [
        teacher_pb2.QueryFrame(queries=[teacher_pb2.Query()] * 5000),
        teacher_pb2.QueryFrame(cancelled_tags=[0] * 65_540),
    ],
    ids=["queries", "cancelled tags"],
)
def test_a_frame_of_more_than_any_credit_needs_ends_its_stream(
    stub: teacher_pb2_grpc.TeacherStub, frame: teacher_pb2.QueryFrame
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.EvaluateStream(iter([frame]), timeout=PATIENCE_SECONDS))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "send at most" in str(caught.value.details())
    check_it_answers(stub)


class Mute:
    """A stream that sends only on request and reads nothing by itself."""

    def __init__(self, stub: teacher_pb2_grpc.TeacherStub) -> None:
        self._frames: queue.SimpleQueue[teacher_pb2.QueryFrame | None] = queue.SimpleQueue()
        self.call: Any = stub.EvaluateStream(iter(self._frames.get, None), timeout=PATIENCE_SECONDS)

    def send(self, frame: teacher_pb2.QueryFrame) -> None:
        self._frames.put(frame)

    def ask(self, *tags: int, rows: int = 1) -> None:
        self.send(
            teacher_pb2.QueryFrame(
                queries=[
                    teacher_pb2.Query(tag=tag, request=request(tag % POISON, rows)) for tag in tags
                ]
            )
        )

    def end(self) -> None:
        self._frames.put(None)
        self.call.cancel()


def test_who_never_reads_its_answers_holds_up_nobody_and_no_memory(
    server: TeacherServer, stub: teacher_pb2_grpc.TeacherStub
) -> None:
    with grpc.insecure_channel(server.address) as other:
        mutes = [Mute(teacher_pb2_grpc.TeacherStub(other)) for _ in range(2)]
        empty = teacher_pb2.QueryFrame(queries=[teacher_pb2.Query(tag=tag) for tag in range(1000)])
        for mute in mutes:
            mute.ask(*range(CREDIT_ROWS))
            # Refusals cost no credit: what bounds them is that the server stops to read.
            for _ in range(30):
                mute.send(empty)
        before = psutil.Process().memory_info().rss
        for pixel in range(200):
            check_it_answers(stub, pixel)
        assert psutil.Process().memory_info().rss - before < 64 * 2**20
        for mute in mutes:
            mute.end()


def test_half_closed_streams_are_answered_and_ended(stub: teacher_pb2_grpc.TeacherStub) -> None:
    for rows in (1, MAX_BATCH_ROWS):
        frame = teacher_pb2.QueryFrame(
            queries=[teacher_pb2.Query(tag=tag, request=request(tag, rows)) for tag in range(4)]
        )
        answers = [
            answer
            for received in stub.EvaluateStream(iter([frame]), timeout=PATIENCE_SECONDS)
            for answer in received.answers
        ]
        assert {answer.tag: values(answer.response) for answer in answers} == {
            tag: [2 * tag, 4 * tag] * rows for tag in range(4)
        }


def test_clients_that_vanish_with_queries_under_way_leave_nothing(
    server: TeacherServer, policy: PixelSums
) -> None:
    policy.gate.clear()
    for _ in range(10):
        with grpc.insecure_channel(server.address) as channel:
            stub = teacher_pb2_grpc.TeacherStub(channel)
            mute = Mute(stub)
            mute.ask(1, 2, 3, rows=3)
            next(mute.call)
            calls = [
                stub.Evaluate.future(request(1, 2), timeout=PATIENCE_SECONDS) for _ in range(3)
            ]
            time.sleep(0.01)
        # Closing the channel has cancelled all of them.
        assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
        mute.end()
    policy.gate.set()


_VANISHING = """
import sys, time
import numpy as np
from rrl_client import TeacherClient
client = TeacherClient(sys.argv[1], shared_memory=sys.argv[2] == "True")
client.evaluate(np.ones((2, 2), np.uint8))
print("answered", flush=True)
sys.stdin.readline()
futures = [client.evaluate_future(np.ones((2, 2), np.uint8), 60) for _ in range(20)]
print("asked", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_client_process_that_is_killed_leaves_nothing(
    server: TeacherServer, policy: PixelSums, shared_memory: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _VANISHING, server.address, str(shared_memory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        assert process.stdout.readline() == b"answered\n"
        sharing = metric(metrics(server), 'rrl_teacher_streams{observations="shared_memory"}')
        assert sharing == shared_memory
        policy.gate.clear()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"asked\n"
        wait_until(
            lambda: metric(metrics(server), "rrl_teacher_queue_rows") >= 20, "queries are queued"
        )
        os.kill(process.pid, signal.SIGKILL)
    policy.gate.set()


def test_connections_that_never_speak_or_speak_nonsense_disturb_nobody(
    server: TeacherServer, stub: teacher_pb2_grpc.TeacherStub
) -> None:
    host, _, port = server.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for index in range(50):
            connection = stack.enter_context(socket.create_connection((host, int(port)), 5))
            if index % 2:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for pixel in range(20):
            check_it_answers(stub, pixel)


# Memory.


def use(address: str, requests: int) -> None:
    """Ask in every way, well and badly: of ten requests six are answered."""
    observations = np.ones((2, 2), np.uint8)
    per_round = 100
    with grpc.insecure_channel(address) as channel, TeacherClient(address) as auto:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        for _ in range(requests // per_round):
            mute = Mute(stub)
            mute.ask(*range(10))
            next(mute.call)
            futures = [auto.evaluate_future(observations, 20) for _ in range(35)]
            frame = teacher_pb2.QueryFrame(
                queries=[teacher_pb2.Query(tag=tag, request=request(tag, 2)) for tag in range(25)],
                cancelled_tags=range(5),
            )
            assert list(stub.EvaluateStream(iter([frame]), timeout=PATIENCE_SECONDS))
            calls: list[Any] = [
                stub.Evaluate.future(request(1), timeout=PATIENCE_SECONDS) for _ in range(10)
            ]
            for call in calls[5:]:
                call.cancel()
            bad: list[dict[str, Any]] = [{"model": "x" * 100}, {"batch_rows": 0}]
            for changes in bad * 10:
                with pytest.raises(grpc.RpcError):
                    stub.Evaluate(request(1, **changes), timeout=PATIENCE_SECONDS)
            for future in futures:
                assert future.result().action_values.tolist() == [[2, 4], [2, 4]]
            for call in calls[:5]:
                call.result()
            mute.end()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_requests() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"import runpy; runpy.run_path({__file__!r})['serve']()"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            address = process.stdout.readline().strip()
            server = psutil.Process(process.pid)
            use(address, 1000)
            first = server.memory_info().rss
            descriptors, threads = server.num_fds(), server.num_threads()
            use(address, 9000)
            # 9,000 more requests that each left 250 bytes would be 2.1 MiB.
            assert server.memory_info().rss - first < 2 * 2**20
            assert server.num_threads() <= threads + 2
            assert server.num_fds() <= descriptors + 2
        finally:
            process.terminate()
    assert process.returncode == 0
