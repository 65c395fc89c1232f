"""Runs of `rrl train` as a user starts them: processes, files, signals and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.launcher.run_addresses import read_addresses
from services.learner.checkpoint_records import RunCheckpoint, newest_checkpoint
from services.shared.addresses import parse_address

RRL = Path(sys.executable).parent / "rrl"

PATIENCE_SECONDS = 900.0
"""For anything that takes seconds on an idle machine; below the time limit of a test."""


def processes_of(run: Path) -> list[psutil.Process]:
    """The role processes of a run that are alive: their output goes to the run's logs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            output = Path(f"/proc/{process.pid}/fd/1").resolve()
            if (
                output.is_relative_to((run / "logs").resolve())
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


class CatchRun:
    """A run of Catch in a folder; `start` may be called again and again."""

    def __init__(self, folder: Path, method: str, flags: tuple[str, ...]) -> None:
        self.folder = folder / "run"
        self._command = [str(RRL), "train", method, "--run", str(self.folder), *flags]
        self._output = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._session = 0

    def start(self) -> None:
        """Start `rrl train` as the leader of a process group, as a shell does."""
        self._session += 1
        with open(self._file("out"), "wb") as out, open(self._file("err"), "wb") as err:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=err, start_new_session=True
            )

    def _file(self, stream: str) -> Path:
        return self._output / f"{self._session}.{stream}"

    @property
    def launcher(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start first"
        return self._process

    @property
    def out(self) -> str:
        """What this session printed."""
        return self._file("out").read_text()

    @property
    def err(self) -> str:
        """What this session complained of."""
        return self._file("err").read_text()

    @property
    def checkpoint(self) -> RunCheckpoint | None:
        return newest_checkpoint(self.folder)

    def log(self, role: str) -> str:
        """This session's log of a role, empty until it is there."""
        file = self._logs / role / "0"
        return file.read_text() if file.exists() else ""

    @property
    def roles(self) -> set[str]:
        """Roles that this session started."""
        return {path.name for path in self._logs.iterdir()}

    @property
    def _logs(self) -> Path:
        return max((self.folder / "logs").iterdir())

    def process(self, role: str) -> psutil.Process:
        """The process of a role in this session: its output goes to the role's log."""
        log = self._logs / role / "0"
        (found,) = (
            process
            for process in processes_of(self.folder)
            if Path(f"/proc/{process.pid}/fd/1").resolve() == log.resolve()
        )
        return found

    def address(self, role: str) -> str:
        """Where a role of this session listens; waits until it does."""
        self.wait_until(lambda: self._told_port(role) in self._ports(role))
        return f"localhost:{self._told_port(role)}"

    def _told_port(self, role: str) -> int | None:
        """Its port as the newest session has written it down, None before the first has."""
        addresses = read_addresses(self.folder)
        if addresses is None:
            return None
        name = "replay-0" if role == "replay" else role
        return parse_address(addresses.services[name]).port

    def _ports(self, role: str) -> set[int]:
        return {
            connection.laddr.port
            for connection in self.process(role).net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        }

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition of the running session."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.launcher.poll() is None, f"ended early:\n{self.out}\n{self.err}"
            assert time.monotonic() < end, f"waited too long:\n{self.out}\n{self.err}"
            time.sleep(0.05)

    def wait(self) -> int:
        """Wait for the end of the session; returns the exit code."""
        return self.launcher.wait(PATIENCE_SECONDS)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the launcher and its roles, as Ctrl-C in a terminal does."""
        os.killpg(self.launcher.pid, number)

    def wait_until_alone(self) -> None:
        """Wait a little for all role processes to be gone."""
        end = time.monotonic() + PATIENCE_SECONDS
        while left := processes_of(self.folder):
            assert time.monotonic() < end, f"still running: {left}"
            time.sleep(0.1)


@pytest.fixture
def catch_run(tmp_path: Path) -> Iterator[Callable[..., CatchRun]]:
    """Makes runs: `catch_run(method, *flags)`; what is left of them at the end is killed."""
    runs: list[CatchRun] = []

    def make(method: str, *flags: str) -> CatchRun:
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        student = ("--environment.name", "catch", "--network.name", "mlp", "--network.features")
        runs.append(CatchRun(folder, method, (*student, "64", *flags)))
        return runs[-1]

    yield make
    for run in runs:
        for process in processes_of(run.folder):
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(AssertionError):
            run.launcher.kill()
            run.launcher.wait()
