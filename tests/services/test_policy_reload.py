"""New versions of Python policies and ONNX files, which serve without a restart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rrl_client import TeacherClient
from services.library.catalogue import BUNDLED_DIRECTORY
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.reloading import fingerprint
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until

POLICY = """
from pathlib import Path
import numpy as np

class Constant:
    name, game, num_actions = "constant", "none", 2
    observation_shape, observation_dtype = (1,), "float32"
    temperature = None

    def __init__(self):
        self.version, self.output = Path({settings!r}).read_text().split()

    def evaluate(self, observations):
        return np.full((len(observations), 2), float(self.version), np.float32)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File of the policy's version and output."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "constant_policy", raising=False)
    path = tmp_path / "settings"
    path.write_text("1 q_values")
    (tmp_path / "constant_policy.py").write_text(POLICY.format(settings=str(path)))
    return path


@pytest.fixture
def server(settings: Path) -> Iterator[TeacherServer]:
    config = TeacherConfig(
        models=(ModelConfig(name="constant", reference="constant_policy:Constant"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1,)),
    )
    server = build_teacher(config)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server
    server.stop()


def test_a_python_policy_is_made_anew_when_asked_for(server: TeacherServer, settings: Path) -> None:
    observation = np.zeros((1, 1), np.float32)
    with TeacherClient(server.address) as client:
        first = client.evaluate(observation)
        settings.write_text("2 q_values")
        server.reload()
        wait_until(lambda: server.description.model_version == 2)
        second = client.evaluate(observation)
    assert (first.action_values.tolist(), second.action_values.tolist()) == ([[1, 1]], [[2, 2]])
    assert first.teacher_version != second.teacher_version


def test_scores_of_another_kind_do_not_take_over(
    server: TeacherServer, settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.write_text("2 logits")
    server.reload()
    wait_until(lambda: "not reloaded" in caplog.text)
    assert (
        "it gives logits of temperature 1.0, the version that serves gives q_values" in caplog.text
    )
    assert server.description.model_version == 1


def test_a_name_of_the_catalogue_is_watched_where_its_files_lie() -> None:
    named, by_path, *nowhere = (
        fingerprint(checkpoint)
        for checkpoint in (
            "Pong/dqn-bundled",
            str(BUNDLED_DIRECTORY / "pong_dqn"),
            "Pong/unknown",
            "package:make",
        )
    )
    assert named == by_path != frozenset()
    assert nowhere == [frozenset(), frozenset()]


def test_a_tensorflow_checkpoint_named_by_its_prefix_is_watched(tmp_path: Path) -> None:
    prefix = tmp_path / "tf_ckpt-199"
    index = tmp_path / "tf_ckpt-199.index"
    index.write_bytes(b"old")
    before = fingerprint(str(prefix))
    index.write_bytes(b"newer")
    assert before != fingerprint(str(prefix))
