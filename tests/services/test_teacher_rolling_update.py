"""New versions of the teacher, one process after the other, while others ask: no query fails.

Real services behind one target of several addresses; clients of every kind with the retry policy
that they are shipped with. The teacher is that of Catch whose values can be read off the game;
version f of it says f times as much, so every value tells which version computed it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_agents.checkpoints.params_codec import params_hash, params_to_bytes
from rrl_agents.checkpoints.teacher_directory import load_teacher_directory, save_teacher
from rrl_agents.environments import catch
from rrl_client import AsyncTeacherClient, TeacherAnswer, TeacherClient
from rrl_client.client import DEFAULT_TIMEOUT_SECONDS
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.server import TeacherServer
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import PixelSums

ROOT = Path(__file__).resolve().parents[2]
# A row is a small batch here, so that a few dozen rows travel in pieces.
MAX_BATCH_ROWS = 8
PIECES_ROWS = 20
HASH_DIGITS = 16
PAUSE_SECONDS = 0.002


@dataclasses.dataclass(frozen=True)
class Weights:
    """One version of the teacher: where it lies, its hash, and how much more it says."""

    path: Path
    version: str
    factor: float


@pytest.fixture
def versions(catch_teacher: Path, tmp_path: Path) -> tuple[Weights, Weights]:
    """The teacher, and another that says twice as much."""
    return _times(catch_teacher, 1.0, tmp_path), _times(catch_teacher, 2.0, tmp_path)


def _times(original: Path, factor: float, folder: Path) -> Weights:
    teacher = load_teacher_directory(original)
    hidden, last = teacher.params["params"]["Dense_0"], teacher.params["params"]["Dense_1"]
    larger = {name: (factor * leaf).astype(np.float32) for name, leaf in last.items()}
    params = {"params": {"Dense_0": hidden, "Dense_1": larger}}
    digest = params_hash(params_to_bytes(params))
    path = folder / f"times-{factor:g}"
    save_teacher(path, params, dataclasses.replace(teacher.card, parameters_sha256=digest))
    return Weights(path, digest[:HASH_DIGITS], factor)


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


class Replica:
    """One address, and the service that listens there now."""

    def __init__(self, *flags: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self._flags = flags
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, weights: Weights) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "services.cli.main", "teacher", "serve"),
                *("--checkpoint", str(weights.path), "--port", str(self.port)),
                *("--metrics-port", "None", "--no-shared-memory", "--backend", "onnx"),
                *("--max-batch-rows", str(MAX_BATCH_ROWS), *self._flags),
            ],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert re.match(r"teacher ready at", line), line

    def end(self) -> None:
        """As an orchestrator does: SIGTERM, and wait for the process to leave by itself."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_SECONDS) == 0
        self._process.communicate()
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@contextlib.contextmanager
def replicas(count: int, weights: Weights, *flags: str) -> Iterator[list[Replica]]:
    """Services that are ready."""
    made = [Replica(*flags) for _ in range(count)]
    try:
        for replica in made:
            replica.start(weights)
        for replica in made:
            replica.wait_until_ready()
        yield made
    finally:
        for replica in made:
            replica.kill()


class Load:
    """Clients that ask without end, and the answers they got."""

    def __init__(self, versions: Sequence[Weights]) -> None:
        self._factors = {weights.version: weights.factor for weights in versions}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        # One loop for all: gRPC's asyncio side polls for the whole process.
        self._loop = asyncio.new_event_loop()
        self._tasks: list[concurrent.futures.Future[None]] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.answers: Counter[tuple[str, str]] = Counter()
        self.failures: list[tuple[str, float, Exception]] = []
        self.slowest_seconds = 0.0

    def add(self, name: str, addresses: Any, *, rows: int, **settings: Any) -> None:
        """A synchronous client in a thread of its own."""

        def ask() -> None:
            random = np.random.default_rng(len(name) + rows)
            with TeacherClient(addresses, **settings) as client:
                while not self._is_over.is_set():
                    balls = random.integers(0, catch.COLUMNS, rows)
                    begun = time.monotonic()
                    try:
                        self._answered(name, balls, begun, client.evaluate(boards(balls)))
                    except Exception as error:
                        self._failed(name, begun, error)
                    time.sleep(PAUSE_SECONDS)

        self._start(ask)

    def add_asyncio(self, name: str, addresses: Any, *, rows: int, **settings: Any) -> None:
        """An asyncio client in a task of its own."""

        async def ask() -> None:
            random = np.random.default_rng(len(name) + rows)
            async with AsyncTeacherClient(addresses, **settings) as client:
                while not self._is_over.is_set():
                    balls = random.integers(0, catch.COLUMNS, rows)
                    begun = time.monotonic()
                    try:
                        self._answered(name, balls, begun, await client.evaluate(boards(balls)))
                    except Exception as error:
                        self._failed(name, begun, error)
                    await asyncio.sleep(PAUSE_SECONDS)

        self._tasks.append(asyncio.run_coroutine_threadsafe(ask(), self._loop))

    def add_pipelined(self, name: str, addresses: Any, **settings: Any) -> None:
        """As an actor does: sixteen queries under way, looked at later."""

        def ask() -> None:
            random = np.random.default_rng(0)
            with TeacherClient(addresses, **settings) as client:
                while not self._is_over.is_set():
                    balls = random.integers(0, catch.COLUMNS, (16, 1))
                    futures = [client.evaluate_future(boards(each)) for each in balls]
                    begun = time.monotonic()
                    for each, future in zip(balls, futures, strict=True):
                        try:
                            self._answered(name, each, begun, future.result())
                        except Exception as error:
                            self._failed(name, begun, error)
                    time.sleep(PAUSE_SECONDS)

        self._start(ask)

    def count(self, version: str) -> int:
        """Answers of a version so far."""
        with self._lock:
            return sum(count for (_, seen), count in self.answers.items() if seen == version)

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a client is stuck"
        for task in self._tasks:
            task.result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _start(self, ask: Callable[[], None]) -> None:
        thread = threading.Thread(target=ask, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _failed(self, name: str, begun: float, error: Exception) -> None:
        with self._lock:
            self.failures.append((name, time.monotonic() - begun, error))

    def _answered(
        self, name: str, balls: NDArray[np.int64], begun: float, answer: TeacherAnswer
    ) -> None:
        factor = self._factors[answer.teacher_version]
        np.testing.assert_allclose(answer.action_values, expected(balls, factor), atol=1e-5)
        with self._lock:
            self.answers[name, answer.teacher_version] += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - begun)


