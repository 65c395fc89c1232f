"""The roles of a run: how each is built and run, and the processes of a run.

    `rrl learner` (containers) ──┐
    `rrl train` (Launchpad) ─────┴──▶ Job ──▶ ROLES[name](job) ──▶ run(stop)

A starter sets addresses, ports and metrics pages; `jobs` derives the rest from the experiment. A
role imports its libraries when it is built, so that others need not wait for them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry

from services.launcher.experiment import Experiment
from services.launcher.jobs import (
    Job,
    actor_config,
    evaluator_config,
    importer_config,
    learner_config,
    replay_config,
    teacher_config,
)
from services.launcher.run_addresses import RunAddresses
from services.learner.config import ShardAddress
from services.replay.config import ReplayConfig
from services.shared.addresses import free_ports, parse_address
from services.shared.locks import LEARNER_CHECKPOINT_SECONDS, LEARNER_LOCK, wait_until_free
from services.shared.security.server import SecurityConfig

RunRole: TypeAlias = Callable[[threading.Event], None]
"""Runs a role until it is finished or the event is set; raises UserError."""


def _teacher(job: Job) -> RunRole:
    """Serves the teacher's scores."""
    from services.teacher.server import build_teacher

    server = build_teacher(teacher_config(job))

    def run(stop: threading.Event) -> None:
        server.start()
        try:
            server.run(stop)
        finally:
            server.stop()

    return run


def _replay(job: Job) -> RunRole:
    """Serves the tables of a shard."""
    config = replay_config(job)

    def run(stop: threading.Event) -> None:
        with serving_replay(
            config,
            job.shard_folder / "checkpoints",
            control_port=job.control_port,
            security=job.security,
            registry=job.registry,
        ) as ports:
            job.on_ready(f"replay ready at port {ports.data}, control at port {ports.control}")
            stop.wait()
            # All roles of a run are stopped at once, but the learner's last checkpoint needs the
            # tables.
            wait_until_free(job.run / LEARNER_LOCK, timeout_seconds=LEARNER_CHECKPOINT_SECONDS)

    return run


def _importer(job: Job) -> RunRole:
    """Fills a table from recorded data."""
    from services.recorded_data.importer import build_importer
    from services.recorded_data.metrics import ImporterMetrics

    return build_importer(importer_config(job), ImporterMetrics(job.registry)).run


def _learner(job: Job) -> RunRole:
    """Trains the student."""
    from services.learner.metrics import LearnerMetrics
    from services.learner.role import run_learner

    config = learner_config(job)
    return functools.partial(run_learner, config, metrics=LearnerMetrics(job.registry))


def _actor(job: Job) -> RunRole:
    """Plays environments into replay."""
    from services.actor.loop import build_actor
    from services.actor.metrics import ActorMetrics

    return build_actor(actor_config(job), ActorMetrics(job.registry)).run


def _evaluator(job: Job) -> RunRole:
    """Evaluates the student."""
    from services.evaluator.loop import build_evaluator
    from services.evaluator.metrics import EvaluatorMetrics

    return build_evaluator(evaluator_config(job), EvaluatorMetrics(job.registry)).run


ROLES: Mapping[str, Callable[[Job], RunRole]] = {
    "teacher": _teacher,
    "replay": _replay,
    "importer": _importer,
    "learner": _learner,
    "actor": _actor,
    "evaluator": _evaluator,
}
"""Roles by name. In containers the teacher is `rrl teacher serve`, which needs no experiment."""

SHARED_MODULES: Mapping[str, tuple[str, ...]] = {
    "replay": ("services.replay.reverb_library",),
    "importer": ("services.replay.reverb_library",),
    "learner": ("services.actor.loop", "services.replay.reverb_library"),
    "actor": ("services.actor.loop", "services.actor.metrics", "services.replay.reverb_library"),
}
"""Modules that a starter imports before it makes processes, because several roles need them.

A role imports what only it needs itself, while the others start.
"""

COMPUTE = ("teacher", "learner", "actor", "evaluator")
"""Roles that compile functions with JAX."""

SERVE_THEIR_OWN_PAGE = ("teacher",)
"""Roles that serve their own metrics page; a starter serves the pages of the others."""


