"""What users give to a client as observations, in every way that both clients can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_client import (
    AsyncTeacherClient,
    TeacherAnswer,
    TeacherClient,
    TeacherFailed,
    TeacherPolicy,
    TeacherRejected,
)
from services.teacher.config import ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

MEMORY = (True, False)
"""Whether observations lie in shared memory."""
SHAPE = (2, 3)

Ask = Callable[[Any], TeacherAnswer]


class LazyFrames:
    """Frames that are stacked when somebody looks, with the signature of Gymnasium's."""

    def __init__(self, frames: list[NDArray[Any]]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        chosen: NDArray[Any] = self.__array__()[index]
        return chosen

    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        stacked = np.stack(self._frames)
        return stacked if dtype is None else stacked.astype(dtype)


class ElsewhereTensor:
    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        raise RuntimeError("the tensor is on another device")


def made(dtype: str) -> PixelSums:
    return PixelSums(shape=SHAPE, dtype=dtype, fails_on=None)


@contextlib.contextmanager
def serving(dtype: str) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=(ModelConfig(name="sums", reference=__file__),),
        port=0,
        metrics_port=None,
    )
    server = TeacherServer(config, [made(dtype)], lambda *_: made(dtype))
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    try:
        yield server
    finally:
        server.stop(5.0)


@pytest.fixture(scope="module")
def of_bytes() -> Iterator[str]:
    with serving("uint8") as server:
        yield server.address


@pytest.fixture(scope="module")
def of_floats() -> Iterator[str]:
    with serving("float32") as server:
        yield server.address


def ask_blocking(address: str, shared_memory: bool, is_future: bool) -> Ask:
    def ask(observations: Any) -> TeacherAnswer:
        with TeacherClient(
            address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
        ) as client:
            if not is_future:
                return client.evaluate(observations)
            return client.evaluate_future(observations).result()

    return ask


def ask_asyncio(address: str, shared_memory: bool, is_future: bool) -> Ask:
    async def ask(observations: Any) -> TeacherAnswer:
        async with AsyncTeacherClient(
            address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
        ) as client:
            if not is_future:
                return await client.evaluate(observations)
            return await client.evaluate_future(observations)

    return lambda observations: asyncio.run(ask(observations))


@pytest.fixture(
    params=[
        (kind, shared_memory, is_future)
        for kind in (ask_blocking, ask_asyncio)
        for shared_memory in MEMORY
        for is_future in (False, True)
    ],
    ids=lambda way: "-".join([way[0].__name__, *map(str, way[1:])]),
)
def way(request: pytest.FixtureRequest) -> Callable[[str], Ask]:
    """Makes what asks the teacher at an address, in one of the ways that there are."""
    kind, shared_memory, is_future = request.param
    return lambda address: kind(address, shared_memory, is_future)


def assert_answered(ask: Ask, given: Any, meant: NDArray[Any]) -> None:
    sums = meant.reshape(len(meant), -1).sum(axis=1, dtype=np.float32)
    wanted = np.stack([sums, 2 * sums], axis=1)
    np.testing.assert_array_equal(ask(given).action_values, wanted)


BYTES = np.asarray([[[0, 1, 2], [3, 4, 255]], [[9, 8, 7], [6, 5, 4]]], np.uint8)
FLOATS = np.asarray([[[0.5, -1, 2], [3, 4, 0.25]], [[9, 8, 7], [6, 5, 4]]], np.float32)


def test_lists_and_stacked_frames_are_arrays_of_the_teachers_dtype(
    of_bytes: str, of_floats: str, way: Callable[[str], Ask]
) -> None:
    ask = way(of_bytes)
    assert_answered(ask, BYTES.tolist(), BYTES)
    assert_answered(ask, [*BYTES], BYTES)
    assert_answered(ask, LazyFrames([*BYTES]), BYTES)
    # One LazyFrames for each of two environments.
    assert_answered(ask, [LazyFrames([*observation]) for observation in BYTES], BYTES)
    assert_answered(ask, LazyFrames([*BYTES.astype(np.int64)]), BYTES)
    assert_answered(ask, (BYTES > 3).tolist(), BYTES > 3)
    ask = way(of_floats)
    assert_answered(ask, FLOATS.tolist(), FLOATS)
    assert_answered(ask, BYTES.tolist(), BYTES.astype(np.float32))


