"""Requests of the wire made into queries of the engine, whichever way they came."""

from __future__ import annotations

import time

import numpy as np

from rrl_client import Priority, codec
from rrl_client.requests import Refusal, RefusalCode
from rrl_client.v1 import teacher_pb2
from services.teacher.batching.query import Engine, Query, Sink
from services.teacher.metrics import TeacherMetrics


class RequestReader:
    """Checks requests against the model they name."""

    def __init__(
        self, engine: Engine, metrics: TeacherMetrics, longest_wait_seconds: float
    ) -> None:
        """Read for one service.

        Args:
            engine: Who knows the models.
            metrics: What refused requests are counted in.
            longest_wait_seconds: Deadline of requests without one or with a later one.
        """
        self._engine = engine
        self._metrics = metrics
        self._longest_wait_seconds = longest_wait_seconds

    def read(
        self, request: teacher_pb2.EvaluateRequest, seconds_left: float | None, sink: Sink
    ) -> Query:
        """The query of a request; not submitted yet.

        Args:
            request: As it came.
            seconds_left: Until the caller's deadline; None when it set none.
            sink: Who is told when it is settled.

        Raises:
            Refusal: The model is unknown, the service does not serve, or the request does not fit.
        """
        longest = self._longest_wait_seconds
        wait = longest if seconds_left is None else min(seconds_left, longest)
        description = self._engine.describe(request.model, request.version)
        try:
            priority = codec.decode_priority(request)
            observations = codec.decode_observations(request, description)
        except codec.InvalidRequest as error:
            self.refused(request, RefusalCode.INVALID_ARGUMENT, "invalid")
            raise Refusal(RefusalCode.INVALID_ARGUMENT, str(error)) from error
        return Query(
            observations,
            np.empty((len(observations), description.spec.num_actions), np.float32),
            deadline=time.monotonic() + wait,
            priority=priority,
            sink=sink,
        )

    def refused(self, request: teacher_pb2.EvaluateRequest, code: RefusalCode, reason: str) -> None:
        """Count a request that never became a query."""
        model = self._engine.describe(request.model, request.version).model
        priority = (
            Priority(request.priority)
            if request.priority in {*map(int, Priority)}
            else Priority.ACTING
        )
        self._metrics.model(model).refused(priority, code, reason)
