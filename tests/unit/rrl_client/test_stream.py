"""Streams of a client, where gRPC itself is in the way."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc.aio
import numpy as np
import pytest

from rrl_client.codec import encode_query
from rrl_client.dispatch import Replica
from rrl_client.errors import TeacherError
from rrl_client.stream import StreamPool
from tests.support.patience import PATIENCE_SECONDS


def test_a_client_closes_though_grpc_swallows_a_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """gRPC does so while it opens a call: the task that awaits it is not cancelled."""

    async def open_and_close() -> TeacherError | None:
        opening = asyncio.Event()

        async def swallow(self: StreamPool, replica: Replica, stub: object) -> None:
            opening.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE_SECONDS)

        monkeypatch.setattr(StreamPool, "_converse", swallow)
        async with grpc.aio.insecure_channel("localhost:1") as channel:
            pool = StreamPool([("localhost:1", channel)], "localhost:1")
            states = np.zeros((1, 2), np.uint8)
            answer = pool.submit(states, encode_query(states), time.monotonic() + PATIENCE_SECONDS)
            await opening.wait()
            await asyncio.wait((asyncio.ensure_future(pool.close()),), timeout=60)
            error = answer.exception()
            assert error is None or isinstance(error, TeacherError)
            assert all(task.done() for task in pool._tasks)
            return error

    assert "was closed" in str(asyncio.run(open_and_close()))
