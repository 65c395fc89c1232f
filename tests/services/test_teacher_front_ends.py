"""Front-end processes: they answer for the device process, are replaced, and leave nothing behind.

`serve` is a service in a process of its own, so that it can be killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from rrl_client.v1 import teacher_pb2, teacher_pb2_grpc
from services.shared.health import is_serving
from services.shared.shutdown import install_shutdown_event
from services.teacher.config import BatchingConfig, ModelConfig, TeacherConfig
from services.teacher.policies.source import TeacherSource
from services.teacher.server import SERVICE_NAME, TeacherServer
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.policies import PixelSums

ROOT = Path(__file__).resolve().parents[2]
FRONT_ENDS = 2
MAX_BATCH_ROWS = 32
SLOW_SECONDS = 0.2


def make_server(policies: list[PixelSums], **changes: Any) -> TeacherServer:
    """Versions 1 and 2 of model "a", and model "b"."""
    config = TeacherConfig(
        models=tuple(
            ModelConfig(name=name, source=TeacherSource(checkpoint="in memory"))
            for name in ("a", "a", "b")
        ),
        port=0,
        metrics_port=None,
        front_ends=FRONT_ENDS,
        batching=BatchingConfig(buckets=(1, MAX_BATCH_ROWS)),
        **changes,
    )
    return TeacherServer(config, policies)


def make_policies() -> list[PixelSums]:
    return [sums("one", 0), sums("two", 1000), sums("three", 2000)]


def sums(version: str, addend: float) -> PixelSums:
    """Takes its time over an observation with a pixel of 255."""
    policy = PixelSums(version, shape=(2,), addend=addend, fails_on=None)
    policy.before_batch = _slow
    return policy


def _slow(observations: NDArray[Any]) -> None:
    if (observations == 255).any():
        time.sleep(SLOW_SECONDS)


def serve() -> None:
    """Serve until SIGTERM, and drain; in a process of its own. A slow batch is a printed line."""
    shutdown = install_shutdown_event()
    policies = make_policies()

    def say(observations: NDArray[Any]) -> None:
        if (observations == 255).any():
            print("a slow batch", flush=True)
        _slow(observations)

    for policy in policies:
        policy.before_batch = say
    server = make_server(policies)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    print(server.address, flush=True)
    shutdown.wait()
    server.stop(5.0)


def front_ends_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children():
        # One may end, or be a zombie, while it is looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            # The other child is multiprocessing's resource tracker.
            if "spawn_main" in "".join(child.cmdline()):
                found.append(child)
    return found


def those_alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run; a zombie only waits for its parent to look."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def open_channel(address: str) -> grpc.Channel:
    """A channel with a connection of its own: the system deals connections out to the processes."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def request(pixel: int, rows: int = 1, **changes: Any) -> teacher_pb2.EvaluateRequest:
    return teacher_pb2.EvaluateRequest(
        batch_rows=rows,
        observation_shape=[2],
        observation_dtype="uint8",
        observations=bytes([pixel] * 2 * rows),
        **changes,
    )


def values(response: teacher_pb2.EvaluateResponse) -> list[float]:
    return np.frombuffer(response.action_values, "<f4").tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def policies() -> list[PixelSums]:
    return make_policies()


@pytest.fixture(scope="module")
def server(policies: list[PixelSums]) -> Iterator[TeacherServer]:
    made = make_server(policies)
    made.start()
    made.wait_until_ready(PATIENCE_SECONDS)
    yield made
    made.stop(5.0)


@pytest.fixture
def stub(server: TeacherServer) -> Iterator[teacher_pb2_grpc.TeacherStub]:
    with open_channel(server.address) as channel:
        yield teacher_pb2_grpc.TeacherStub(channel)


