"""Queries of a synchronous client as unary calls, which gRPC itself balances and repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from rrl_client import errors as client_errors
from rrl_client.answers import (
    TeacherAnswer,
    TeacherFuture,
    call_back,
    decode_answer,
)
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc


class UnaryFuture(TeacherFuture):
    """An answer that comes as a call of its own."""

    def __init__(self, call: Any, rows: int, address: str) -> None:
        self._call = call
        self._rows = rows
        self._address = address

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return bool(self._call.done())

    def cancel(self) -> None:
        """Give the query up; the teacher does not compute what it has not begun."""
        self._call.cancel()

    def add_done_callback(self, callback: Callable[[TeacherFuture], object]) -> None:
        """Call `callback(self)` when done, on a gRPC thread, or at once if done."""
        self._call.add_done_callback(lambda _: call_back(callback, self))

    def result(self) -> TeacherAnswer:
        """Wait for the answer, at most until the query's deadline.

        Raises:
            TeacherError: One of the kinds of `client_errors`.
        """
        try:
            message: teacher_pb2.EvaluateResponse = self._call.result()
        except grpc.FutureCancelledError as error:
            raise client_errors.cancelled() from error
        except grpc.RpcError as error:
            raise client_errors.error_of_call(error, self._address) from error
        return decode_answer(message, self._rows, self._address)


def ask(
    stub: teacher_pb2_grpc.TeacherStub,
    request: teacher_pb2.EvaluateRequest,
    deadline: float,
    address: str,
) -> UnaryFuture:
    """Send a query.

    Args:
        stub: Of the channel to all replicas.
        request: The message.
        deadline: In seconds of `time.monotonic`.
        address: Whom errors name.
    """
    timeout = max(deadline - time.monotonic(), 0.0)
    call = stub.Evaluate.future(request, timeout=timeout)
    return UnaryFuture(call, request.batch_rows, address)
