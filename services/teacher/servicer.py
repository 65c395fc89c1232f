"""The Teacher's two calls on the event loop: check, queue, wait, answer.

    Evaluate ──▶ check ──▶ batcher ──▶ answer
       │           │          │ RESOURCE_EXHAUSTED: the queue is full
       │           │          │ DEADLINE_EXCEEDED: the caller's deadline passed before its turn
       │           │ INVALID_ARGUMENT: rows, shape, dtype or bytes differ from what is served
       │ UNAVAILABLE: warming up or draining

An error inside the policy answers INTERNAL and is logged; the service goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, NoReturn

import grpc

from protos.rrl.teacher.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher import codec
from services.teacher.batcher import Batcher, DeadlinePassed, QueueFull, Stopped
from services.teacher.codec import TeacherDescription
from services.teacher.metrics import TeacherMetrics

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.01

Context = grpc.aio.ServicerContext[Any, Any]


class _Refusal(Exception):
    """A request ends without an answer."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class TeacherServicer(teacher_pb2_grpc.TeacherServicer):
    """Answers Describe and Evaluate; lives in one event loop."""

    def __init__(
        self, description: TeacherDescription, metrics: TeacherMetrics, longest_wait_seconds: float
    ) -> None:
        """Refuse everything until `serve_from` is called.

        Args:
            description: What is served.
            metrics: What requests are counted in.
            longest_wait_seconds: Deadline of requests without one or with a later one.
        """
        self._description = description
        self._metrics = metrics
        self._longest_wait_seconds = longest_wait_seconds
        self._batcher: Batcher | None = None
        self._refusing = "warming up"
        self._in_flight = 0

    def serve_from(self, batcher: Batcher) -> None:
        """Answer from now on; the batcher's clock must be `time.monotonic`."""
        self._batcher = batcher

    async def drain(self, grace_seconds: float) -> None:
        """Refuse what is new and wait until what is under way is answered, or the time is over."""
        self._refusing = "draining"
        self._batcher = None
        end = time.monotonic() + grace_seconds
        while self._in_flight and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)

    async def Describe(  # type: ignore[override]
        self, request: teacher_pb2.DescribeRequest, context: Context
    ) -> teacher_pb2.DescribeResponse:
        """What is served; UNAVAILABLE while Evaluate would be too."""
        if self._batcher is None:
            await self._abort(context, self._unavailable())
        return codec.encode_description(self._description)

    async def Evaluate(  # type: ignore[override]
        self, request: teacher_pb2.EvaluateRequest, context: Context
    ) -> teacher_pb2.EvaluateResponse:
        """Action values of a batch of observations."""
        start = time.monotonic()
        code = grpc.StatusCode.INTERNAL
        self._in_flight += 1
        try:
            response = await self._answer(request, start + self._seconds_left(context))
            code = grpc.StatusCode.OK
            return response
        except _Refusal as refusal:
            code = refusal.code
            await self._abort(context, refusal)
        except asyncio.CancelledError:
            # gRPC cancels the call when the caller gives up or its deadline passes.
            late = self._seconds_left(context) <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        finally:
            self._in_flight -= 1
            self._metrics.request_ended(code.name, time.monotonic() - start)

    async def _answer(
        self, request: teacher_pb2.EvaluateRequest, deadline: float
    ) -> teacher_pb2.EvaluateResponse:
        if self._batcher is None:
            raise self._unavailable()
        try:
            observations = codec.decode_observations(request, self._description)
            future = self._batcher.submit(observations, deadline)
            values = await asyncio.wrap_future(future)
        except QueueFull as error:
            raise _Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from error
        except DeadlinePassed as error:
            raise _Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        except Stopped as error:
            raise _Refusal(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        except codec.InvalidRequest as error:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        except Exception as error:
            _LOG.exception("the policy failed on a batch")
            reason = "the policy failed; see the teacher's log"
            raise _Refusal(grpc.StatusCode.INTERNAL, reason) from error
        return codec.encode_action_values(values, self._description.teacher_version)

    def _seconds_left(self, context: Context) -> float:
        left = context.time_remaining()
        longest = self._longest_wait_seconds
        return longest if left is None else min(left, longest)

    def _unavailable(self) -> _Refusal:
        return _Refusal(grpc.StatusCode.UNAVAILABLE, f"the teacher is {self._refusing}")

    async def _abort(self, context: Context, refusal: _Refusal) -> NoReturn:
        await context.abort(refusal.code, str(refusal))
        raise AssertionError("abort always raises")
