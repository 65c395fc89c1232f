"""The bench's side of its worker processes, one for each run.

    bench ── PlannedRun, and STOP if necessary ──▶ worker
          ◀─ Progress ..., RunResult ──

A worker computes on one thread, since several workers share the cores. On STOP, or if the bench
ends, it saves a checkpoint of its run and ends. Ctrl-C does not reach workers; the bench stops them
itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from rrl_agents.types import Progress
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, RunResult

Report = Callable[[PlannedRun, Progress], None]
"""Receives the progress of a run."""

STOP = "stop"
"""Message that makes a worker save a checkpoint and end."""

CHECKPOINT_SECONDS = 120.0
"""Longest time for a stopped worker to save its checkpoint before it is killed."""

STALL_SECONDS = 7200.0
"""A run without progress for this long counts as stalled: its worker is killed, and the run resumes
from its checkpoint. The longest evaluation must fit."""

_END_SECONDS = 10.0
"""Longest time for a worker to end after its run, before it is killed."""

_POLL_SECONDS = 0.5

_WORKER = (sys.executable, "-P", "-m", "services.bench.worker")
_GPU = Path("/dev/nvidiactl")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def process_environment(given: Mapping[str, str], workers: int, *, has_gpu: bool) -> dict[str, str]:
    """Environment variables of a worker.

    JAX computes on the GPU if there is one, else on the CPU, unless JAX_PLATFORMS is set.

    Args:
        given: The bench's environment variables.
        workers: Workers at a time, which share a GPU's memory.
        has_gpu: Whether this machine has an NVIDIA GPU.
    """
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    variables = {
        **given,
        **dict.fromkeys(_ONE_THREAD, "1"),
        # Together with -P, so that a worker does not import from the working folder.
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": f"{given.get('XLA_FLAGS', '')} {flags}".strip(),
    }
    if has_gpu:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / workers:.3f}"
    else:
        variables.setdefault("JAX_PLATFORMS", "cpu")
    return variables


class Workers:
    """Starts a worker process for each run, and listens to it until it ends.

    Args:
        folder: The suite's folder.
        count: Workers at a time, at least 1.
        stop: Makes all workers save a checkpoint and end.
    """

    def __init__(self, folder: BenchFolder, count: int, stop: threading.Event) -> None:
        self._logs = folder.logs
        self._stop = stop
        self._environment = process_environment(os.environ, count, has_gpu=_GPU.exists())

    def execute(self, run: PlannedRun, report: Report) -> RunResult:
        """Execute a run in a worker; returns when it has ended, for any reason.

        Args:
            run: The run.
            report: Receives the run's progress, about once a second.
        """
        process, connection = self._start(run)
        with connection:
            result = self._listen(process, connection, lambda found: report(run, found))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        process.kill()
        died = _death(process.wait())
        return result or RunResult(finished=False, error=died, died=True)

    def _start(self, run: PlannedRun) -> tuple[subprocess.Popen[bytes], Connection]:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{run.name.replace('/', '-')}.log"
        ours, theirs = Pipe()
        with theirs, log.open("ab") as printed:
            process = subprocess.Popen(
                [*_WORKER, str(theirs.fileno()), *sys.argv],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        # Reading detects a dead worker, because its end of the pipe is closed.
        with contextlib.suppress(OSError):
            ours.send(run)
        return process, ours

    def _listen(
        self,
        process: subprocess.Popen[bytes],
        connection: Connection,
        report: Callable[[Progress], None],
    ) -> RunResult | None:
        """The result; None if the worker died first."""
        deadline, is_stopping = time.monotonic() + STALL_SECONDS, False
        progress: Progress | None = None
        while True:
            if self._stop.is_set() and not is_stopping:
                deadline, is_stopping = time.monotonic() + CHECKPOINT_SECONDS, True
                with contextlib.suppress(OSError):
                    connection.send(STOP)
            if time.monotonic() > deadline:
                process.kill()
            try:
                message = connection.recv() if connection.poll(_POLL_SECONDS) else None
            except (EOFError, OSError):
                return None
            if isinstance(message, RunResult):
                return message
            if message not in (None, progress):
                progress = message
                report(message)
                deadline = deadline if is_stopping else time.monotonic() + STALL_SECONDS


def _death(exit_code: int) -> str:
    if exit_code < 0:
        return f"its worker was killed by {signal.Signals(-exit_code).name}"
    return f"its worker ended with exit code {exit_code}"
