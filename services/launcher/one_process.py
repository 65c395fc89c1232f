"""A run whose roles are threads of this process, for many short runs one after the other.

The same roles, built by the same constructors, over the same gRPC and Reverb as when each is a
process of its own. What is saved is what processes cost at their start (TensorFlow, which Reverb
brings along, is imported once, and equal programs are compiled once); what is lost is that threads
of one interpreter take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from services.launcher.experiment import Experiment
from services.launcher.roles import ROLES, RunRole, processes_of
from services.launcher.run_directory import open_run
from services.launcher.watching import Answer, watch
from services.shared.addresses import free_ports
from services.shared.locks import LAUNCHER_LOCK, locked

_POLL_SECONDS = 0.1
_TEACHER_BACKEND = "jax"
"""Choosing between backends takes longer than a short run gains by it."""

OnProgress = Callable[[Answer], None]
"""Gets what the learner says of the run now and then."""


def run_in_one_process(
    experiment: Experiment,
    run: Path,
    stop: threading.Event,
    on_progress: OnProgress = lambda answer: None,
) -> bool:
    """Start or go on with a run, until it is finished or `stop` is set.

    Args:
        experiment: What to run.
        run: Its folder; made if absent, gone on with if it is this experiment's.
        stop: Ends the run early; it saves a checkpoint first.
        on_progress: Called a few times a second, from the calling thread.

    Returns:
        Whether the run is finished.

    Raises:
        UserError: the folder is another experiment's or in use, or a role failed.
        Exception: whatever else a role raised; the run goes on from its last checkpoint next time.
    """
    open_run(run, experiment)
    processes = processes_of(experiment)
    names = [name for process in processes for name in process.services]
    services = {
        name: f"localhost:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)
    }
    with locked(run / LAUNCHER_LOCK), _Threads().running() as threads:
        for process in processes:
            job = process.job(experiment, run, services)
            job = dataclasses.replace(job, teacher_backend=_TEACHER_BACKEND)
            threads.start(process.name, ROLES[process.role](job))

        def is_over() -> bool:
            return stop.is_set() or bool(threads.errors)

        return watch(services["learner"], is_over, on_progress, period_seconds=_POLL_SECONDS)


class _Threads:
    """Threads that end together; the first error of any ends all and is raised."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self.errors: list[Exception] = []

    def start(self, name: str, run: RunRole) -> None:
        """Start a role; it runs until it returns or is told to end."""

        def guarded() -> None:
            try:
                run(self._end)
            except Exception as error:
                # Kept for the thread that started it: nobody looks at this one's.
                self.errors.append(error)
                self._end.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[_Threads]:
        """Ends all at the end, and raises what the first that failed has raised."""
        try:
            yield self
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()
        if self.errors:
            raise self.errors[0]
