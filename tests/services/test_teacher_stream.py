"""The bidirectional stream of the real server, frame by frame."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

CREDIT_ROWS = 20


class Conversation:
    """One stream; frames are sent when the test says so."""

    def __init__(self, stub: teacher_pb2_grpc.TeacherStub) -> None:
        self._frames: queue.Queue[teacher_pb2.QueryFrame | None] = queue.Queue()
        self.call = stub.EvaluateStream(iter(self._frames.get, None), timeout=PATIENCE_SECONDS)
        self.credit = 0
        self.answers: dict[int, teacher_pb2.Answer] = {}
        self.draining = False

    def ask(self, *tags: int, rows: int = 1, **changes: Any) -> None:
        """Send queries in one frame; every pixel of a query is its tag."""
        self.credit -= rows * len(tags)
        self._frames.put(
            teacher_pb2.QueryFrame(queries=[query(tag, rows, **changes) for tag in tags])
        )

    def send(self, frame: teacher_pb2.QueryFrame) -> None:
        self._frames.put(frame)

    def half_close(self) -> None:
        self._frames.put(None)

    def read_frame(self) -> None:
        frame = next(self.call)
        self.credit += frame.credit_rows
        self.draining = self.draining or frame.draining
        for answer in frame.answers:
            assert answer.tag not in self.answers
            self.answers[answer.tag] = answer

    def wait_for(self, *tags: int) -> None:
        while not set(tags) <= set(self.answers):
            self.read_frame()


def query(tag: int, rows: int = 1, timeout_ms: int = 0, **changes: Any) -> teacher_pb2.Query:
    fields: dict[str, Any] = {
        "batch_rows": rows,
        "observation_shape": [2],
        "observation_dtype": "uint8",
        "observations": bytes([tag % 256] * 2 * rows),
    }
    request = teacher_pb2.EvaluateRequest(**(fields | changes))
    return teacher_pb2.Query(tag=tag, timeout_ms=timeout_ms, request=request)


def values(answer: teacher_pb2.Answer) -> list[float]:
    return np.frombuffer(answer.response.action_values, "<f4").tolist()  # type: ignore[no-any-return]


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
        batching=BatchingConfig(
            buckets=(1, 4, 10),
            max_queue_rows=CREDIT_ROWS,
            stream_credit_rows=CREDIT_ROWS,
        ),
    )
    made = TeacherServer(config, [policy])
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    policy.entered.clear()
    yield made
    policy.gate.set()
    made.stop(5.0)


@pytest.fixture
def conversation(server: TeacherServer) -> Iterator[Conversation]:
    with grpc.insecure_channel(server.address) as channel:
        made = Conversation(teacher_pb2_grpc.TeacherStub(channel))
        made.read_frame()
        yield made
        made.half_close()
        made.call.cancel()


def test_the_first_frame_grants_the_credit(conversation: Conversation) -> None:
    assert (conversation.credit, conversation.answers) == (CREDIT_ROWS, {})


def test_every_query_of_a_frame_is_answered_under_its_tag(conversation: Conversation) -> None:
    conversation.ask(3, 2**40, 5, rows=2)
    conversation.wait_for(3, 2**40, 5)
    # Two pixels of value t: t + t, and twice that; two rows.
    assert values(conversation.answers[3]) == [6, 12, 6, 12]
    assert values(conversation.answers[5]) == [10, 20, 10, 20]
    assert conversation.answers[3].response.teacher_version == "v1"
    assert conversation.answers[3].response.model_version == 1
    # Every row comes back.
    assert conversation.credit == CREDIT_ROWS


def test_answers_come_when_they_are_ready_not_in_order(
    conversation: Conversation, policy: PixelSums
) -> None:
    policy.gate.clear()
    conversation.ask(1)
    assert policy.entered.wait(PATIENCE_SECONDS)
    # The wrong one is refused at once, while the first is still computed.
    conversation.ask(2, observation_dtype="float32")
    conversation.wait_for(2)
    assert 1 not in conversation.answers
    assert conversation.answers[2].failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "this teacher takes uint8" in conversation.answers[2].failure.message
    policy.gate.set()
    conversation.wait_for(1)
    assert conversation.credit == CREDIT_ROWS


def test_a_query_beyond_the_credit_is_refused_and_the_others_are_answered(
    conversation: Conversation, policy: PixelSums
) -> None:
    policy.gate.clear()
    conversation.ask(1, 2, rows=10)
    conversation.ask(3)
    conversation.wait_for(3)
    failure = conversation.answers[3].failure
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert "20 of 20 rows of this stream" in failure.message
    policy.gate.set()
    conversation.wait_for(1, 2)
    assert values(conversation.answers[2])[:2] == [4, 8]
    assert conversation.credit == CREDIT_ROWS


def test_a_late_query_is_told_in_time(conversation: Conversation, policy: PixelSums) -> None:
    policy.gate.clear()
    conversation.ask(1)
    assert policy.entered.wait(PATIENCE_SECONDS)
    conversation.ask(2, timeout_ms=50)
    conversation.wait_for(2)
    failure = conversation.answers[2].failure
    assert failure.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_a_cancelled_query_is_settled(conversation: Conversation, policy: PixelSums) -> None:
    policy.gate.clear()
    conversation.ask(1)
    assert policy.entered.wait(PATIENCE_SECONDS)
    conversation.ask(2)
    # Unknown tags are of queries that were answered by then.
    conversation.send(teacher_pb2.QueryFrame(cancelled_tags=[2, 77]))
    conversation.ask(3, observation_shape=[9])
    conversation.wait_for(3)
    policy.gate.set()
    conversation.wait_for(1, 2)
    assert conversation.answers[2].failure.code == grpc.StatusCode.CANCELLED.value[0]
    assert conversation.credit == CREDIT_ROWS


def test_a_tag_in_use_ends_the_stream(conversation: Conversation, policy: PixelSums) -> None:
    policy.gate.clear()
    conversation.ask(1, 1)
    with pytest.raises(grpc.RpcError) as caught:
        conversation.wait_for(1)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "tag 1" in str(caught.value.details())


def test_after_a_half_close_what_is_under_way_is_answered(
    conversation: Conversation, policy: PixelSums
) -> None:
    policy.gate.clear()
    conversation.ask(1, 2)
    conversation.half_close()
    threading.Timer(0.1, policy.gate.set).start()
    conversation.wait_for(1, 2)
    with pytest.raises(StopIteration):
        conversation.read_frame()
    assert conversation.call.code() == grpc.StatusCode.OK


def test_a_drain_tells_the_client_and_answers_what_is_under_way(
    conversation: Conversation, policy: PixelSums, server: TeacherServer
) -> None:
    policy.gate.clear()
    conversation.ask(1)
    assert policy.entered.wait(PATIENCE_SECONDS)
    stopping = threading.Thread(target=server.stop, args=(30.0,))
    stopping.start()
    while not conversation.draining:
        conversation.read_frame()
    conversation.ask(2)
    conversation.wait_for(2)
    assert conversation.answers[2].failure.code == grpc.StatusCode.UNAVAILABLE.value[0]
    policy.gate.set()
    conversation.wait_for(1)
    assert values(conversation.answers[1]) == [2, 4]
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()


def test_an_unknown_model_or_priority_is_the_querys_failure(conversation: Conversation) -> None:
    conversation.ask(1, model="unknown")
    conversation.ask(2, priority=9)
    conversation.ask(3, version="77")
    conversation.ask(4, version="v1", model="teacher")
    conversation.wait_for(1, 2, 3, 4)
    codes = [conversation.answers[tag].failure.code for tag in (1, 2, 3)]
    assert codes == [
        status.value[0]
        for status in (
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
    ]
    assert values(conversation.answers[4]) == [8, 16]


def test_a_client_that_vanishes_leaves_nothing_queued(
    server: TeacherServer, policy: PixelSums
) -> None:
    policy.gate.clear()
    with grpc.insecure_channel(server.address) as channel:
        first = Conversation(teacher_pb2_grpc.TeacherStub(channel))
        first.ask(1)
        assert policy.entered.wait(PATIENCE_SECONDS)
        first.ask(2, rows=10)
        first.ask(3, observation_shape=[9])
        first.wait_for(3)
    policy.gate.set()
    # A queue of 20 rows takes 20 again: the ten that waited are gone.
    with grpc.insecure_channel(server.address) as channel:
        second = Conversation(teacher_pb2_grpc.TeacherStub(channel))
        second.read_frame()
        second.ask(1, 2, rows=10)
        second.wait_for(1, 2)
        second.half_close()
    assert values(second.answers[1])[:2] == [2, 4]
