"""A run whose roles are threads of this process, for many short runs one after the other.

The same roles, built by the same constructors, over the same gRPC and Reverb as when each is a
process of its own. What is saved is what processes cost at their start (TensorFlow, which Reverb
brings along, is imported once, and equal programs are compiled once); what is lost is that threads
of one interpreter take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.launcher.experiment import Experiment, shard_folder
from services.launcher.replay_of_a_run import serving_replay
from services.launcher.roles import ROLES, Job
from services.launcher.run_directory import open_run
from services.learner.config import ShardAddress
from services.learner.loop import Learner, build_learner
from services.shared.addresses import free_port
from services.shared.locks import LAUNCHER_LOCK, locked
from services.teacher.server import TeacherServer, build_teacher

_POLL_SECONDS = 0.05
_TEACHER_BACKEND = "jax"
"""Choosing between backends takes longer than a short run gains by it."""

OnProgress = Callable[[Learner], None]
"""Looks at the learner now and then."""


def run_in_one_process(
    experiment: Experiment,
    run: Path,
    stop: threading.Event,
    on_progress: OnProgress = lambda learner: None,
) -> bool:
    """Start or go on with a run, until it is finished or `stop` is set.

    Args:
        experiment: What to run.
        run: Its folder; made if absent, gone on with if it is this experiment's.
        stop: Ends the run early; it saves a checkpoint first.
        on_progress: Called with the learner, a few times a second, from the calling thread.

    Returns:
        Whether the run is finished.

    Raises:
        UserError: the folder is another experiment's or in use, or a role failed.
        Exception: whatever else a role raised; the run goes on from its last checkpoint next time.
    """
    open_run(run, experiment)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(run / LAUNCHER_LOCK))
        server = stack.enter_context(_teacher(experiment))
        teacher = None if server is None else server.address
        replay = tuple(
            stack.enter_context(_replay(experiment, run, shard))
            for shard in range(experiment.config.replay_shards)
        )
        learner_port = free_port()
        learner = build_learner(experiment.learner_config(run, replay=replay, port=learner_port))
        # Left before replay and teacher are: the learner's last checkpoint needs the tables.
        roles = stack.enter_context(_Roles().running())
        roles.start("learner", learner.run)
        job = Job(
            experiment=experiment,
            run=run,
            learner=f"127.0.0.1:{learner_port}",
            replay=replay,
            teacher=teacher,
        )
        if experiment.data is not None:
            roles.start("importer", functools.partial(ROLES["importer"], job))
        roles.start("evaluator", functools.partial(ROLES["evaluator"], job))
        for index in range(experiment.config.num_actors):
            actor = dataclasses.replace(job, index=index, registry=CollectorRegistry())
            roles.start(f"actor-{index}", functools.partial(ROLES["actor"], actor))
        while not stop.is_set() and not roles.failed:
            if learner.is_finished:
                return True
            if server is not None and server.failure is not None:
                raise server.failure
            on_progress(learner)
            stop.wait(_POLL_SECONDS)
    return learner.is_finished


@contextlib.contextmanager
def _replay(experiment: Experiment, run: Path, shard: int) -> Iterator[ShardAddress]:
    config = experiment.replay_config(run, port=0, shard=shard)
    checkpoints = shard_folder(run, shard) / "checkpoints"
    with serving_replay(config, checkpoints, control_port=0) as ports:
        yield ShardAddress(data=f"localhost:{ports.data}", control=f"localhost:{ports.control}")


@contextlib.contextmanager
def _teacher(experiment: Experiment) -> Iterator[TeacherServer | None]:
    if not experiment.uses_teacher:
        yield None
        return
    server = build_teacher(
        experiment.teacher_config(port=0, metrics_port=None, backend=_TEACHER_BACKEND)
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Roles:
    """Threads that end together; the first error of any ends all and is raised."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []

    @property
    def failed(self) -> bool:
        """Whether a role has ended with an error."""
        return bool(self._errors)

    def start(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Start a role; it runs until it returns or is told to end."""

        def guarded() -> None:
            try:
                run(self._end)
            except Exception as error:
                # Kept for the thread that started it: nobody looks at this one's.
                self._errors.append(error)
                self._end.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[_Roles]:
        """Ends all roles at the end, and raises what the first that failed has raised."""
        try:
            yield self
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