def test_all_processes_answer_with_their_callers_own_values(server: TeacherServer) -> None:
    with contextlib.ExitStack() as stack:
        # All 30 at one of two processes: once in 2 to the power of 29.
        channels = [stack.enter_context(open_channel(server.address)) for _ in range(30)]
        calls = [
            teacher_pb2_grpc.TeacherStub(channel).Evaluate.future(
                request(pixel, 3), timeout=PATIENCE_SECONDS
            )
            for pixel, channel in enumerate(channels)
        ]
        for pixel, call in enumerate(calls):
            # Two pixels and the 1,000 of the newest version of the first model; three rows.
            sums = 2 * pixel + 1000
            assert values(call.result()) == [sums, 2 * sums] * 3
            assert (call.result().teacher_version, call.result().model_version) == ("two", 2)
        port = int(server.address.rpartition(":")[2])
        for process in front_ends_of(os.getpid()):
            taken = [at for at in process.net_connections() if at.laddr and at.laddr.port == port]
            assert any(at.status == psutil.CONN_ESTABLISHED for at in taken)


def test_a_stream_is_answered_through_a_front_end(stub: teacher_pb2_grpc.TeacherStub) -> None:
    frame = teacher_pb2.QueryFrame(
        queries=[teacher_pb2.Query(tag=tag, request=request(tag)) for tag in range(1, 100)]
    )
    answers = {
        answer.tag: values(answer.response)
        for received in stub.EvaluateStream(iter([frame]), timeout=PATIENCE_SECONDS)
        for answer in received.answers
    }
    assert answers == {tag: [2 * tag + 1000, 4 * tag + 2000] for tag in range(1, 100)}


@pytest.mark.parametrize(
    ("asked", "addend", "answered"),
    [
        ({"model": "a", "version": "1"}, 0, ("one", 1)),
        ({"version": "one"}, 0, ("one", 1)),
        ({"model": "a"}, 1000, ("two", 2)),
        ({"model": "b"}, 2000, ("three", 1)),
        ({"model": "b", "version": "three"}, 2000, ("three", 1)),
    ],
)
def test_models_and_pins_are_those_of_the_device_process(
    stub: teacher_pb2_grpc.TeacherStub, asked: dict[str, Any], addend: int, answered: Any
) -> None:
    response = stub.Evaluate(request(1, **asked), timeout=PATIENCE_SECONDS)
    assert values(response) == [2 + addend, 4 + 2 * addend]
    assert (response.teacher_version, response.model_version) == answered
    about = stub.Describe(teacher_pb2.DescribeRequest(**asked), timeout=PATIENCE_SECONDS)
    assert (about.teacher_version, about.model_version) == answered
    assert about.max_batch_rows == MAX_BATCH_ROWS


