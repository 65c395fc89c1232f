"""The roles of a run: how each is built and run.

    `rrl learner` (containers) ──┐
    `rrl train` (Launchpad) ─────┼──▶ Job ──▶ ROLES[name] ──▶ runs until it is finished, or stopped
    one process (`rrl bench`) ───┘

In one process teacher, replay and learner are built by the starter itself, which needs the ports of
the first two and watches the third. A starter knows addresses, ports and metrics pages; what a role
takes from the experiment stands here. A role imports what it computes with when it runs: the others
do not pay for it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from rrl_client import ClientSecurity
from services.launcher.experiment import Experiment, shard_folder
from services.learner.config import ShardAddress
from services.shared.errors import user_errors
from services.shared.locks import LEARNER_CHECKPOINT_SECONDS, LEARNER_LOCK, wait_until_free
from services.shared.security.server import SecurityConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What one process of a run is to do.

    Attributes:
        experiment: What is run.
        run: Folder of the run; an actor needs none.
        registry: What its metrics page shows.
        index: Which of several actors or shards it is, from 0.
        learner: "host:port" of the learner; "" for those that do not ask it.
        replay: The shards, in their order.
        teacher: Of the teacher service, as `TeacherClient` takes it; None where there is none.
        peers: What to trust and show at these; None for plaintext without a token.
        host: Interface to listen on.
        port: Port to listen on; 0 picks a free one.
        control_port: Port of replay's control; likewise.
        metrics_port: Port of the metrics page of a role that serves its own; None serves none.
        security: Encryption and tokens of what it serves.
        lingers: Whether a finished learner serves on until it is stopped.
        on_ready: Called with a line for the user once it serves.
    """

    experiment: Experiment
    run: Path | None = None
    registry: CollectorRegistry = dataclasses.field(default_factory=CollectorRegistry)
    index: int = 0
    learner: str = ""
    replay: tuple[ShardAddress, ...] = ()
    teacher: str | None = None
    peers: ClientSecurity | None = None
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    metrics_port: int | None = None
    security: SecurityConfig = SecurityConfig()
    lingers: bool = False
    on_ready: Callable[[str], None] = lambda text: None

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        assert self.run is not None, "only actors have none"
        return self.run


RunRole: TypeAlias = Callable[[Job, threading.Event], None]
"""Runs a role until it is finished or the event is set; raises UserError."""


def run_teacher(job: Job, stop: threading.Event) -> None:
    """Answer with the teacher's scores."""
    from services.teacher.server import build_teacher

    server = build_teacher(
        job.experiment.teacher_config(port=job.port, metrics_port=job.metrics_port)
    )
    server.start()
    try:
        server.run(stop)
    finally:
        server.stop()


def run_replay(job: Job, stop: threading.Event) -> None:
    """Serve the tables of a shard."""
    from services.launcher.replay_of_a_run import serving_replay
    from services.replay.metrics import ReplayMetrics

    with user_errors():
        config = job.experiment.replay_config(job.folder, port=job.port, shard=job.index)
    with serving_replay(
        config,
        shard_folder(job.folder, job.index) / "checkpoints",
        control_port=job.control_port,
        host=job.host,
        security=job.security,
        metrics=ReplayMetrics(job.registry),
    ) as ports:
        job.on_ready(f"replay ready at port {ports.data}, control at port {ports.control}")
        stop.wait()
        # All roles of a run are stopped at once: the learner's last checkpoint needs the tables.
        wait_until_free(job.folder / LEARNER_LOCK, timeout_seconds=LEARNER_CHECKPOINT_SECONDS)


def run_importer(job: Job, stop: threading.Event) -> None:
    """Fill a table from recorded data."""
    from services.recorded_data.importer import build_importer
    from services.recorded_data.metrics import ImporterMetrics

    config = job.experiment.importer_config(
        job.folder, replay_address=job.replay[0].data, teacher_address=job.teacher or ""
    )
    config = dataclasses.replace(config, peers=job.peers)
    build_importer(config, ImporterMetrics(job.registry)).run(stop)


def run_learner(job: Job, stop: threading.Event) -> None:
    """Train the student."""
    from services.learner.loop import run_learner as train
    from services.learner.metrics import LearnerMetrics

    config = job.experiment.learner_config(job.folder, replay=job.replay, port=job.port)
    config = dataclasses.replace(
        config,
        host=job.host,
        security=job.security,
        peers=job.peers,
        linger_seconds=None if job.lingers else config.linger_seconds,
    )
    train(config, stop, LearnerMetrics(job.registry))


def run_actor(job: Job, stop: threading.Event) -> None:
    """Play into replay; the shard is that of the actor's index modulo their number."""
    from services.actor.loop import build_actor
    from services.actor.metrics import ActorMetrics

    job.experiment.check_shards(len(job.replay))
    with user_errors():
        config = job.experiment.actor_config(
            job.index,
            learner_address=job.learner,
            replay_address=job.replay[job.index % len(job.replay)].data,
            teacher_address=job.teacher,
        )
    config = dataclasses.replace(config, peers=job.peers)
    build_actor(config, ActorMetrics(job.registry)).run(stop)


def run_evaluator(job: Job, stop: threading.Event) -> None:
    """Score the student."""
    from services.evaluator.loop import build_evaluator
    from services.evaluator.metrics import EvaluatorMetrics

    config = job.experiment.evaluator_config(
        job.folder, learner_address=job.learner, teacher_address=job.teacher
    )
    config = dataclasses.replace(config, peers=job.peers)
    build_evaluator(config, EvaluatorMetrics(job.registry)).run(stop)


ROLES: Mapping[str, RunRole] = {
    "teacher": run_teacher,
    "replay": run_replay,
    "importer": run_importer,
    "learner": run_learner,
    "actor": run_actor,
    "evaluator": run_evaluator,
}
"""By name. In containers the teacher is `rrl teacher serve`, which needs no experiment."""

SERVE_THEIR_OWN_PAGE = ("teacher",)
"""Roles that serve their metrics page themselves; a starter serves that of the others."""
