"""New weights while others ask: no request fails, none mixes versions, no bad checkpoint is taken.

The teacher is that of Catch whose values can be read off the game; version f of it says f times as
much, so every value tells which version computed it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_card import CARD_FILE, PARAMS_FILE, Teacher
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.environments import catch
from rrl_client import TeacherClient
from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer, build_teacher
from tests.support.patience import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BUCKET = 16
MEMORY = (True, False)
"""Whether observations lie in shared memory."""
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def boards(balls: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The paddle in the middle, the ball in the top row at the given columns."""
    made = np.zeros((len(balls), catch.ROWS, catch.COLUMNS, 1), np.uint8)
    made[np.arange(len(balls)), 0, balls] = 255
    made[:, -1, catch.COLUMNS // 2] = 255
    return made


def expected(balls: NDArray[np.int64], factor: float) -> NDArray[np.float32]:
    # With d = ball - paddle: left is worth max(-d, 0), staying 1/2, right max(d, 0).
    distance = (balls - catch.COLUMNS // 2).astype(np.float32)
    half = np.full_like(distance, 0.5)
    made: NDArray[np.float32] = factor * np.stack(
        [np.maximum(-distance, 0), half, np.maximum(distance, 0)], axis=1
    )
    return made


def times(teacher: Teacher, factor: float) -> Teacher:
    """The teacher whose values are `factor` times as large."""
    hidden, last = teacher.params["params"]["Dense_0"], teacher.params["params"]["Dense_1"]
    larger = {name: (factor * leaf).astype(np.float32) for name, leaf in last.items()}
    params = {"params": {"Dense_0": hidden, "Dense_1": larger}}
    card = dataclasses.replace(teacher.card, parameters_sha256=params_hash(params_to_bytes(params)))
    return Teacher(params=params, card=card)


class ServedDirectory:
    """A teacher directory that is written again and again, as its owner would."""

    def __init__(self, original: Path, scratch: Path) -> None:
        self.path = scratch / "served"
        self.original = load_teacher_directory(original)
        self._scratch = scratch
        self._count = 0
        shutil.copytree(original, self.path)

    def prepare(self, teacher: Teacher) -> Path:
        self._count += 1
        path = self._scratch / f"new-{self._count}"
        save_teacher(path, teacher.params, teacher.card)
        return path

    def take(self, prepared: Path, *names: str) -> None:
        for name in names:
            os.replace(prepared / name, self.path / name)

    def write(self, teacher: Teacher) -> None:
        self.take(self.prepare(teacher), PARAMS_FILE, CARD_FILE)


@pytest.fixture
def directory(catch_teacher: Path, tmp_path: Path) -> ServedDirectory:
    return ServedDirectory(catch_teacher, tmp_path)


def make_server(directory: ServedDirectory, backend: str) -> TeacherServer:
    config = TeacherConfig(
        models=(ModelConfig(reference=str(directory.path)),),
        port=0,
        metrics_port=0,
        batching=BatchingConfig(buckets=(1, 4, LARGEST_BUCKET)),
        backend=backend,
        reload_seconds=0.05,
        kept_versions=2,
    )
    return build_teacher(config)


@pytest.fixture(params=["jax", "onnx"])
def server(directory: ServedDirectory, request: pytest.FixtureRequest) -> Iterator[TeacherServer]:
    made = make_server(directory, request.param)
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    yield made
    made.stop(5.0)


def metric(server: TeacherServer, name: str) -> float:
    with NO_PROXY.open(
        f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=PATIENCE_SECONDS
    ) as page:
        text = page.read().decode()
    found = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[0]) if found else 0.0


def reloads(server: TeacherServer, result: str) -> float:
    return metric(server, f'rrl_teacher_reloads_total{{model="teacher",result="{result}"}}')


class Asking:
    """One client that asks without a pause, and checks every answer."""

    def __init__(self, address: str, shared_memory: bool, factors: Mapping[str, float]) -> None:
        self.answers = 0
        self.versions: list[int] = []
        self.failure: BaseException | None = None
        self._factors = factors
        self._stopping = False
        self._thread = threading.Thread(target=self._run, args=(address, shared_memory))
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self, address: str, shared_memory: bool) -> None:
        try:
            with TeacherClient(
                address, shared_memory=shared_memory, timeout_seconds=PATIENCE_SECONDS
            ) as client:
                client.describe()
                generator = np.random.default_rng(0)
                while not self._stopping:
                    # Up to three batches' rows.
                    rows = int(generator.integers(1, 3 * LARGEST_BUCKET))
                    self._ask(client, generator.integers(catch.COLUMNS, size=rows))
        except BaseException as error:
            self.failure = error

    def _ask(self, client: TeacherClient, balls: NDArray[np.int64]) -> None:
        answer = client.evaluate(boards(balls))
        factor = self._factors[answer.teacher_version]
        np.testing.assert_allclose(
            answer.action_values, expected(balls, factor), rtol=1e-5, atol=1e-5
        )
        self.versions.append(answer.model_version)
        self.answers += 1


