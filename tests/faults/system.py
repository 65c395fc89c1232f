"""The distributed system under test: every role a process with the command that containers run.

    teacher ◀── actors, evaluator          every arrow is a link (`links`) that can be cut
    replay  ◀── actors, learner            (its tables, and its control, which the learner asks)
    learner ◀── actors, evaluator

A student of Catch is reincarnated by QDagger, so slowly that a run does not end: the teacher counts
as so good that its opinion is never weaned off, and there are more steps to do than anybody waits
for. Periods are short: checkpoints every few seconds, small tables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from services.shared.addresses import free_ports
from tests.faults.links import LinkConfig, Links
from tests.faults.ports import LOOPBACK
from tests.faults.supervisor import Supervisor, role_environment

TEACHER, REPLAY, LEARNER, EVALUATOR = "teacher", "replay", "learner", "evaluator"
ACTORS = ("actor-0", "actor-1")
ROLES = (TEACHER, REPLAY, LEARNER, EVALUATOR, *ACTORS)

_WAYS = (
    (LEARNER, REPLAY, "replay"),
    (LEARNER, REPLAY, "control"),
    (EVALUATOR, LEARNER, "learner"),
    (EVALUATOR, TEACHER, "teacher"),
    *((actor, LEARNER, "learner") for actor in ACTORS),
    *((actor, REPLAY, "replay") for actor in ACTORS),
    *((actor, TEACHER, "teacher") for actor in ACTORS),
)
"""Who connects to whom, and which of its ports."""

_RRL = [sys.executable, "-m", "services.cli.main"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """One run and where it lies.

    Attributes:
        run: Folder of the run.
        logs: Folder for what the roles print; not on the run's disk, which may be full.
        bytecode: Folder for compiled modules, likewise.
        teacher: Teacher directory.
        checkpoint_period_seconds: Time between two checkpoints.
        teacher_steps: Steps of the stage that collects.
        offline_updates: Updates of the offline stage.
    """

    run: Path
    logs: Path
    bytecode: Path
    teacher: Path
    checkpoint_period_seconds: float = 5.0
    teacher_steps: int = 4_000
    offline_updates: int = 1_000

    @property
    def settings(self) -> list[str]:
        """The settings that all roles of the run share."""
        return [
            "qdagger",
            "--environment.name=catch",
            "--network.name=mlp",
            "--network.features=64",
            f"--teacher.checkpoint={self.teacher}",
            # Far above what Catch pays: the student's share of it, and weaning with it, stays low.
            "--teacher.mean-return=100",
            "--method.weaning.wean-steps=1000000000",
            f"--teacher-steps={self.teacher_steps}",
            f"--method.offline-updates={self.offline_updates}",
            "--online-steps=1000000000",
            "--method.q-learning.min-replay-size=200",
            "--method.q-learning.target-update-steps=400",
            "--offline-evaluation-period=250",
            "--online-evaluation-period=250",
            "--evaluation.episodes=4",
            f"--checkpoint-period-seconds={self.checkpoint_period_seconds:g}",
            "--replay-capacity=20000",
            "--envs-per-actor=4",
            "--publish-period-updates=20",
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the servers really listen."""

    teacher: int
    replay: int
    control: int
    learner: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A running system.

    Attributes:
        config: Its run.
        ports: Of its servers; the harness asks there, past the links.
        links: The ways between its roles.
        supervisor: Their processes.
    """

    config: SystemConfig
    ports: Ports
    links: Links
    supervisor: Supervisor


@contextlib.contextmanager
def running_system(config: SystemConfig) -> Iterator[System]:
    """Start all roles; kill them in the end."""
    teacher, replay, control, learner, *own = free_ports(4 + len(_WAYS))
    ports = Ports(teacher=teacher, replay=replay, control=control, learner=learner)
    ways = [
        LinkConfig(client=client, server=server, port=port, server_port=getattr(ports, door))
        for (client, server, door), port in zip(_WAYS, own, strict=True)
    ]
    environment = role_environment(config.bytecode)
    with (
        Links(ways) as links,
        Supervisor(_commands(config, ports, links), environment, config.logs) as roles,
    ):
        yield System(config=config, ports=ports, links=links, supervisor=roles)


def _commands(config: SystemConfig, ports: Ports, links: Links) -> dict[str, list[str]]:
    def way(client: str, server_port: int) -> str:
        return f"{LOOPBACK}:{links.port(client, server_port)}"

    def role(name: str, *arguments: object) -> list[str]:
        return [*_RRL, name, *config.settings, *map(str, arguments)]

    run = ("--run", config.run)
    commands = {
        TEACHER: [
            *(*_RRL, "teacher", "serve", "--checkpoint", str(config.teacher), "--backend", "jax"),
            # Shared memory would pass by the links.
            *("--port", str(ports.teacher), "--no-shared-memory", "--metrics-port", "None"),
        ],
        REPLAY: role(REPLAY, *run, "--port", ports.replay, "--control-port", ports.control),
        LEARNER: role(
            LEARNER,
            *run,
            *("--port", ports.learner),
            *("--replay-address", way(LEARNER, ports.replay)),
            *("--replay-control-address", way(LEARNER, ports.control)),
        ),
        EVALUATOR: role(
            EVALUATOR,
            *run,
            *("--learner-address", way(EVALUATOR, ports.learner)),
            *("--teacher-address", way(EVALUATOR, ports.teacher)),
        ),
    }
    for index, actor in enumerate(ACTORS):
        commands[actor] = role(
            "actor",
            *("--index", index),
            *("--learner-address", way(actor, ports.learner)),
            *("--replay-address", way(actor, ports.replay)),
            *("--teacher-address", way(actor, ports.teacher)),
        )
    return commands
