"""`rrl teacher` as its users run it: processes, files and exit codes, with the bundled teacher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rrl_client import TeacherClient, TeacherError
from services.cli.main import run
from services.cli.teacher_query import query, read_states
from services.shared.errors import UserError
from services.shared.health import is_serving
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests/fixtures/pong_dqn/expected_q.npz"
RRL = (sys.executable, "-m", "services.cli.main")


def start_teacher(*flags: str) -> tuple[subprocess.Popen[str], str]:
    """The process and its ready line."""
    process = subprocess.Popen(
        [*RRL, "teacher", "serve", "--checkpoint", "pong_dqn", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate(timeout=PATIENCE_SECONDS)[1])
    return process, line


def address_of(ready_line: str) -> str:
    found = re.search(r"ready at (\S+):\s", ready_line)
    assert found, ready_line
    return found[1]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process, line = start_teacher("--port", "0", "--metrics-port", "0")
    yield address_of(line)
    process.terminate()
    process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """150 states of noise: more than one compiled batch, and not a multiple of it."""
    path = tmp_path / "states.npz"
    noise = np.random.default_rng(0).integers(0, 256, (150, 84, 84, 4), np.uint8)
    np.savez_compressed(path, states=noise)
    return path


def q_values(path: Path) -> NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["q_values"]
        values: NDArray[np.float32] = arrays["q_values"]
        return values


def test_a_checkpoint_and_its_service_give_the_same_values(
    address: str, states: Path, tmp_path: Path
) -> None:
    query(states=states, out=tmp_path / "here.npz", checkpoint="pong_dqn")
    query(states=states, out=tmp_path / "there.npz", address=address)
    here, there = q_values(tmp_path / "here.npz"), q_values(tmp_path / "there.npz")
    assert here.shape == there.shape == (150, 6)
    assert here.dtype == there.dtype == np.float32
    # Other batch sizes add up in another order.
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)
    # Rows must differ, or a mix-up of rows would pass.
    assert len(np.unique(here[:, 0])) > 100


def test_the_service_gives_the_recorded_values_of_the_bundled_teacher(
    address: str, tmp_path: Path
) -> None:
    query(states=RECORDED, out=tmp_path / "out.npz", address=address)
    with np.load(RECORDED, allow_pickle=False) as recorded:
        np.testing.assert_allclose(
            q_values(tmp_path / "out.npz"), recorded["q_values"], rtol=1e-4, atol=1e-5
        )


def test_the_command_line_writes_the_file_and_says_so(states: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.npz"
    flags = ("--states", str(states), "--out", str(out), "--checkpoint", "pong_dqn")
    done = subprocess.run([*RRL, "teacher", "query", *flags], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert q_values(out).shape == (150, 6)


def test_the_command_line_ends_with_one_line_for_a_missing_checkpoint(
    states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "q.npz"
    flags = ("--states", str(states), "--out", str(out), "--checkpoint", str(tmp_path / "none"))
    assert run(["teacher", "query", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no teacher" in line
    assert not out.exists()


@pytest.mark.parametrize("sources", [(), ("--checkpoint=pong_dqn", "--address=127.0.0.1:1")])
def test_exactly_one_of_checkpoint_and_address_is_needed(
    sources: tuple[str, ...], states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "q.npz"
    with pytest.raises(SystemExit) as ended:
        run(["teacher", "query", f"--states={states}", f"--out={out}", *sources])
    assert ended.value.code == 2 and not out.exists()
    printed = capsys.readouterr().err
    assert "--checkpoint" in printed and "--address" in printed


def test_states_of_another_shape_are_refused_by_both_ways_and_an_older_result_is_kept(
    address: str, tmp_path: Path
) -> None:
    narrow = tmp_path / "narrow.npz"
    np.savez(narrow, states=np.zeros((2, 80, 80, 4), np.uint8))
    out = tmp_path / "q.npz"
    out.write_bytes(b"an older result")
    refused = r"takes observations uint8 \(84, 84, 4\), .* has uint8 \(80, 80, 4\)"
    with pytest.raises(UserError, match=refused):
        query(states=narrow, out=out, checkpoint="pong_dqn")
    with pytest.raises(UserError, match=refused):
        query(states=narrow, out=out, address=address)
    assert out.read_bytes() == b"an older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["narrow.npz", "q.npz"]


def test_nobody_at_the_address_and_no_address_are_told_apart(states: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unavailable"):
        query(states=states, out=tmp_path / "q.npz", address="127.0.0.1:1")
    with pytest.raises(UserError, match="HOST:PORT"):
        query(states=states, out=tmp_path / "q.npz", address="localhost")


def test_a_directory_that_is_not_there_is_found_before_the_work(states: Path) -> None:
    with pytest.raises(UserError, match="no directory"):
        query(states=states, out=Path("nowhere/at/all/q.npz"), checkpoint="pong_dqn")


def test_files_that_hold_no_states_are_refused_with_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none\.npz; check --states"):
        read_states(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("not a zip")
    objects = tmp_path / "objects.npz"
    np.savez(objects, states=np.array([{}], object))
    other = tmp_path / "other.npz"
    np.savez(other, observations=np.zeros((1, 84, 84, 4), np.uint8))
    doubles = tmp_path / "doubles.npz"
    np.savez(doubles, states=np.zeros((1, 84, 84, 4)))
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, states=np.zeros((1, 84, 84, 4), ">f4"))
    empty = tmp_path / "empty.npz"
    np.savez(empty, states=np.zeros((0, 84, 84, 4), np.uint8))
    cut = tmp_path / "cut.npz"
    np.savez(cut, states=np.zeros((4, 84, 84, 4), np.uint8))
    cut.write_bytes(cut.read_bytes()[:1000])
    for path in (text, objects, other, doubles, foreign, empty, cut, tmp_path):
        with pytest.raises(UserError, match=r"want an .npz file with `states`"):
            read_states(path)


def test_sigterm_answers_what_is_under_way_and_ends_with_success() -> None:
    process, line = start_teacher("--port", "0", "--metrics-port", "None")
    address = address_of(line)
    # Four requests, which fit what one stream may have under way: the service has all at once.
    observations = np.zeros((64, 84, 84, 4), np.uint8)
    with TeacherClient(address) as client:
        client.describe()
        futures = [client.evaluate_future(observations, 60) for _ in range(4)]
        answered = threading.Event()
        futures[0].add_done_callback(lambda _: answered.set())
        # The first answer shows that the service has all of them: they came on one connection.
        assert answered.wait(PATIENCE_SECONDS)
        os.kill(process.pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE_SECONDS
        while is_serving(address, timeout_seconds=PATIENCE_SECONDS):
            assert time.monotonic() < end
        for future in futures:
            assert future.result().action_values.shape == (64, 6)
        assert process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(TeacherError):
            client.evaluate(observations[:1], timeout_seconds=1.0)
    process.communicate()


def test_a_port_in_use_ends_the_second_teacher_with_one_line(address: str) -> None:
    port = address.rpartition(":")[2]
    flags = ("--checkpoint", "pong_dqn", "--port", port, "--metrics-port", "None")
    done = subprocess.run(
        [*RRL, "teacher", "serve", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    assert port in done.stderr and "--port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--checkpoint", "pong_dqn", "--max-batch-rows", "0"), "max_batch_rows is 0"),
        (("--checkpoint", "nothing.onnx"), "no teacher 'nothing.onnx'"),
        (("--checkpoint", "no_such_package:make"), "no module 'no_such_package'"),
    ],
)
def test_flags_that_make_no_sense_end_with_one_line(
    flags: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["teacher", "serve", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_an_ipv6_host_may_be_written_in_brackets() -> None:
    process, line = start_teacher(
        *("--host", "[::1]", "--port", "0", "--metrics-host", "[::1]", "--metrics-port", "0")
    )
    try:
        assert re.fullmatch(r"\[::1\]:\d+", address_of(line))
        with TeacherClient(address_of(line)) as client:
            assert client.wait_until_ready(PATIENCE_SECONDS).game == "pong"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