def short_hash(teacher: Teacher) -> str:
    """What answers call the parameters: the first 16 digits of their hash."""
    return teacher.card.parameters_sha256[:16]


def evaluate(address: str, version: str) -> teacher_pb2.EvaluateResponse:
    with grpc.insecure_channel(address) as channel:
        balls = np.arange(catch.COLUMNS)
        message = teacher_pb2.EvaluateRequest(
            batch_rows=len(balls),
            observation_shape=[catch.ROWS, catch.COLUMNS, 1],
            observation_dtype="uint8",
            observations=boards(balls).tobytes(),
            version=version,
        )
        return teacher_pb2_grpc.TeacherStub(channel).Evaluate(message, timeout=PATIENCE_SECONDS)


def factor_of(response: teacher_pb2.EvaluateResponse) -> float:
    values = np.frombuffer(response.action_values, "<f4").reshape(-1, response.num_actions)
    # Staying is worth half the factor.
    factor = 2 * float(values[0, 1])
    balls = np.arange(catch.COLUMNS)
    np.testing.assert_allclose(values, expected(balls, factor), rtol=1e-5, atol=1e-5)
    return round(factor, 4)


def test_under_load_no_request_fails_and_every_answer_is_of_the_version_it_names(
    server: TeacherServer, directory: ServedDirectory
) -> None:
    teachers = [times(directory.original, factor) for factor in (1, 2, 3, 4)]
    factors = {short_hash(teacher): factor for factor, teacher in enumerate(teachers, 1)}
    clients = [Asking(server.address, name, factors) for name in MEMORY for _ in range(2)]
    try:
        wait_until(
            lambda: all(client.failure or client.answers for client in clients), "everybody asks"
        )
        for version, teacher in enumerate(teachers[1:], 2):
            before = [client.answers for client in clients]
            directory.write(teacher)
            wait_until(
                lambda: server.description.model_version == version,  # noqa: B023 - called here
                f"version {version} is served",
            )
            # One that was under way when it came, and one that was not.
            wait_until(
                lambda: all(
                    client.failure or client.answers > count + 2
                    for client, count in zip(clients, before, strict=True)  # noqa: B023
                ),
                "all continue",
            )
            # The version before is kept for those who pin it, by number or hash.
            for pin in (str(version - 1), short_hash(teachers[version - 2])):
                answer = evaluate(server.address, pin)
                assert (answer.model_version, factor_of(answer)) == (version - 1, version - 1)
            if version > 2:
                with pytest.raises(grpc.RpcError) as caught:
                    evaluate(server.address, str(version - 2))
                assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    finally:
        for client in clients:
            client.stop()
    for client in clients:
        assert client.failure is None, repr(client.failure)
        assert client.versions == sorted(client.versions)
        assert set(client.versions) == {1, 2, 3, 4}
    assert reloads(server, "ok") == 3
    assert metric(server, "rrl_teacher_compilations_after_ready_total") == 0


def test_a_directory_half_written_is_not_taken_and_the_whole_one_is(
    server: TeacherServer, directory: ServedDirectory
) -> None:
    prepared = directory.prepare(times(directory.original, 5))
    directory.take(prepared, PARAMS_FILE)
    # New parameters under the old card: their hash tells.
    wait_until(lambda: reloads(server, "failed") == 1, "the half is refused")
    assert factor_of(evaluate(server.address, "")) == 1
    # The same files are not tried again and again.
    time.sleep(0.2)
    assert reloads(server, "failed") == 1
    directory.take(prepared, CARD_FILE)
    wait_until(lambda: server.description.model_version == 2, "the whole is taken")
    assert factor_of(evaluate(server.address, "")) == 5
    assert (reloads(server, "ok"), reloads(server, "failed")) == (1, 1)


