"""A real teacher asked as greedily as can be: it takes no more than the guide's formula says."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rrl_client.v1 import teacher_pb2
from services.shared.addresses import free_port
from services.teacher.config import BatchingConfig
from services.teacher.server import LARGEST_MESSAGE_BYTES
from tests.support.http2 import Http2Caller, prefix
from tests.support.teacher_memory import REST_BYTES, most_memory_bytes

STREAMS = 30
MANY_STREAMS = 50
# More than are read at once.
CALLS = 100
SECONDS = 12.0
ROWS = 148
SHAPE = (84, 84, 4)
TEACHER = "/rrl.teacher.v1.Teacher"
STREAM = f"{TEACHER}/EvaluateStream"


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, psutil.Process]]:
    """A teacher in a process of its own, as a container has it: address and process."""
    address = f"127.0.0.1:{free_port()}"
    program = Path(sys.executable).with_name("rrl")
    command = [program, "teacher", "serve", "--checkpoint", "pong_dqn"]
    flags = ["--port", address.rpartition(":")[2], "--metrics-port", "None", "--no-shared-memory"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("teacher ready")
        seen = psutil.Process(process.pid)
        assert seen.memory_info().rss < REST_BYTES
        yield address, seen
        process.terminate()


class Greedy:
    """A caller who sends what its call takes: one message that does not end, or many."""

    def __init__(self, address: str, method: str) -> None:
        self._caller = Http2Caller(address)
        self._stream = self._caller.begin(method)
        self._tag = 0
        self._is_stream = method == STREAM
        self._left = b"" if self._is_stream else _unended()

    def go_on(self) -> None:
        """Send as far as the windows reach, and heed no credit."""
        if not self._left and self._is_stream:
            self._tag += 1
            self._left = _frame(self._tag)
        # A piece, so that the others have their turn.
        sent = self._caller.send(self._stream, self._left[: 2**20])
        self._left = self._left[sent:]
        self._caller.listen(0.0005)

    def close(self) -> None:
        self._caller.close()


def _unended() -> bytes:
    return prefix(LARGEST_MESSAGE_BYTES) + bytes(LARGEST_MESSAGE_BYTES - 1)


def _frame(tag: int) -> bytes:
    """A frame as large as may be."""
    request = teacher_pb2.EvaluateRequest(
        batch_rows=ROWS,
        observation_shape=SHAPE,
        observation_dtype="uint8",
        observations=bytes(ROWS * math.prod(SHAPE)),
    )
    query = teacher_pb2.Query(tag=tag, request=request)
    frame = teacher_pb2.QueryFrame(queries=[query]).SerializeToString()
    assert 0.99 * LARGEST_MESSAGE_BYTES < len(frame) <= LARGEST_MESSAGE_BYTES
    return prefix(len(frame)) + frame


def most_while_asked(address: str, process: psutil.Process, methods: list[str]) -> int:
    """The most memory of the service while greedy callers ask for these methods."""
    most = 0
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(contextlib.closing(Greedy(address, m))) for m in methods]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for caller in callers:
                caller.go_on()
            most = max(most, process.memory_info().rss)
    return most


def test_a_stream_takes_two_frames_however_many_it_sends(
    service: tuple[str, psutil.Process],
) -> None:
    address, process = service
    before = process.memory_info().rss
    grown = most_while_asked(address, process, [STREAM] * MANY_STREAMS) - before
    frames = 2 * MANY_STREAMS * LARGEST_MESSAGE_BYTES
    queue = BatchingConfig().max_queue_rows * math.prod(SHAPE)
    # The allocator keeps some of what is free; a third frame would be half as much again.
    assert grown < 1.25 * frames + queue


def test_greedy_callers_have_it_take_no_more_than_its_settings_allow(
    service: tuple[str, psutil.Process],
) -> None:
    address, process = service
    methods = [STREAM] * STREAMS + [f"{TEACHER}/Evaluate", "/grpc.health.v1.Health/Check"] * CALLS
    most = most_while_asked(address, process, methods)
    assert REST_BYTES < most < most_memory_bytes(BatchingConfig(), streams=STREAMS)
