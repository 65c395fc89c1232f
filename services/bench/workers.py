"""The worker processes of a session, one for each run, from the side of the bench.

    bench ── PlannedRun, and STOP if need be ──▶ worker
          ◀─ Progress ..., RunResult ──

A worker computes on one thread: several share the cores. STOP, or the end of the bench, has it save
a checkpoint of its run and end. Ctrl-C does not reach it: the bench stops its workers itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rrl_agents.types import Progress
from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun, RunResult

STOP = "stop"
"""Has a worker save a checkpoint and end."""

CHECKPOINT_SECONDS = 120.0
"""How long stopped workers may take to save their checkpoints before they are killed."""

STALL_SECONDS = 7200.0
"""A run without progress for so long hangs: its worker is killed, and the run resumes from its
checkpoint. The longest evaluation must fit."""

_END_SECONDS = 10.0
"""How long a worker without a run may take to end before it is killed."""

_GPU = Path("/dev/nvidiactl")
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def process_environment(
    given: Mapping[str, str], cache: Path, workers: int, *, has_gpu: bool
) -> dict[str, str]:
    """Environment variables of a worker.

    JAX computes on the GPU where there is one, else on the CPU; JAX_PLATFORMS says otherwise.

    Args:
        given: Those of the bench.
        cache: Folder of compiled programs, shared by all workers.
        workers: How many there are at a time: a GPU's memory is divided among them.
        has_gpu: Whether this machine has an NVIDIA GPU.
    """
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    variables = {
        **given,
        **dict.fromkeys(_ONE_THREAD, "1"),
        "XLA_FLAGS": f"{given.get('XLA_FLAGS', '')} {flags}".strip(),
        # Compiled programs are for this machine's CPU: a suite's folder may be carried to another.
        "JAX_COMPILATION_CACHE_DIR": str(cache / platform.node()),
        # Our programs are small: each takes a second to compile, and hundreds of runs need it.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if has_gpu:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / workers:.3f}"
    else:
        variables.setdefault("JAX_PLATFORMS", "cpu")
    return variables


@dataclasses.dataclass
class _Worker:
    run: PlannedRun
    process: subprocess.Popen[bytes]
    connection: Connection
    deadline: float
    progress: Progress | None = None

    def send(self, message: object) -> None:
        # Of a dead worker the other end of the pipe is closed, which `Workers.results` finds.
        with contextlib.suppress(OSError):
            self.connection.send(message)


class Workers:
    """Starts a worker process for each run, and receives the results.

    Args:
        folder: The suite's folder.
        count: Workers at a time, at least 1.
    """

    def __init__(self, folder: BenchFolder, count: int) -> None:
        self._logs = folder.logs
        self._count = count
        self._environment = process_environment(
            os.environ, folder.cache, count, has_gpu=_GPU.exists()
        )
        self._workers: list[_Worker] = []
        self._is_stopping = False

    @property
    def running(self) -> list[PlannedRun]:
        """Runs that workers have."""
        return [worker.run for worker in self._workers]

    @property
    def progress(self) -> dict[str, Progress]:
        """How far the runs are that have reported, by their names."""
        return {one.run.name: one.progress for one in self._workers if one.progress is not None}

    @property
    def has_room(self) -> bool:
        """Whether one more run can start."""
        return len(self._workers) < self._count

    def start(self, run: PlannedRun) -> None:
        """Start a worker for a run; there must be room."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{run.name.replace('/', '-')}.log"
        ours, theirs = Pipe()
        with theirs, log.open("ab") as printed:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.bench.worker", str(theirs.fileno())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        worker = _Worker(run, process, ours, time.monotonic() + STALL_SECONDS)
        self._workers.append(worker)
        worker.send(run)

    def results(self, timeout_seconds: float) -> Iterator[tuple[PlannedRun, RunResult]]:
        """Runs that have ended; waits up to the timeout for any message."""
        ready = wait([worker.connection for worker in self._workers], timeout_seconds)
        for worker in tuple(self._workers):
            if worker.connection in ready:
                yield from self._receive(worker)
            elif time.monotonic() > worker.deadline:
                # The next call finds it dead.
                worker.process.kill()

    def stop(self) -> None:
        """Have all save a checkpoint and end; `results` then says how their runs ended."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for worker in self._workers:
            worker.send(STOP)
            worker.deadline = time.monotonic() + CHECKPOINT_SECONDS

    def __enter__(self) -> Workers:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers, those that do not answer by force."""
        self.stop()
        while self._workers:
            for _ in self.results(_END_SECONDS):
                pass

    def _receive(self, worker: _Worker) -> Iterator[tuple[PlannedRun, RunResult]]:
        try:
            message: Progress | RunResult | None = worker.connection.recv()
        except (EOFError, OSError):
            message = None
        if isinstance(message, Progress):
            if message != worker.progress and not self._is_stopping:
                worker.deadline = time.monotonic() + STALL_SECONDS
            worker.progress = message
            return
        self._workers.remove(worker)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(_END_SECONDS)
        worker.process.kill()
        died = _death(worker.process.wait())
        worker.connection.close()
        yield worker.run, message or RunResult(finished=False, error=died, died=True)


def _death(exit_code: int) -> str:
    if exit_code < 0:
        return f"its worker was killed by {signal.Signals(-exit_code).name}"
    return f"its worker ended with exit code {exit_code}"
