"""Teachers of other kinds and other observations through every way of asking, and users' mistakes.

`moody` is a Python policy that fails, lies or dawdles when the first number of a state says so.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rrl_client import (
    AsyncTeacherClient,
    TeacherClient,
    TeacherFailed,
    TeacherPolicy,
    TeacherRejected,
    TeacherTimeout,
)
from services.cli.teacher_query import query
from services.shared.errors import UserError
from services.shared.health import is_serving
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MEMORY = (True, False)
"""Whether observations lie in shared memory."""
SLOW_SECONDS = 5.0
RAISE, EXIT, NAN, WIDE, SLEEP = 101.0, 102.0, 103.0, 104.0, 105.0

MOODY = f"""
import sys, time
import numpy as np

class Moody:
    name, game, version = "moody", "moods", "1"
    num_actions, observation_shape, observation_dtype = 2, (3,), "float32"
    output, temperature = "q_values", None

    def evaluate(self, observations):
        scores = np.stack([observations.sum(axis=1), observations[:, 0]], axis=1)
        moods = set(observations[:, 0].tolist())
        if {RAISE} in moods:
            raise RuntimeError("the licence has expired")
        if {EXIT} in moods:
            sys.exit(1)
        if {NAN} in moods:
            scores[:] = np.nan
        if {WIDE} in moods:
            scores = np.zeros((len(observations), 7), np.float32)
        if {SLEEP} in moods:
            time.sleep({SLOW_SECONDS})
        return scores
"""

IMAGES = """
import numpy as np

