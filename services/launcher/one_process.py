"""A run whose roles are threads of this process, for many short runs one after the other.

The same roles, built by the same constructors, over the same gRPC and Reverb as when each is a
process of its own. What is saved is what processes cost at their start (TensorFlow, which Reverb
brings along, is imported once, and equal programs are compiled once); what is lost is that threads
of one interpreter take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

from services.launcher.experiment import Experiment
from services.launcher.roles import ROLES, local_addresses, processes_of
from services.launcher.run_directory import open_run
from services.launcher.watching import Answer, watch
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
    processes, addresses = processes_of(experiment), local_addresses(experiment)
    end, roles = threading.Event(), list[futures.Future[None]]()

    def errors() -> list[BaseException]:
        found = (role.exception() for role in roles if role.done())
        return [error for error in found if error is not None]

    with locked(run / LAUNCHER_LOCK), futures.ThreadPoolExecutor(len(processes)) as threads:
        try:
            for process in processes:
                job = process.job(experiment, run, addresses, teacher_backend=_TEACHER_BACKEND)
                roles.append(threads.submit(ROLES[process.role](job), end))
            finished = watch(
                addresses.services["learner"],
                lambda: stop.is_set() or bool(errors()),
                on_progress,
                period_seconds=_POLL_SECONDS,
            )
            # What fails from here on may follow from that.
            failed = errors()
        finally:
            end.set()
    for error in (*failed, *errors()):
        raise error
    return finished