@pytest.fixture
def jax_server(directory: ServedDirectory) -> Iterator[TeacherServer]:
    made = make_server(directory, "jax")
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    yield made
    made.stop(5.0)


def test_bad_checkpoints_change_nothing_and_are_counted(
    jax_server: TeacherServer, directory: ServedDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    server, good = jax_server, directory.original
    params = (directory.path / PARAMS_FILE).read_bytes()
    layers = good.params["params"]
    # Two of the three actions: a good teacher, but not for these clients.
    narrow_params = {
        "params": {
            "Dense_0": layers["Dense_0"],
            "Dense_1": {
                "kernel": layers["Dense_1"]["kernel"][:, :2],
                "bias": layers["Dense_1"]["bias"][:2],
            },
        }
    }
    narrow = Teacher(
        params=narrow_params,
        card=dataclasses.replace(
            good.card,
            num_actions=2,
            parameters_sha256=params_hash(params_to_bytes(narrow_params)),
        ),
    )
    steps: list[tuple[str, Callable[[], object]]] = [
        ("SHA-256", lambda: (directory.path / PARAMS_FILE).write_bytes(params[:-7])),
        ("SHA-256", lambda: (directory.path / PARAMS_FILE).write_bytes(b"")),
        ("card.json", lambda: (directory.path / CARD_FILE).write_text("{")),
        ("under a name of its own", lambda: directory.write(narrow)),
        # At once: a folder that loses file after file is several bad checkpoints.
        ("no teacher", lambda: directory.path.rename(directory.path.with_name("gone"))),
    ]
    failed = 0.0
    for reason, damage in steps:
        caplog.clear()
        damage()
        wait_until(lambda: reason in caplog.text, f"{reason!r} is logged")  # noqa: B023
        wait_until(lambda: reloads(server, "failed") > failed, f"{reason!r} is counted")  # noqa: B023
        failed = reloads(server, "failed")
        assert factor_of(evaluate(server.address, "")) == 1
        assert [about.model_version for about in server.descriptions] == [1]
    directory.path.mkdir()
    directory.write(times(good, 6))
    wait_until(lambda: server.description.model_version == 2, "a good one is taken afterwards")
    assert factor_of(evaluate(server.address, "")) == 6
    assert reloads(server, "ok") == 1


def test_weights_written_anew_without_a_change_are_no_new_version(
    jax_server: TeacherServer, directory: ServedDirectory
) -> None:
    directory.write(directory.original)
    time.sleep(0.3)
    assert [about.model_version for about in jax_server.descriptions] == [1]
    assert reloads(jax_server, "ok") == reloads(jax_server, "failed") == 0


def serve(path: Path, *flags: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "services.cli.main", "teacher", "serve")
    fixed = ("--checkpoint", str(path), "--port", "0", "--metrics-port", "None", "--backend", "jax")
    return subprocess.Popen(
        [*command, *fixed, *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"ready at (\S+):\s", line)
    assert found, (line, process.communicate(timeout=PATIENCE_SECONDS)[1])
    return found[1]


def test_the_command_reloads_on_a_signal_or_by_its_clock(
    catch_teacher: Path, tmp_path: Path
) -> None:
    by_signal = ServedDirectory(catch_teacher, tmp_path / "signal")
    by_clock = ServedDirectory(catch_teacher, tmp_path / "clock")
    # Both warm up at the same time.
    with serve(by_signal.path) as first, serve(by_clock.path, "--reload-seconds", "0.1") as second:
        try:
            waits, looks = address_of(first), address_of(second)
            for directory in (by_signal, by_clock):
                directory.write(times(directory.original, 7))
            wait_until(lambda: factor_of(evaluate(looks, "")) == 7, "the clock's look")
            # Without a signal nothing is looked at.
            assert factor_of(evaluate(waits, "")) == 1
            # A burst of them is one look, and interrupts itself without harm.
            for _ in range(200):
                os.kill(first.pid, signal.SIGHUP)
            wait_until(lambda: factor_of(evaluate(waits, "")) == 7, "the signal's look")
            assert evaluate(waits, "").model_version == 2
            assert factor_of(evaluate(waits, "1")) == 1
        finally:
            for process in (first, second):
                process.terminate()
            for process in (first, second):
                _, log = process.communicate(timeout=PATIENCE_SECONDS)
                assert process.returncode == 0, log
                assert "Traceback" not in log
