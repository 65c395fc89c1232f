"""The workers from the bench's side: who does what, and who has died."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from services.bench.folder import BenchFolder
from services.bench.plan import PlannedRun
from services.bench.run_messages import Doing, Ended
from services.bench.worker import QUIT, STOP, WorkerConfig, work

RUNS_PER_WORKER = 25
"""Then it is replaced: what libraries keep of one run after another is given back."""

CHECKPOINT_SECONDS = 120.0
"""How long stopped workers may take to save their checkpoints before they are killed."""

STALL_SECONDS = 7200.0
"""A run that stands still so long hangs: its worker is killed, and it goes on from its checkpoint.
The longest evaluation must fit."""

_FAREWELL_SECONDS = 10.0


class News(NamedTuple):
    """How a run ended.

    Attributes:
        run: The run.
        ended: What its worker said; None where the worker died of something else.
        death: How it died, in words; empty where it did not.
    """

    run: PlannedRun
    ended: Ended | None
    death: str


@dataclasses.dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    run: PlannedRun | None = None
    doing: Doing | None = None
    moved_at: float = 0.0
    taken: int = 0


class Workers:
    """Starts up to so many worker processes, gives them runs, and hears how these end.

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
        self._told_to_stop = False

    @property
    def running(self) -> list[PlannedRun]:
        """Runs that somebody works on."""
        return [worker.run for worker in self._workers if worker.run is not None]

    @property
    def doing(self) -> dict[str, Doing]:
        """How far the runs are that have said so, by their names."""
        return {
            worker.run.name: worker.doing
            for worker in self._workers
            if worker.run is not None and worker.doing is not None
        }

    @property
    def has_room(self) -> bool:
        """Whether one more run could be given."""
        return len(self.running) < self._count

    def give(self, run: PlannedRun) -> None:
        """Have a run carried out; there must be room."""
        worker = next((idle for idle in self._workers if idle.run is None), None)
        worker = worker or self._start()
        worker.run, worker.doing, worker.moved_at = run, None, time.monotonic()
        worker.taken += 1
        # Who has died meanwhile is found out by `news`.
        _tell(worker, run)

    def news(self, timeout_seconds: float) -> Iterator[News]:
        """Runs that have ended; waits so long for anything to be heard."""
        busy = [worker for worker in self._workers if worker.run is not None]
        ready = wait([worker.connection for worker in busy], timeout_seconds)
        for worker in busy:
            if worker.connection in ready:
                yield from self._hear(worker)
            elif time.monotonic() - worker.moved_at > STALL_SECONDS:
                # Heard of as of any other death.
                worker.process.kill()

    def stop(self) -> None:
        """Have all save a checkpoint and end; `news` then says how their runs ended."""
        self._told_to_stop = True
        for worker in self._workers:
            _tell(worker, STOP)

    def close(self) -> None:
        """End all workers, those that do not listen by force."""
        must_save = bool(self.running) and not self._told_to_stop
        for worker in self._workers:
            _tell(worker, QUIT if worker.run is None else STOP)
        end = time.monotonic() + (CHECKPOINT_SECONDS if must_save else _FAREWELL_SECONDS)
        for worker in self._workers:
            worker.process.join(max(0.0, end - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
        self._workers = []

    def _start(self) -> _Worker:
        self._started += 1
        config = WorkerConfig(
            log=_log(self._folder, self._started), cache=self._folder.cache, workers=self._count
        )
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, config), name=f"worker-{self._started}"
        )
        process.start()
        # Ours alone now: its end is the worker's end.
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> Iterator[News]:
        run = worker.run
        assert run is not None, "only workers with a run are listened to"
        try:
            message: Doing | Ended = worker.connection.recv()
        except (EOFError, OSError):
            worker.run = None
            self._dismiss(worker)
            yield News(run, None, _death(worker.process.exitcode))
            return
        if isinstance(message, Doing):
            if worker.doing is None or worker.doing.clocks != message.clocks:
                worker.moved_at = time.monotonic()
            worker.doing = message
            return
        worker.run = None
        if worker.taken >= RUNS_PER_WORKER:
            _tell(worker, QUIT)
            self._dismiss(worker)
        yield News(run, message, "")

    def _dismiss(self, worker: _Worker) -> None:
        worker.process.join(_FAREWELL_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)


def _tell(worker: _Worker, order: PlannedRun | str) -> None:
    try:
        worker.connection.send(order)
    except OSError:
        # Dead: the other end of its pipe is closed, which `news` will see.
        return


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its worker was killed by {signal.Signals(-exit_code).name}"
    return f"its worker ended with exit code {exit_code}"


def _log(folder: BenchFolder, number: int) -> Path:
    return folder.logs / f"worker-{number}.log"