@pytest.mark.slow
@pytest.mark.parametrize("lame_duck_seconds", [0.0, 1.0])
def test_replicas_replaced_one_after_the_other_fail_no_request(
    versions: tuple[Weights, Weights], lame_duck_seconds: float
) -> None:
    old, new = versions
    load = Load(versions)
    with replicas(2, old, "--lame-duck-seconds", str(lame_duck_seconds)) as fleet:
        addresses = [replica.address for replica in fleet]
        # One target that leads to several addresses, as a name of a cluster does.
        targets = {"list": addresses, "one target": ["ipv4:" + ",".join(addresses)]}
        for named, target in targets.items():
            kind = named
            for _ in range(3):
                load.add(f"threads, {kind}", target, rows=1)
                load.add_asyncio(f"asyncio, {kind}", target, rows=1)
            load.add_pipelined(f"pipelined, {kind}", target)
            load.add(f"pieces, {kind}", target, rows=PIECES_ROWS)
            load.add_asyncio(f"asyncio pieces, {kind}", target, rows=PIECES_ROWS)
        wait_until(lambda: load.count(old.version) > 500)
        for replica in fleet:
            replica.end()
            replica.start(new)
            replica.wait_until_ready()
            # As an orchestrator waits before the next one; a client looks for it once a second.
            time.sleep(2.0)
        told_by_old = load.count(old.version)
        told_by_new = load.count(new.version)
        wait_until(lambda: load.count(new.version) > told_by_new + 500)
        load.stop()
    assert load.failures == []
    assert load.count(old.version) == told_by_old, "the last of the old version has gone"
    clients = {name for name, _ in load.answers}
    assert len(clients) == len(targets) * 5
    assert {name for name, seen in load.answers if seen == new.version} == clients
    assert load.slowest_seconds < DEFAULT_TIMEOUT_SECONDS


def sums(version: str, addend: float = 0.0) -> PixelSums:
    return PixelSums(version, shape=(2,), addend=addend, fails_on=None)


@contextlib.contextmanager
def serving(*policies: PixelSums) -> Iterator[list[str]]:
    """Services in this process, one for each policy, on their way to be ready; their addresses."""
    config = TeacherConfig(
        models=(ModelConfig(reference="in memory"),),
        port=0,
        metrics_port=None,
        batching=BatchingConfig(buckets=(1, 8)),
    )
    servers = [TeacherServer(config, [policy]) for policy in policies]
    try:
        for server, policy in zip(servers, policies, strict=True):
            server.start()
            if policy.gate.is_set():
                server.wait_until_ready(PATIENCE_SECONDS)
        yield [server.address for server in servers]
    finally:
        for server, policy in zip(servers, policies, strict=True):
            policy.gate.set()
            server.stop(1.0)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_replica_that_warms_up_is_asked_nothing(shared_memory: bool) -> None:
    cold = sums("v1")
    cold.gate.clear()
    with (
        serving(sums("v1"), cold) as addresses,
        TeacherClient(addresses, shared_memory=shared_memory) as client,
    ):
        client.wait_until_ready(PATIENCE_SECONDS)
        begun = time.monotonic()
        for query in range(500):
            pixel = query % 50
            answer = client.evaluate(np.full((1, 2), pixel, np.uint8))
            assert answer.action_values.tolist() == [[2 * pixel, 4 * pixel]]
        # Were every second query refused first, each at the cost of a tenth of a second and more,
        # 250 of them would take 25 s.
        assert time.monotonic() - begun < 20.0


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_batch_in_pieces_is_answered_by_one_version_though_replicas_differ(
    shared_memory: bool,
) -> None:
    async def ask_asyncio(addresses: list[str]) -> list[TeacherAnswer]:
        async with AsyncTeacherClient(addresses, shared_memory=shared_memory) as client:
            await client.wait_until_ready(PATIENCE_SECONDS)
            return [await client.evaluate(observations) for _ in range(8)]

    observations = np.arange(2 * PIECES_ROWS, dtype=np.uint8).reshape(PIECES_ROWS, 2)
    totals = observations.sum(axis=1, dtype=np.float32)
    with serving(sums("v1"), sums("v2", 1000.0)) as addresses:
        with TeacherClient(addresses, shared_memory=shared_memory) as client:
            client.wait_until_ready(PATIENCE_SECONDS)
            answers = [client.evaluate(observations) for _ in range(8)]
        answers += asyncio.run(ask_asyncio(addresses))
    for answer in answers:
        found = totals + {"v1": 0.0, "v2": 1000.0}[answer.teacher_version]
        np.testing.assert_allclose(
            answer.action_values, np.stack([found, 2 * found], axis=1), rtol=1e-6
        )