class Images:
    name, game, version = "corners", "corners", "1"
    num_actions, observation_shape, observation_dtype = 4, (64, 64, 3), "uint8"
    output, temperature = "logits", 2.0

    def evaluate(self, observations):
        corners = observations[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
        return corners.astype(np.float32)
"""


FIRSTS = """
import numpy as np

class Firsts:
    name, game, version = "first numbers", "unknown", "1"
    num_actions, observation_shape, observation_dtype = 3, (7,), "float32"
    output, temperature = "q_values", None

    def evaluate(self, observations):
        return observations[:, :3]
"""


def corners(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The scores of the policy above: the reds of the four corners."""
    return np.stack([images[:, y, x, 0] for y in (0, 63) for x in (0, 63)], axis=1).astype(
        np.float32
    )


def images(rows: int) -> NDArray[np.uint8]:
    return np.random.default_rng(rows).integers(0, 256, (rows, 64, 64, 3), np.uint8)


def vectors(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(rows).normal(size=(rows, 7)).astype(np.float32)


WEIGHTS = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)


def vector_file(path: Path) -> Path:
    """Q-values of float32 [7]: `observation @ WEIGHTS`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observations", "weights"], ["q_values"])],
        "linear",
        [helper.make_tensor_value_info("observations", TensorProto.FLOAT, ["batch", 7])],
        [helper.make_tensor_value_info("q_values", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.save(model, str(path / "vector.onnx"))
    return path / "vector.onnx"


def make_server(tmp_path: Path) -> TeacherServer:
    (tmp_path / "moody_policy.py").write_text(MOODY)
    (tmp_path / "image_policy.py").write_text(IMAGES)
    (tmp_path / "first_policy.py").write_text(FIRSTS)
    models = {
        "moody": "moody_policy:Moody",
        "images": "image_policy:Images",
        "vectors": str(vector_file(tmp_path)),
        "ensemble": f"ensemble:values:{vector_file(tmp_path)},first_policy:Firsts",
    }
    config = TeacherConfig(
        models=tuple(
            ModelConfig(name=name, reference=checkpoint) for name, checkpoint in models.items()
        ),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 8)),
    )
    return build_teacher(config)


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    tmp_path = tmp_path_factory.mktemp("policies")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        server = make_server(tmp_path)
        server.start()
        server.wait_until_ready(PATIENCE_SECONDS)
        yield server.address
        server.stop()


@pytest.mark.parametrize("shared_memory", [True, False])
def test_vectors_and_images_go_every_way(address: str, shared_memory: bool) -> None:
    with TeacherClient(address, model="vectors", shared_memory=shared_memory) as client:
        about = client.describe()
        assert (about.spec.observation_shape, about.spec.observation_dtype) == ((7,), "float32")
        assert (about.spec.output, about.spec.temperature, about.spec.num_actions) == (
            "q_values",
            None,
            3,
        )
        for rows in (1, 20):
            answer = client.evaluate(vectors(rows)).action_values
            np.testing.assert_allclose(answer, vectors(rows) @ WEIGHTS, rtol=1e-5, atol=1e-5)
        with pytest.raises(TeacherRejected, match="float32"):
            client.evaluate(np.zeros((1, 7), np.uint8))
    with TeacherClient(address, model="images", shared_memory=shared_memory) as client:
        about = client.describe()
        assert (about.spec.observation_shape, about.spec.observation_dtype) == (
            (64, 64, 3),
            "uint8",
        )
        assert (about.spec.output, about.spec.temperature) == ("logits", 2.0)
        for rows in (1, 20):
            np.testing.assert_array_equal(
                client.evaluate(images(rows)).action_values, corners(images(rows))
            )


def test_an_onnx_file_and_a_python_policy_answer_as_one(address: str) -> None:
    with TeacherClient(address, model="ensemble") as client:
        assert client.describe().backend == "onnxruntime cpu, python"
        for rows in (1, 20):
            states = vectors(rows)
            mean = (states @ WEIGHTS + states[:, :3]) / 2
            np.testing.assert_allclose(
                client.evaluate(states).action_values, mean, rtol=1e-5, atol=1e-5
            )


def test_the_asyncio_client_takes_them_too(address: str) -> None:
    async def ask() -> None:
        async with AsyncTeacherClient(address, model="vectors") as client:
            values = (await client.evaluate(vectors(3))).action_values
            np.testing.assert_allclose(values, vectors(3) @ WEIGHTS, rtol=1e-5, atol=1e-5)

    asyncio.run(ask())


def test_logits_are_drawn_from_by_the_client_policy(address: str) -> None:
    with TeacherClient(address, model="images") as client:
        with pytest.raises(ValueError, match="rng is not set"):
            TeacherPolicy(client)
        policy = TeacherPolicy(client, rng=np.random.default_rng(0))
        # Logits 0, 0, 2 ln 3, 0 of temperature 2: probabilities 1/6, 1/6, 1/2, 1/6.
        # Pixels are whole: 2 stands for 2 ln 3 = 2.197, so e^1 / (e^1 + 3) = 0.4754.
        state = np.zeros((64, 64, 3), np.uint8)
        state[-1, 0, 0] = 2
        actions = policy(np.stack([state] * 2000))
        # Standard error sqrt(0.4754 x 0.5246 / 2000) = 0.011.
        assert abs((actions == 2).mean() - 0.4754) < 0.05


def state_of(mood: float) -> NDArray[np.float32]:
    return np.asarray([[mood, 1, 2]], np.float32)


@pytest.mark.parametrize("mood", [RAISE, EXIT, NAN, WIDE])
def test_a_policy_that_fails_fails_the_query_and_the_service_goes_on(
    address: str, mood: float
) -> None:
    with TeacherClient(address, model="moody") as client:
        with pytest.raises(TeacherFailed, match="the policy failed"):
            client.evaluate(state_of(mood))
        assert client.evaluate(state_of(4)).action_values.tolist() == [[7, 4]]
    assert is_serving(address, timeout_seconds=PATIENCE_SECONDS)


def test_a_policy_that_dawdles_is_told_late_and_the_service_goes_on(address: str) -> None:
    with TeacherClient(address, model="moody") as client:
        client.describe()
        start = time.monotonic()
        with pytest.raises(TeacherTimeout):
            client.evaluate(state_of(SLEEP), timeout_seconds=0.2)
        assert time.monotonic() - start < SLOW_SECONDS
        assert client.evaluate(state_of(4)).action_values.tolist() == [[7, 4]]


def test_recorded_states_of_any_type_are_answered_by_both_ways(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The service's first model: Q-values of three numbers.
    (tmp_path / "moody_policy.py").write_text(MOODY)
    monkeypatch.syspath_prepend(tmp_path)
    states = tmp_path / "states.npz"
    np.savez(states, states=np.asarray([[1, 2, 3], [4, 5, 6]], np.float32))
    for name, source in (("a", {"address": address}), ("b", {"checkpoint": "moody_policy:Moody"})):
        query(states=states, out=tmp_path / f"{name}.npz", **source)
        with np.load(tmp_path / f"{name}.npz", allow_pickle=False) as arrays:
            assert arrays.files == ["q_values"]
            assert arrays["q_values"].tolist() == [[6, 1], [15, 4]]
    np.savez(states, states=np.zeros((2, 3), np.uint8))
    for source in ({"address": address}, {"checkpoint": "moody_policy:Moody"}):
        with pytest.raises(
            UserError, match=r"this teacher takes observations float32 \(3,\), .* has uint8 \(3,\)"
        ):
            query(states=states, out=tmp_path / "c.npz", **source)
    np.savez(states, states=np.asarray([[RAISE, 2, 3]], np.float32))
    with pytest.raises(UserError, match="the policy failed; see the teacher's log"):
        query(states=states, out=tmp_path / "c.npz", checkpoint="moody_policy:Moody")
    assert "RuntimeError: the licence has expired" in caplog.text


@pytest.fixture(scope="module")
def own_policy() -> Iterator[str]:
    """The example, served as its README says; the address."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "services.cli.main", "teacher", "serve"),
            *("--checkpoint", "own_policy:make_teacher", "--port", "0", "--metrics-port", "None"),
        ],
        cwd=EXAMPLES,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = re.search(r"ready at (\S+):\s", process.stdout.readline())
    if found is None:
        raise AssertionError(process.communicate(timeout=PATIENCE_SECONDS)[1])
    yield found[1]
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors


def test_the_example_balances_the_pole_as_a_client_of_its_service(own_policy: str) -> None:
    environment: Any = gymnasium.make("CartPole-v1")
    with TeacherClient(own_policy) as teacher:
        assert teacher.describe().game == "CartPole-v1"
        policy = TeacherPolicy(teacher, rng=np.random.default_rng(0))
        policy.check_environment(environment)
        observation, _ = environment.reset(seed=0)
        steps, done = 0, False
        while not done and steps < 200:
            observation, _, terminated, truncated, _ = environment.step(policy(observation))
            steps, done = steps + 1, terminated or truncated
    environment.close()
    # A random policy lasts about 22 steps.
    assert steps == 200


def test_the_example_answers_what_it_answers_when_asked_directly(
    own_policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from own_policy import make_teacher
    from own_policy.balancer import Balancer

    observations = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    states, out = tmp_path / "states.npz", tmp_path / "out.npz"
    np.savez(states, states=observations)
    query(states=states, out=out, address=own_policy)
    with np.load(out, allow_pickle=False) as arrays:
        logits = arrays["logits"]
    np.testing.assert_allclose(logits, make_teacher().evaluate(observations), rtol=1e-5)
    # These logits are logarithms of probabilities.
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, rtol=1e-5)
    actions, _ = Balancer().predict(observations, deterministic=True)
    np.testing.assert_array_equal(actions, logits.argmax(axis=1))