def test_big_endian_and_scattered_arrays_give_the_values_of_plain_ones(
    of_bytes: str, of_floats: str, way: Callable[[str], Ask]
) -> None:
    ask = way(of_floats)
    assert_answered(ask, FLOATS.astype(">f4"), FLOATS)
    assert_answered(ask, np.asfortranarray(FLOATS), FLOATS)
    assert_answered(ask, np.repeat(FLOATS, 2, axis=2)[:, :, ::2], FLOATS)
    assert_answered(ask, FLOATS[::-1, ::-1], FLOATS[::-1, ::-1].copy())
    assert_answered(ask, np.broadcast_to(FLOATS[:1], (3, *SHAPE)), FLOATS[[0, 0, 0]])
    ask = way(of_bytes)
    assert_answered(ask, np.moveaxis(np.moveaxis(BYTES, 1, 2).copy(), 1, 2), BYTES)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([[[0, 1, 2], [3, 4, 256]]], "256.*uint8"),
        ([[[0, -1, 2], [3, 4, 5]]], "-1.*uint8"),
        ([[[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]], "fractions.*uint8.*do not scale"),
        ([[[0, 1, 2], [3, 4]]], "rows are alike"),
        ([[["a", "b", "c"], ["d", "e", "f"]]], "lists of numbers"),
        ([[[2**70, 1, 2], [3, 4, 5]]], "object"),
        (None, "NoneType"),
        (ElsewhereTensor(), "ElsewhereTensor.*on another device"),
        (BYTES[0].tolist(), r"that is one observation; add a batch axis: observation\[None\]"),
        (BYTES[0], r"that is one observation; add a batch axis: observation\[None\]"),
        (LazyFrames([*BYTES[0]]), "that is one observation"),
        (np.zeros(6, np.uint8), r"observation\[None\]|shape"),
        (BYTES.astype(np.float32), "float32.*uint8"),
        (BYTES.astype(np.int64), "int64"),
    ],
)
def test_what_would_lose_something_or_is_no_batch_is_refused_with_what_would_be_right(
    of_bytes: str, way: Callable[[str], Ask], given: Any, reason: str
) -> None:
    with pytest.raises(TeacherRejected, match=reason):
        way(of_bytes)(given)


@pytest.mark.parametrize(
    ("number", "reason"), [(2**24 + 1, "16777217.*float32"), (1e39, r"1e\+39.*float32")]
)
def test_numbers_that_float32_does_not_have_are_refused(
    of_floats: str, way: Callable[[str], Ask], number: float, reason: str
) -> None:
    with pytest.raises(TeacherRejected, match=reason):
        way(of_floats)([[[number, 1, 2], [3, 4, 5]]])


def test_a_policy_takes_lists_and_stacked_frames_too(of_bytes: str) -> None:
    with TeacherClient(of_bytes) as client:
        policy = TeacherPolicy(client)
        # Twice the sum is more than the sum.
        assert policy(BYTES[1].tolist()) == 1
        assert policy(LazyFrames([*BYTES[1]])) == 1
        np.testing.assert_array_equal(policy(BYTES.tolist()), [1, 1])
        with pytest.raises(TeacherRejected, match="256"):
            policy([[256, 0, 0], [0, 0, 0]])


def test_an_asyncio_client_in_a_second_loop_says_what_to_do(of_bytes: str) -> None:
    for shared_memory in MEMORY:
        client = AsyncTeacherClient(of_bytes, shared_memory=shared_memory)

        async def use(client: AsyncTeacherClient = client) -> None:
            await client.evaluate(BYTES)

        async def send(client: AsyncTeacherClient = client) -> None:
            await client.evaluate_future(BYTES)

        asyncio.run(use())
        for again in (use(), send(), client.describe(), client.close()):
            with pytest.raises(TeacherFailed, match="another event loop.*each asyncio.run"):
                asyncio.run(again)
        # The connections are given up by now.
        asyncio.run(client.close())
        with pytest.raises(TeacherFailed, match="closed; make another"):
            asyncio.run(use())


def test_a_second_loop_does_not_close_what_the_first_still_uses(of_bytes: str) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    client = AsyncTeacherClient(of_bytes)

    def in_first_loop(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE_SECONDS)

    try:
        in_first_loop(client.evaluate(BYTES))
        with pytest.raises(TeacherFailed, match="another event loop"):
            asyncio.run(client.close())
        in_first_loop(client.evaluate(BYTES))
        in_first_loop(client.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_closed_client_says_that_another_one_is_needed(of_bytes: str) -> None:
    for shared_memory in MEMORY:
        client = TeacherClient(of_bytes, shared_memory=shared_memory)
        client.close()
        with pytest.raises(TeacherFailed, match="closed; make another"):
            client.describe()
        with pytest.raises(TeacherFailed, match="closed; make another"):
            client.evaluate(BYTES)
        with pytest.raises(TeacherFailed, match="closed; make another"):
            client.evaluate_future(BYTES)