class ReplayPorts(NamedTuple):
    """The ports of a replay role.

    Attributes:
        data: Reverb's port.
        control: Port of its control service and health checks.
    """

    data: int
    control: int


@contextlib.contextmanager
def serving_replay(
    config: ReplayConfig,
    checkpoints: Path,
    *,
    control_port: int,
    security: SecurityConfig,
    registry: CollectorRegistry,
) -> Iterator[ReplayPorts]:
    """Serve a shard's tables, with control service and health checks.

    Args:
        config: Tables, Reverb's port, and the interface of the control service.
        checkpoints: The shard's part of the run's checkpoints.
        control_port: Port of the control service and health checks; 0 picks a free one.
        security: TLS and tokens of the control service; Reverb has neither.
        registry: Registry of its metrics page.

    Raises:
        UserError: a port is in use, tokens would travel unencrypted, or a credential is unusable.
    """
    from services.replay.control_server import control_server
    from services.replay.metrics import ReplayMetrics
    from services.replay.role import ReplayRole

    role = ReplayRole(config, checkpoints)
    ReplayMetrics(registry).attach(role)
    control = control_server(role, host=config.host, port=control_port, security=security)
    try:
        data = role.start()
        yield ReplayPorts(data=data, control=control.start())
    finally:
        control.stop()
        role.stop()


@dataclasses.dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        role: Key of `ROLES`.
        index: Index among the processes of its role, from 0.
    """

    role: str
    index: int = 0

    @property
    def name(self) -> str:
        """The role, with a number if a run can have several of it."""
        return f"{self.role}-{self.index}" if self.role in ("replay", "actor") else self.role

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the addresses that it listens on."""
        if self.role == "replay":
            return (self.name, f"control-{self.index}")
        return (self.role,) if self.role in ("teacher", "learner") else ()

    def job(
        self, experiment: Experiment, run: Path, addresses: RunAddresses, **changes: Any
    ) -> Job:
        """Its job when all processes run on this machine.

        Args:
            experiment: The experiment.
            run: Folder of the run.
            addresses: The addresses of all processes.
            changes: Other fields of the job.
        """
        services = addresses.services
        ports = [parse_address(services[name]).port for name in self.services]
        port, control_port = (*ports, 0, 0)[:2]
        return Job(
            experiment=experiment,
            run=run,
            index=self.index,
            learner_address=services["learner"],
            replay=tuple(
                ShardAddress(data=services[f"replay-{shard}"], control=services[f"control-{shard}"])
                for shard in range(experiment.config.replay_shards)
            ),
            teacher_address=experiment.config.teacher.address or services.get("teacher"),
            teacher_peers=experiment.teacher_peers,
            port=port,
            control_port=control_port,
            **changes,
        )


def processes_of(experiment: Experiment) -> tuple[Process, ...]:
    """The processes of a run, in the order of their start."""
    config = experiment.config
    return (
        *((Process("teacher"),) if experiment.serves_teacher else ()),
        *(Process("replay", shard) for shard in range(config.replay_shards)),
        *((Process("importer"),) if experiment.data is not None else ()),
        Process("learner"),
        *(Process("actor", index) for index in range(config.num_actors)),
        # No other process waits for it at first.
        Process("evaluator"),
    )


def local_addresses(experiment: Experiment) -> RunAddresses:
    """Free ports of this machine for all processes of a run."""
    processes = processes_of(experiment)
    services = [name for process in processes for name in process.services]
    ports = iter(free_ports(len(services) + len(processes)))
    return RunAddresses(
        services={name: f"localhost:{next(ports)}" for name in services},
        pages={process.name: f"localhost:{next(ports)}" for process in processes},
    )


def process_environment(role: str) -> dict[str, str]:
    """Environment variables of a role's process when all run on one machine.

    Actors and the evaluator compute small batches, which more threads only slow down. They and the
    importer stay off the GPU, which learner and teacher share.
    """
    variables = {"TF_CPP_MIN_LOG_LEVEL": "2", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4"}
    if role in ("actor", "evaluator", "importer"):
        variables |= {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        }
    return variables
