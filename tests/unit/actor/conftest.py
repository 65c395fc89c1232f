"""A real teacher service for the actor's parts, whose policy answers when its gate is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_client import PolicySpec, TeacherClient
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.policies.interface import PolicyInfo
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS


class GatedPolicy:
    """Values (e, c, e + c) for a newest frame with pixels (e, c); waits while the gate is shut."""

    backend = "test"
    dynamic_batch_size = False
    max_concurrency = 1

    info = PolicyInfo(
        game="counting",
        name="pixel reader",
        version="v1",
        spec=PolicySpec(num_actions=3, observation_shape=(1, 2, 2)),
    )

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def evaluate(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        assert self.gate.wait(PATIENCE_SECONDS)
        first, second = observations[:, 0, :, -1].astype(np.float32).T
        return np.stack([first, second, first + second], axis=1)


@pytest.fixture
def teacher_policy() -> Iterator[GatedPolicy]:
    made = GatedPolicy()
    yield made
    made.gate.set()


@pytest.fixture
def teacher(teacher_policy: GatedPolicy) -> Iterator[TeacherClient]:
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 4)),
    )
    server = TeacherServer(config, [teacher_policy])
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    with TeacherClient(server.address) as client:
        yield client
        teacher_policy.gate.set()
    server.stop(5.0)
