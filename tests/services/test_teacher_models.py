"""Several models and versions behind one port, and the lame-duck time before the end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rrl_client import TeacherClient, TeacherNotFound, TeacherTimeout, TeacherUnavailable
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import SERVICE_NAME, TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums

LAME_DUCK_SECONDS = 4.0
MEMORY = (True, False)
"""Whether observations lie in shared memory."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def policies() -> Iterator[list[PixelSums]]:
    """Two versions of "pong" with 2 pixels and 2 actions, one of "catch" with 3 and 1."""
    made = [
        PixelSums("aaaa", game="pong", shape=(2,)),
        PixelSums("bbbb", game="catch", shape=(3,), num_actions=1, addend=500),
        PixelSums("cccc", game="pong", shape=(2,), addend=100),
    ]
    yield made
    for policy in made:
        policy.gate.set()


@pytest.fixture
def server(policies: list[PixelSums]) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=tuple(ModelConfig(name=p.info.game, reference="in memory") for p in policies),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 8)),
        lame_duck_seconds=LAME_DUCK_SECONDS,
    )
    made = TeacherServer(config, policies)
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    for policy in policies:
        policy.entered.clear()
    yield made
    for policy in policies:
        policy.gate.set()
    # Without grace there is no lame-duck time.
    made.stop(0.0)