def test_models_are_listed_as_the_device_process_lists_them(
    stub: teacher_pb2_grpc.TeacherStub,
) -> None:
    listed = stub.ListModels(teacher_pb2.ListModelsRequest(), timeout=PATIENCE_SECONDS).models
    assert [(m.model, m.model_version, m.teacher_version, m.newest) for m in listed] == [
        ("a", 1, "one", False),
        ("a", 2, "two", True),
        ("b", 1, "three", True),
    ]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"model": "c"}, grpc.StatusCode.NOT_FOUND),
        ({"model": "a", "version": "3"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"version": "three"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"priority": 7}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_what_is_not_there_is_refused_by_the_front_end(
    stub: teacher_pb2_grpc.TeacherStub, asked: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Evaluate(request(1, **asked), timeout=PATIENCE_SECONDS)
    assert caught.value.code() == code


def test_the_largest_request_passes(stub: teacher_pb2_grpc.TeacherStub) -> None:
    answer = stub.Evaluate(request(2, MAX_BATCH_ROWS), timeout=PATIENCE_SECONDS)
    assert values(answer) == [1004, 2008] * MAX_BATCH_ROWS


def test_every_name_of_health_serves(server: TeacherServer) -> None:
    for name in ("", SERVICE_NAME, f"{SERVICE_NAME}/a", f"{SERVICE_NAME}/b"):
        assert is_serving(server.address, name, timeout_seconds=PATIENCE_SECONDS)


def test_what_a_client_gives_up_is_not_computed(
    server: TeacherServer, policies: list[PixelSums]
) -> None:
    policy = policies[1]
    policy.forget()
    policy.gate.clear()
    with open_channel(server.address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        busy = stub.Evaluate.future(request(1), timeout=PATIENCE_SECONDS)
        assert policy.entered.wait(PATIENCE_SECONDS)
        given_up: Any = stub.Evaluate.future(request(9, 4), timeout=PATIENCE_SECONDS)
        queued = server._engine._batcher
        wait_until(lambda: queued.queued_bytes == 8, "the second one waits at the device")
        (query,) = queued._models[1].queues
        given_up.cancel()
        wait_until(lambda: query.cancelled, "the device process hears of it")
        policy.gate.set()
        assert values(busy.result()) == [1002, 2004]
        wait_until(lambda: queued.queued_bytes == 0, "nothing waits")
    assert policy.computed == [1]


def test_a_front_end_that_is_killed_is_replaced_and_queries_are_answered(
    server: TeacherServer,
) -> None:
    before = front_ends_of(os.getpid())
    assert len(before) == FRONT_ENDS
    before[0].kill()

    def all_are_back() -> bool:
        now = front_ends_of(os.getpid())
        return len(now) == FRONT_ENDS and before[0] not in now

    end = time.monotonic() + PATIENCE_SECONDS
    answered = 0
    while not all_are_back() or answered < 20:
        assert time.monotonic() < end
        # Only connections to the one that died are lost: a new one finds the other.
        with open_channel(server.address) as channel, contextlib.suppress(grpc.RpcError):
            stub = teacher_pb2_grpc.TeacherStub(channel)
            assert values(stub.Evaluate(request(1), timeout=PATIENCE_SECONDS)) == [1002, 2004]
            answered += 1
    (new,) = set(front_ends_of(os.getpid())) - set(before)
    port = int(server.address.rpartition(":")[2])
    wait_until(
        lambda: any(at.laddr.port == port for at in new.net_connections() if at.laddr),
        "the new process listens",
    )


def test_new_weights_reach_every_caller_and_no_request_fails(tmp_path: Path) -> None:
    # The reloader looks at the file, and `load` says what is in it.
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text("1")
    config = TeacherConfig(
        models=(ModelConfig(name="a", source=TeacherSource(checkpoint=str(checkpoint))),),
        port=0,
        metrics_port=None,
        front_ends=1,
        kept_versions=1,
        batching=BatchingConfig(buckets=(1, MAX_BATCH_ROWS)),
    )

    def load(model: ModelConfig, backend: str) -> PixelSums:
        del model, backend
        number = int(checkpoint.read_text())
        return sums(f"v{number}", 1000 * number)

    server = TeacherServer(config, [sums("v1", 1000)], load)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    failures: list[BaseException] = []
    seen: list[set[int]] = []
    stop = threading.Event()

    def ask() -> None:
        mine: set[int] = set()
        seen.append(mine)
        try:
            with open_channel(server.address) as channel:
                stub = teacher_pb2_grpc.TeacherStub(channel)
                while not stop.is_set():
                    answer = stub.Evaluate(request(1, MAX_BATCH_ROWS), timeout=PATIENCE_SECONDS)
                    total = 2 + 1000 * answer.model_version
                    assert values(answer) == [total, 2 * total] * MAX_BATCH_ROWS
                    assert answer.teacher_version == f"v{answer.model_version}"
                    assert not mine or answer.model_version >= max(mine)
                    mine.add(answer.model_version)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 8):
            checkpoint.write_text(str(number))
            server.reload()
            wait_until(
                lambda: failures or all(number in mine for mine in seen),  # noqa: B023
                f"everybody has version {number}",
            )
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    with open_channel(server.address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)

        def is_described() -> bool:
            about = stub.Describe(teacher_pb2.DescribeRequest(), timeout=PATIENCE_SECONDS)
            return about.teacher_version == "v7"

        wait_until(is_described, "the front end knows the newest version")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Evaluate(request(1, version="6"), timeout=PATIENCE_SECONDS)
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    server.stop(5.0)
    assert not failures


def test_a_stop_says_so_answers_what_is_under_way_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where sockets are made; pytest's own directories are too long for them.
    place = tempfile.mkdtemp()
    monkeypatch.setattr(tempfile, "tempdir", place)
    monkeypatch.setenv("XDG_RUNTIME_DIR", place)
    processes_before = set(front_ends_of(os.getpid()))
    server = make_server(make_policies(), lame_duck_seconds=4.0)
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    processes = set(front_ends_of(os.getpid())) - processes_before
    assert len(processes) == FRONT_ENDS
    assert os.listdir(place)
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(open_channel(server.address)) for _ in range(4)]
        stubs = [teacher_pb2_grpc.TeacherStub(channel) for channel in channels]
        watch = health_pb2_grpc.HealthStub(channels[0]).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        for stub in stubs:
            stub.Evaluate(request(1), timeout=PATIENCE_SECONDS)
        stopping = threading.Thread(target=server.stop, args=(20.0,))
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # Still taken in the lame-duck time, and answered after it: 4 x 0.2 s, if not batched.
        calls = [stub.Evaluate.future(request(255), timeout=PATIENCE_SECONDS) for stub in stubs]
        for call in calls:
            assert values(call.result()) == [1510, 3020]
        stopping.join(PATIENCE_SECONDS)
        assert not stopping.is_alive()
    assert not those_alive(processes)
    assert os.listdir(place) == []
    os.rmdir(place)
    assert set(front_ends_of(os.getpid())) == processes_before


@pytest.fixture
def service() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service in a process of its own, and its address."""
    # One that is killed cannot remove its directories.
    place = tempfile.mkdtemp()
    process = subprocess.Popen(
        # Not as a script: every front end would import it again.
        [sys.executable, "-c", f"import runpy; runpy.run_path({__file__!r})['serve']()"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": place, "XDG_RUNTIME_DIR": place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        raise AssertionError(process.communicate(timeout=PATIENCE_SECONDS)[1])
    left = front_ends_of(process.pid)
    yield process, address
    process.kill()
    process.communicate()
    for found in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.kill()
    shutil.rmtree(place)


def test_sigterm_answers_what_is_under_way_and_ends_all_processes(
    service: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = service
    front_ends = front_ends_of(process.pid)
    with open_channel(address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        stub.Evaluate(request(1), timeout=PATIENCE_SECONDS)
        call = stub.Evaluate.future(request(255), timeout=PATIENCE_SECONDS)
        assert process.stdout is not None
        assert process.stdout.readline() == "a slow batch\n"
        process.terminate()
        assert values(call.result()) == [1510, 3020]
    _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert not those_alive(front_ends)
    assert "Traceback" not in log


def test_front_ends_end_by_themselves_when_the_device_process_is_killed(
    service: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = service
    front_ends = front_ends_of(process.pid)
    assert len(front_ends) == FRONT_ENDS
    with open_channel(address) as channel:
        stub = teacher_pb2_grpc.TeacherStub(channel)
        # Somebody who never reads the answer to what is under way must not keep them.
        frame = teacher_pb2.QueryFrame(queries=[teacher_pb2.Query(tag=1, request=request(1))])
        stream: Any = stub.EvaluateStream(iter([frame]), timeout=2 * PATIENCE_SECONDS)
        next(stream)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not those_alive(front_ends), "all have ended")
        with pytest.raises(grpc.RpcError):
            stub.Evaluate(request(1), timeout=2)
        stream.cancel()
