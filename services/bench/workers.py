"""The worker processes of a session, from the side of the bench."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun
from services.bench.run_messages import RunProgress, RunResult
from services.bench.worker import QUIT, STOP, WorkerConfig, work

RUNS_PER_WORKER = 25
"""Then it is replaced, which frees what libraries keep of every run."""

CHECKPOINT_SECONDS = 120.0
"""How long stopped workers may take to save their checkpoints before they are killed."""

STALL_SECONDS = 7200.0
"""A run without progress for so long hangs: its worker is killed, and the run resumes from its
checkpoint. The longest evaluation must fit."""

_END_SECONDS = 10.0
"""How long an idle worker may take to end before it is killed."""


@dataclasses.dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    run: PlannedRun | None = None
    reported: RunProgress | None = None
    moved_at: float = 0.0
    taken: int = 0

    def send(self, order: PlannedRun | str) -> None:
        # Of a dead worker the other end of the pipe is closed, which `Workers.results` finds.
        with contextlib.suppress(OSError):
            self.connection.send(order)


class Workers:
    """Starts worker processes, gives them runs, and receives the results.

    Args:
        folder: The suite's folder.
        count: Workers at a time, at least 1.
    """

    def __init__(self, folder: BenchFolder, count: int) -> None:
        self._folder = folder
        self._count = count
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._started = 0
        self._is_stopping = False

    @property
    def running(self) -> list[PlannedRun]:
        """Runs that workers have."""
        return [worker.run for worker in self._workers if worker.run is not None]

    @property
    def progress(self) -> dict[str, RunProgress]:
        """How far the runs are that have reported, by their names."""
        return {
            worker.run.name: worker.reported
            for worker in self._workers
            if worker.run is not None and worker.reported is not None
        }

    @property
    def has_room(self) -> bool:
        """Whether one more run can start."""
        return len(self.running) < self._count

    def start(self, run: PlannedRun) -> None:
        """Give a run to a worker; there must be room."""
        worker = next((idle for idle in self._workers if idle.run is None), None)
        worker = worker or self._new_worker()
        worker.run, worker.reported, worker.moved_at = run, None, time.monotonic()
        worker.taken += 1
        worker.send(run)

    def results(self, timeout_seconds: float) -> Iterator[tuple[PlannedRun, RunResult]]:
        """Runs that have ended; waits up to the timeout for any message."""
        busy = [worker for worker in self._workers if worker.run is not None]
        ready = wait([worker.connection for worker in busy], timeout_seconds)
        for worker in busy:
            if worker.connection in ready:
                yield from self._receive(worker)
            elif time.monotonic() - worker.moved_at > STALL_SECONDS:
                # The next call finds it dead.
                worker.process.kill()

    def stop(self) -> None:
        """Have all save a checkpoint and end; `results` then says how their runs ended."""
        self._is_stopping = True
        for worker in self._workers:
            worker.send(STOP)

    def close(self) -> None:
        """End all workers, those that do not answer by force."""
        must_save = bool(self.running) and not self._is_stopping
        for worker in self._workers:
            worker.send(QUIT if worker.run is None else STOP)
        end = time.monotonic() + (CHECKPOINT_SECONDS if must_save else _END_SECONDS)
        for worker in tuple(self._workers):
            self._end(worker, end - time.monotonic())

    def _new_worker(self) -> _Worker:
        self._started += 1
        name = f"worker-{self._started}"
        config = WorkerConfig(
            log=self._folder.logs / f"{name}.log", cache=self._folder.cache, workers=self._count
        )
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, config), name=name)
        process.start()
        # Ours alone now: its end is the worker's end.
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> Iterator[tuple[PlannedRun, RunResult]]:
        run = worker.run
        assert run is not None, "only workers with a run are waited for"
        try:
            message: RunProgress | RunResult = worker.connection.recv()
        except (EOFError, OSError):
            self._end(worker, _END_SECONDS)
            yield run, RunResult(finished=False, error=_death(worker.process.exitcode), died=True)
            return
        if isinstance(message, RunProgress):
            if worker.reported is None or worker.reported.progress != message.progress:
                worker.moved_at = time.monotonic()
            worker.reported = message
            return
        worker.run = None
        if worker.taken >= RUNS_PER_WORKER:
            worker.send(QUIT)
            self._end(worker, _END_SECONDS)
        yield run, message

    def _end(self, worker: _Worker, timeout_seconds: float) -> None:
        worker.process.join(max(0.0, timeout_seconds))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its worker was killed by {signal.Signals(-exit_code).name}"
    return f"its worker ended with exit code {exit_code}"