@pytest.fixture
def channel(server: TeacherServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize(
    ("model", "version", "pixels", "expected", "answered"),
    [
        # Two pixels of 5 and the addend; the first model named is the default, its newest answers.
        ("", "", 2, [110, 220], ("cccc", 2)),
        ("pong", "", 2, [110, 220], ("cccc", 2)),
        ("pong", "1", 2, [10, 20], ("aaaa", 1)),
        ("pong", "aaaa", 2, [10, 20], ("aaaa", 1)),
        ("", "2", 2, [110, 220], ("cccc", 2)),
        ("catch", "", 3, [515], ("bbbb", 1)),
        ("catch", "bbbb", 3, [515], ("bbbb", 1)),
    ],
)
def test_name_and_version_say_who_answers(
    server: TeacherServer,
    shared_memory: bool,
    model: str,
    version: str,
    pixels: int,
    expected: list[float],
    answered: tuple[str, int],
) -> None:
    with TeacherClient(
        server.address, model=model, version=version, shared_memory=shared_memory
    ) as client:
        about = client.describe()
        assert (about.teacher_version, about.model_version) == answered
        assert about.spec.observation_shape == (pixels,)
        answer = client.evaluate(np.full((3, pixels), 5, np.uint8))
    assert answer.action_values.tolist() == [expected] * 3
    assert (answer.teacher_version, answer.model_version) == answered


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize(
    ("model", "version", "reason"),
    [
        ("breakout", "", "no model 'breakout' here; there are catch, pong"),
        pytest.param("b" * 3_000_000, "", "there are catch, pong", id="a name of 3 MB"),
        ("pong", "3", r"version '3' of 'pong' is not served; served are 1 \(aaaa\), 2 \(cccc\)"),
        ("catch", "aaaa", "version 'aaaa' of 'catch' is not served"),
    ],
)
def test_who_is_not_there_is_not_found(
    server: TeacherServer, shared_memory: bool, model: str, version: str, reason: str
) -> None:
    with (
        TeacherClient(
            server.address, model=model, version=version, shared_memory=shared_memory
        ) as client,
        pytest.raises(TeacherNotFound, match=reason),
    ):
        client.evaluate(np.zeros((1, 2), np.uint8))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"model": "breakout"}, grpc.StatusCode.NOT_FOUND),
        ({"model": "pong", "version": "3"}, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_the_contracts_codes_tell_an_unknown_model_from_a_version_that_is_gone(
    channel: grpc.Channel, asked: dict[str, Any], code: grpc.StatusCode
) -> None:
    stub = teacher_pb2_grpc.TeacherStub(channel)
    calls: list[Any] = [
        lambda: stub.Describe(teacher_pb2.DescribeRequest(**asked), timeout=PATIENCE_SECONDS),
        lambda: stub.Evaluate(teacher_pb2.EvaluateRequest(**asked), timeout=PATIENCE_SECONDS),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == code


def test_the_list_names_every_version_of_every_model(channel: grpc.Channel) -> None:
    stub = teacher_pb2_grpc.TeacherStub(channel)
    listed = stub.ListModels(teacher_pb2.ListModelsRequest(), timeout=PATIENCE_SECONDS).models
    assert [
        (m.model, m.model_version, m.teacher_version, m.newest, m.game, m.backend) for m in listed
    ] == [
        ("catch", 1, "bbbb", True, "catch", "test"),
        ("pong", 1, "aaaa", False, "pong", "test"),
        ("pong", 2, "cccc", True, "pong", "test"),
    ]


def test_models_of_other_shapes_share_the_device_and_not_their_batches(
    server: TeacherServer, policies: list[PixelSums]
) -> None:
    first, catch, _ = policies
    first.gate.clear()
    with (
        TeacherClient(server.address, model="pong", version="1") as older,
        TeacherClient(server.address, model="pong") as newer,
        TeacherClient(server.address, model="catch") as other,
    ):
        # All wait behind the first, and are then answered each by its own.
        busy = older.evaluate_future(np.ones((1, 2), np.uint8), 20)
        assert first.entered.wait(PATIENCE_SECONDS)
        waiting = [
            (
                older.evaluate_future(np.full((2, 2), i, np.uint8), 20),
                newer.evaluate_future(np.full((2, 2), i, np.uint8), 20),
                other.evaluate_future(np.full((2, 3), i, np.uint8), 20),
            )
            for i in range(10)
        ]
        first.gate.set()
        assert busy.result().action_values.tolist() == [[2, 4]]
        for i, (by_old, by_new, by_other) in enumerate(waiting):
            assert by_old.result().action_values.tolist() == [[2 * i, 4 * i]] * 2
            assert by_new.result().action_values.tolist() == [[2 * i + 100, 4 * i + 200]] * 2
            assert by_other.result().action_values.tolist() == [[3 * i + 500]] * 2
    assert catch.entered.is_set()


class Watch:
    """What health's Watch says of one name, as it says it."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        self._said: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._call = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=name)
        )
        threading.Thread(target=self._run, daemon=True).start()

    def next(self) -> int:
        return self._said.get(timeout=PATIENCE_SECONDS)

    def cancel(self) -> None:
        self._call.cancel()

    def _run(self) -> None:
        try:
            for answer in self._call:
                self._said.put(answer.status)
        except grpc.RpcError:
            return


NAMES = ("", SERVICE_NAME, f"{SERVICE_NAME}/pong", f"{SERVICE_NAME}/catch")


def test_health_knows_every_model_by_name_and_no_other(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in NAMES:
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service=f"{SERVICE_NAME}/breakout"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = Watch(channel, f"{SERVICE_NAME}/breakout")
    assert watch.next() == SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_lame_duck_says_so_first_still_answers_and_then_is_gone(
    server: TeacherServer, channel: grpc.Channel, shared_memory: bool
) -> None:
    watches = [Watch(channel, name) for name in NAMES]
    assert [watch.next() for watch in watches] == [SERVING] * len(NAMES)
    observations = np.full((1, 2), 5, np.uint8)
    with TeacherClient(
        server.address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
    ) as client:
        client.evaluate(observations)
        stopping = threading.Thread(target=server.stop, args=(10.0,))
        begun = time.monotonic()
        stopping.start()
        assert [watch.next() for watch in watches] == [NOT_SERVING] * len(NAMES)
        assert time.monotonic() - begun < LAME_DUCK_SECONDS
        answers = 0
        try:
            while time.monotonic() - begun < PATIENCE_SECONDS:
                answer = client.evaluate(observations, timeout_seconds=2)
                assert answer.action_values.tolist() == [[110, 220]]
                answers += 1
                last = time.monotonic()
                time.sleep(0.01)
        except (TeacherUnavailable, TeacherTimeout):
            pass
        assert answers > 3
        assert last - begun > LAME_DUCK_SECONDS / 2
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
    with pytest.raises(grpc.RpcError) as caught:
        teacher_pb2_grpc.TeacherStub(channel).Evaluate(
            teacher_pb2.EvaluateRequest(), timeout=PATIENCE_SECONDS
        )
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    for watch in watches:
        watch.cancel()


def test_a_health_status_is_not_serving_until_all_models_are_warm(
    policies: list[PixelSums],
) -> None:
    policies[2].gate.clear()
    config = TeacherConfig(
        models=tuple(ModelConfig(name=p.info.game, reference="in memory") for p in policies),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 8)),
    )
    server = TeacherServer(config, policies)
    server.start()
    try:
        assert policies[2].entered.wait(PATIENCE_SECONDS)
        with grpc.insecure_channel(server.address) as channel:
            watches = [Watch(channel, name) for name in NAMES]
            assert [watch.next() for watch in watches] == [NOT_SERVING] * len(NAMES)
            policies[2].gate.set()
            assert [watch.next() for watch in watches] == [SERVING] * len(NAMES)
            for watch in watches:
                watch.cancel()
    finally:
        policies[2].gate.set()
        server.stop(1.0)
