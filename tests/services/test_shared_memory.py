"""Observations in memory that a client shares: well used, misused, and left behind."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from rrl_client import TeacherClient
from rrl_client.shared_memory import SharedRows, host_id
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import PixelSums

ROW_BYTES, ROWS = 2, 16
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.fixture
def policy() -> Iterator[PixelSums]:
    made = PixelSums(shape=(2,))
    yield made
    made.gate.set()


@pytest.fixture
def server(policy: PixelSums) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 8)),
    )
    made = TeacherServer(config, [policy])
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    policy.forget()
    yield made
    policy.gate.set()
    made.stop(5.0)
    wait_until(lambda: made._metrics.memories() == 0, "no memory is mapped")


@pytest.fixture
def memory() -> Iterator[SharedRows]:
    made = SharedRows(ROW_BYTES, ROWS)
    yield made
    made.close()


class Conversation:
    """One stream, whose frames the test makes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._frames: queue.Queue[teacher_pb2.QueryFrame | None] = queue.Queue()
        stub = teacher_pb2_grpc.TeacherStub(channel)
        self._call: Any = stub.EvaluateStream(
            iter(self._frames.get, None), timeout=PATIENCE_SECONDS
        )
        next(self._call)

    def send(self, **fields: Any) -> None:
        self._frames.put(teacher_pb2.QueryFrame(**fields))

    def read(self) -> teacher_pb2.AnswerFrame:
        frame: teacher_pb2.AnswerFrame = next(self._call)
        return frame

    def answer(self) -> teacher_pb2.Answer:
        while not (answers := self.read().answers):
            pass
        return answers[0]

    def is_accepted(self, offered: teacher_pb2.MemoryOffer) -> bool:
        self.send(memory=offered)
        while not (frame := self.read()).HasField("memory_accepted"):
            pass
        return frame.memory_accepted

    def end(self) -> None:
        self._frames.put(None)
        self._call.cancel()


@pytest.fixture
def conversation(server: TeacherServer) -> Iterator[Conversation]:
    with grpc.insecure_channel(server.address) as channel:
        made = Conversation(channel)
        yield made
        made.end()


def offer(memory: SharedRows, **changes: Any) -> teacher_pb2.MemoryOffer:
    fields = {
        "host_id": host_id(),
        "process_id": os.getpid(),
        "descriptor": memory.descriptor,
        "size_bytes": memory.size_bytes,
        "proof": memory.proof,
    }
    return teacher_pb2.MemoryOffer(**(fields | changes))


def query(tag: int, offset: int, rows: int = 1) -> teacher_pb2.Query:
    request = teacher_pb2.EvaluateRequest(
        batch_rows=rows,
        observation_shape=[2],
        observation_dtype="uint8",
        memory_offset=offset,
    )
    return teacher_pb2.Query(tag=tag, request=request)


def values(answer: teacher_pb2.Answer) -> list[float]:
    return np.frombuffer(answer.response.action_values, "<f4").tolist()  # type: ignore[no-any-return]


def sharing(server: TeacherServer) -> int:
    return server._metrics.memories()


def test_rows_in_memory_are_answered(conversation: Conversation, memory: SharedRows) -> None:
    assert conversation.is_accepted(offer(memory))
    memory.put(np.asarray([[1, 1], [3, 4], [5, 6]], np.uint8))
    conversation.send(queries=[query(9, 2, rows=2)])
    # 3 + 4 and 5 + 6, and twice that.
    assert values(conversation.answer()) == [7, 14, 11, 22]


@pytest.mark.parametrize(
    ("offset", "rows", "reason"),
    [
        (ROWS * ROW_BYTES, 1, f"byte {ROWS * ROW_BYTES} of shared memory"),
        ((ROWS - 1) * ROW_BYTES, 2, "shared memory"),
        (2**64 - 1, 1, "shared memory"),
    ],
)
def test_rows_outside_the_memory_are_refused_alone(
    conversation: Conversation, memory: SharedRows, offset: int, rows: int, reason: str
) -> None:
    assert conversation.is_accepted(offer(memory))
    conversation.send(queries=[query(1, offset, rows)])
    refused = conversation.answer()
    assert (refused.failure.code, reason in refused.failure.message) == (INVALID, True)
    conversation.send(queries=[query(2, 0)])
    assert values(conversation.answer()) == [0, 0]


