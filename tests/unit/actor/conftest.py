"""A real teacher service for the actor's parts, whose policy answers when its gate is open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rrl_client import TeacherClient
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS
from tests.support.policies import PixelSums


@pytest.fixture
def teacher_policy() -> PixelSums:
    return PixelSums(shape=(1, 2, 2), num_actions=3, game="counting")


@pytest.fixture
def teacher(teacher_policy: PixelSums) -> Iterator[TeacherClient]:
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
