"""What becomes of a run when its terminal, its reader, its disk or a role fails it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rrl_agents.types import Stage
from services.learner.checkpoint_records import newest_checkpoint

if TYPE_CHECKING:
    from tests.end_to_end.conftest import CatchRun

pytestmark = pytest.mark.slow

RRL = Path(sys.executable).parent / "rrl"
PATIENCE_SECONDS = 900.0
SETTINGS = (
    "--teacher-steps=800",
    "--method.offline-updates=200",
    "--offline-evaluation-period=200",
    "--online-evaluation-period=500",
    "--num-actors=1",
    "--envs-per-actor=4",
    "--evaluation.final-episodes=20",
    "--replay-capacity=20000",
    "--publish-period-updates=20",
    "--method.weaning.wean-steps=80000",
    "--method.q-learning.min-replay-size=200",
    "--method.q-learning.target-update-steps=200",
    "--method.q-learning.epsilon-decay-steps=200",
)
CATCH = ("--environment.name=catch", "--network.name=mlp", "--network.features", "64")


def command(run: Path, teacher: object, *flags: str) -> list[str]:
    given = (f"--run={run}", f"--teacher.checkpoint={teacher}")
    return [str(RRL), "train", "qdagger", *given, *CATCH, *SETTINGS, *flags]


def finished(run: Path) -> bool:
    newest = newest_checkpoint(run)
    return newest is not None and newest.record.progress.stage is Stage.FINISHED


def test_a_run_goes_to_its_report_when_nobody_reads_along(
    catch_teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        command(run, catch_teacher, "--online-steps=1500"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert finished(run)
    assert json.loads((run / "report" / "summary.json").read_text())["finished"] is True


@pytest.fixture
def terminal() -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    """Starts a command in the foreground of a terminal; gives its process and our end of it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> tuple[subprocess.Popen[bytes], int]:
        ours, its = pty.openpty()
        # Its standard input becomes the terminal that its session belongs to. Tests that run under
        # nohup have SIGHUP ignored, and their commands would, too.
        command = ["env", "--default-signal=HUP", "setsid", "--ctty", "--wait", *words]
        started.append(subprocess.Popen(command, stdin=its, stdout=its, stderr=its))
        os.close(its)
        return started[-1], ours

    yield start
    for process in started:
        process.kill()
        process.wait()


def read_until(end: int, text: bytes) -> None:
    seen = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        seen += os.read(end, 65536)


def updates_of(run: Path) -> int:
    newest = newest_checkpoint(run)
    return 0 if newest is None else newest.record.progress.learner_updates


def test_a_run_saves_what_it_did_when_its_terminal_goes_away(
    catch_teacher: Path,
    tmp_path: Path,
    terminal: Callable[..., tuple[subprocess.Popen[bytes], int]],
) -> None:
    run = tmp_path / "run"
    # A checkpoint when a stage begins, and then none for long.
    flags = ("--online-steps=400000", "--checkpoint-period-seconds=3000")
    process, end = terminal(*command(run, catch_teacher, *flags))
    read_until(end, b"online")
    read_until(end, b"lambda 0")
    time.sleep(5)
    before = updates_of(run)
    os.close(end)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert updates_of(run) > before


def test_ctrl_c_in_the_panel_says_what_is_saved_and_how_to_go_on(
    catch_teacher: Path,
    tmp_path: Path,
    terminal: Callable[..., tuple[subprocess.Popen[bytes], int]],
) -> None:
    run = tmp_path / "run"
    flags = ("--online-steps=400000", "--checkpoint-period-seconds=1")
    process, end = terminal(*command(run, catch_teacher, *flags))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not updates_of(run):
        assert os.read(end, 65536) and time.monotonic() < deadline
    os.write(end, b"\x03")
    shown = b""
    # Linux reports a closed other end by an error.
    with contextlib.suppress(OSError):
        while read := os.read(end, 65536):
            shown += read
    assert process.wait(PATIENCE_SECONDS) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    said = "".join(text.splitlines())
    assert updates_of(run) > 0 and said.count("stopping; ") == 1
    last = said.rpartition("stopped; saved ")[2]
    assert f"{updates_of(run):,} updates" in last
    assert last.endswith(f". The same command resumes {run}")
    assert "Waiting for workers" not in said and "User-requested" not in said


def test_under_nohup_the_end_of_the_terminal_is_nothing(
    catch_teacher: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(run, catch_teacher, "--online-steps=1500")
    with subprocess.Popen(
        ["nohup", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGHUP)
        process.stdout.read()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert finished(run)


POLICY = """
import numpy as np

class Small:
    name, game, version = "small", "catch", "1"
    num_actions, observation_shape, observation_dtype = 3, (10, 5, 1), "uint8"
    output, temperature = "q_values", None

    def evaluate(self, observations):
        if len(observations) > 64:
            raise RuntimeError("out of memory: tried to allocate 2.00 GiB")
        return np.zeros((len(observations), 3), np.float32)
"""


def test_a_teacher_that_cannot_serve_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "small_policy.py").write_text(POLICY)
    words = command(tmp_path / "run", "small_policy:Small", "--online-steps=1500")
    done = subprocess.run(
        [*words, "--teacher.mean-return=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the teacher failed (exit code" in line
    assert "failed on a batch of 128 states (RuntimeError: out of memory" in line


def test_a_run_on_a_disk_that_stays_full_says_what_is_lost(
    catch_run: Callable[..., CatchRun], catch_teacher: Path
) -> None:
    run = catch_run(
        "qdagger",
        f"--teacher.checkpoint={catch_teacher}",
        "--online-steps=3000",
        "--checkpoint-period-seconds=1",
        *SETTINGS,
    )
    run.start()
    run.wait_until(lambda: newest_checkpoint(run.folder) is not None)
    folder = run.folder / "checkpoints"
    folder.rename(run.folder / "aside")
    # As for a full disk, nothing can be written there.
    folder.touch()
    run.wait_until(lambda: "NOT SAVED since update" in run.out and "finished" in run.out)
    time.sleep(10)
    # It waits for room; without, it says what the end of it costs.
    assert run.launcher.poll() is None
    run.signal_group(signal.SIGINT)
    assert run.wait() == 2
    assert "are lost, since no checkpoint can be written" in run.err
    run.wait_until_alone()
    folder.unlink()
    (run.folder / "aside").rename(folder)
    run.start()
    assert run.wait() == 0
    assert finished(run.folder)