def test_rows_in_memory_that_was_never_offered_are_refused(conversation: Conversation) -> None:
    conversation.send(queries=[query(1, 0)])
    refused = conversation.answer()
    assert (refused.failure.code, "none is shared" in refused.failure.message) == (INVALID, True)


def test_rows_in_memory_of_a_unary_call_are_refused(server: TeacherServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        with pytest.raises(grpc.RpcError, match="none is shared"):
            stub.Evaluate(query(1, 0).request, timeout=PATIENCE_SECONDS)


def test_a_memory_of_another_process_is_declined_and_messages_are_read(
    conversation: Conversation, memory: SharedRows
) -> None:
    # A hostile client names what it can't read: another client's memory, or any other file.
    assert not conversation.is_accepted(offer(memory, proof=bytes(32)))
    in_message = query(1, 0)
    in_message.request.observations = bytes([3, 4])
    conversation.send(queries=[in_message])
    assert values(conversation.answer()) == [7, 14]


def test_a_second_memory_ends_the_stream(conversation: Conversation, memory: SharedRows) -> None:
    assert conversation.is_accepted(offer(memory))
    conversation.send(memory=offer(memory))
    with pytest.raises(grpc.RpcError, match="offered again"):
        conversation.answer()


def test_a_client_that_writes_while_its_rows_are_computed_harms_itself_alone(
    server: TeacherServer, conversation: Conversation, memory: SharedRows, policy: PixelSums
) -> None:
    assert conversation.is_accepted(offer(memory))
    memory.put(np.asarray([[1, 1]], np.uint8))
    policy.gate.clear()
    conversation.send(queries=[query(1, 0)])
    assert policy.entered.wait(PATIENCE_SECONDS)
    with TeacherClient(server.address) as other:
        asked = other.evaluate_future(np.asarray([[3, 4]], np.uint8), PATIENCE_SECONDS)
        memory.reset()
        memory.put(np.asarray([[200, 200]], np.uint8))
        policy.gate.set()
        assert asked.result().action_values.tolist() == [[7, 14]]
    assert values(conversation.answer()) in ([2, 4], [400, 800])


def test_a_client_that_leaves_with_its_rows_on_the_device_leaves_nothing(
    server: TeacherServer, memory: SharedRows, policy: PixelSums
) -> None:
    policy.gate.clear()
    with grpc.insecure_channel(server.address) as channel:
        conversation = Conversation(channel)
        assert conversation.is_accepted(offer(memory))
        conversation.send(queries=[query(1, 0), query(2, 2)])
        assert policy.entered.wait(PATIENCE_SECONDS)
        conversation.end()
    memory.close()
    # The device still reads the rows.
    assert sharing(server) == 1
    policy.gate.set()
    wait_until(lambda: sharing(server) == 0, "the memory is given back")


def test_clients_that_come_and_go_leave_nothing(server: TeacherServer) -> None:
    for turn in range(20):
        with TeacherClient(server.address) as client:
            client.describe()
            answer = client.evaluate(np.full((3, 2), turn, np.uint8)).action_values
            assert answer.tolist() == [[2 * turn, 4 * turn]] * 3
    wait_until(lambda: sharing(server) == 0, "all memories are given back")


def test_more_rows_than_the_memory_holds_are_answered_all_the_same(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrl_client.stream.StreamPool.share_memory.__defaults__", (4,))
    with TeacherClient(server.address) as client:
        client.evaluate(np.zeros((1, 2), np.uint8))
        wait_until(lambda: sharing(server) == 1, "memory is shared")
        futures = [client.evaluate_future(np.full((3, 2), i, np.uint8)) for i in range(60)]
        for i, future in enumerate(futures):
            assert future.result().action_values.tolist() == [[2 * i, 4 * i]] * 3


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.teacher.rpc.server.SHARED_BYTES_IN_ALL", 3000)


def test_memory_beyond_the_servers_bound_is_declined(
    little_memory: None, server: TeacherServer
) -> None:
    with contextlib.ExitStack() as stack:
        # 1,024 rows of 2 bytes, and the proof: there is room for one.
        clients = [stack.enter_context(TeacherClient(server.address)) for _ in range(3)]
        for client in clients:
            client.describe()
            client.evaluate(np.ones((1, 2), np.uint8))
            client.evaluate(np.ones((1, 2), np.uint8))
        assert sharing(server) == 1
