"""A worker: a process that executes runs, one after the other.

    bench ── PlannedRun, STOP, QUIT ──▶ worker
          ◀─ RunProgress, RunResult ──

Importing TensorFlow takes seconds, so a worker executes many runs. It computes on one thread:
several workers share the cores. STOP, or the end of the process that started it, has it save a
checkpoint of its run and end.

This module imports nothing heavy: what it sets in the environment must come before that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from services.bench.run_messages import RunProgress, RunResult

if TYPE_CHECKING:
    from services.bench.plan import PlannedRun

STOP = "stop"
QUIT = "quit"

_GPU = Path("/dev/nvidiactl")
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker is started with.

    Attributes:
        log: File for all that it prints.
        cache: Folder of compiled programs, shared by all workers.
        workers: How many there are at a time: a GPU's memory is divided among them.
    """

    log: Path
    cache: Path
    workers: int


def process_environment(
    config: WorkerConfig, given: dict[str, str], *, has_gpu: bool
) -> dict[str, str]:
    """Environment variables of a worker.

    JAX computes on the GPU where there is one, else on the CPU; JAX_PLATFORMS says otherwise.

    Args:
        config: Of the worker.
        given: The variables there are.
        has_gpu: Whether this machine has an NVIDIA GPU.

    Returns:
        Those to set.
    """
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    variables = dict.fromkeys(_ONE_THREAD, "1") | {
        "XLA_FLAGS": f"{given.get('XLA_FLAGS', '')} {flags}".strip(),
        "JAX_COMPILATION_CACHE_DIR": str(config.cache / _cpu_key()),
        # Our programs are small: each takes a second to compile, and hundreds of runs need it.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if has_gpu:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / config.workers:.3f}"
    elif "JAX_PLATFORMS" not in given:
        variables["JAX_PLATFORMS"] = "cpu"
    return variables


def work(connection: Connection, config: WorkerConfig) -> None:
    """Execute runs until QUIT; the target of the process."""
    # Ctrl-C and a closed terminal reach every process; the bench stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.environ.update(process_environment(config, dict(os.environ), has_gpu=_GPU.exists()))
    _print_to(config.log)
    runs: queue.SimpleQueue[PlannedRun | None] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(
        target=_receive, args=(connection, runs, stop), name="orders", daemon=True
    ).start()

    def report(message: RunProgress | RunResult) -> None:
        # Without the bench this worker ends by `_receive`.
        with contextlib.suppress(OSError):
            connection.send(message)

    while (run := runs.get()) is not None:
        # TensorFlow comes with this: not before there is something to do.
        from services.bench.one_run import execute

        report(execute(run, stop, report))


def _cpu_key() -> str:
    """Compiled programs are this kind of CPU's: a folder may be carried to another machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]


def _receive(
    connection: Connection, runs: queue.SimpleQueue[PlannedRun | None], stop: threading.Event
) -> None:
    """Take orders until the last; the end of the bench is an order to stop."""
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            order = STOP
        if order in (STOP, QUIT):
            if order == STOP:
                stop.set()
            runs.put(None)
            return
        runs.put(order)


def _print_to(log: Path) -> None:
    """Send everything this process prints to a file, native libraries included."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
