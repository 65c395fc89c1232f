"""`rrl replay|importer|learner|actor|evaluator`: one role by itself, for containers and clusters.

Each takes the addresses of its peers, and the method, preset and settings of `rrl train`, which
must be the same for all roles of a run. On one machine `rrl train` starts all of them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rrl_client.addresses import bare_host, format_address
from rrl_client.channel import parse_addresses
from services.cli.actor_index import ActorIndex, resolve_index
from services.cli.experiment_flags import Settings, parse, required
from services.cli.peers import Peers
from services.cli.shutdown import install_shutdown_event
from services.launcher.telemetry import Telemetry, telemetry
from services.learner.config import ShardAddress
from services.shared.addresses import parse_address
from services.shared.errors import UserError, user_errors
from services.shared.logging import announce
from services.shared.security.server import SecurityConfig

if TYPE_CHECKING:
    from services.launcher.experiment import Experiment
    from services.launcher.jobs import Job

_CONTROL_PORT = 50054

_OWNERS = ("replay", "importer", "learner")
"""Roles that write what a resumed run reads: they create the run's folder, or check it."""

_OF_A_JOB = ("run", "port", "control_port", "security")
"""Flags with the same name as a field of a job."""

WhenFinished = Literal["exit", "wait"]
"""What a role does when its run is finished."""

Watched = Annotated[Telemetry, tyro.conf.arg(name="")]
"""Log format and metrics page of a role, as flags without a prefix."""

Secured = Annotated[SecurityConfig, tyro.conf.arg(name="")]
"""TLS and tokens of a role's server, as flags without a prefix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Role:
    """Flags of every role.

    Attributes:
        experiment: The experiment; the same for all roles of a run.
        telemetry: Log format and metrics page.
    """

    experiment: Settings
    telemetry: Watched = Telemetry()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay(_Role):
    """Serve the replay tables of a run until SIGTERM.

    The flags of the experiment must be the same for all roles of the run.

    Attributes:
        run: Folder of the run.
        port: TCP port of Reverb, which holds the tables. Reverb has neither authentication nor
            encryption: keep this port inside your network.
        control_port: TCP port of the control service, which saves and restores the tables for the
            learner and answers health checks.
        host: Address that the control service listens on; 0.0.0.0 admits other machines, and opens
            the Reverb port to them, too.
        shard: Number of this shard, from 0 to --replay-shards minus 1.
        security: TLS and tokens of the control service; Reverb has neither.
        peers: TLS and credentials for the teacher service of --teacher.address.
    """

    run: Path = required()
    port: int = 50052
    control_port: int = _CONTROL_PORT
    host: str = "127.0.0.1"
    shard: int = 0
    security: Secured = SecurityConfig()
    peers: Peers = Peers()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importer(_Role):
    """Fill the teacher's table of a run from recorded data (--teacher.data).

    The teacher labels every state. The importer ends when the table is complete, or on SIGTERM;
    start it again to resume. The flags of the experiment must be the same for all roles of the run.

    Attributes:
        run: Folder of the run, where the labels are written.
        replay_address: HOST:PORT of the replay server.
        teacher_address: HOST:PORT of the teacher service; for replicas, all of them separated by
            commas, or dns:///NAME:PORT for all addresses of a DNS name. By default
            that of --teacher.address.
        peers: TLS and credentials for the teacher service.
    """

    run: Path = required()
    replay_address: str = required()
    teacher_address: str | None = None
    peers: Peers = Peers()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner(_Role):
    """Train the student of a run until the run is finished, or until SIGTERM.

    The flags of the experiment must be the same for all roles of the run.

    Attributes:
        run: Folder of the run.
        replay_address: HOST:PORT of the replay server; for several shards, all of them in order,
            separated by commas.
        replay_control_address: HOST:PORT of the replay server's control service; for several
            shards, all of them in the same order. By default port 50054 of each --replay-address.
        host: Address to serve weights on; 0.0.0.0 admits other machines.
        port: TCP port to serve weights on.
        security: TLS and tokens of the weight service.
        peers: TLS and credentials for the replay server's control service, and for the
            teacher service of --teacher.address.
        when_finished: What to do after the run: exit, or wait for SIGTERM and keep serving the
            weights.
    """

    run: Path = required()
    replay_address: str = required()
    replay_control_address: str | None = None
    host: str = "127.0.0.1"
    port: int = 50053
    security: Secured = SecurityConfig()
    peers: Peers = Peers()
    when_finished: WhenFinished = "exit"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Actor(_Role):
    """Play environments and write the steps to replay until the run is finished, or until SIGTERM.

    The flags of the experiment must be the same for all roles of the run.

    Attributes:
        learner_address: HOST:PORT of the learner.
        replay_address: HOST:PORT of the replay server; for several shards, all of them in order,
            separated by commas. The actor writes to shard number INDEX modulo their count.
        teacher_address: HOST:PORT of the teacher service; for replicas, all of them separated by
            commas, or dns:///NAME:PORT for all addresses of a DNS name. By default
            that of --teacher.address. Methods without a teacher need none.
        index: Number of this actor, from 0, unique within the run; auto derives it from the host's
            name, for containers that share a command line.
        peers: TLS and credentials for the learner and the teacher service.
        when_finished: What to do after the run: exit, or wait for SIGTERM.
    """

    learner_address: str = required()
    replay_address: str = required()
    teacher_address: str | None = None
    index: ActorIndex = 0
    peers: Peers = Peers()
    when_finished: WhenFinished = "exit"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(_Role):
    """Evaluate the student of a run until the run is finished, or until SIGTERM.

    The flags of the experiment must be the same for all roles of the run.

    Attributes:
        run: Folder of the run, where the video is written.
        learner_address: HOST:PORT of the learner.
        teacher_address: HOST:PORT of the teacher service, as for `rrl actor`. Needed only if the
            teacher's return is unknown: its card has no score, and --teacher.mean-return is not
            given.
        peers: TLS and credentials for the learner and the teacher service.
        when_finished: What to do after the run: exit, or wait for SIGTERM.
    """

    run: Path = required()
    learner_address: str = required()
    teacher_address: str | None = None
    peers: Peers = Peers()
    when_finished: WhenFinished = "exit"


def _run(kind: type[_Role], arguments: list[str]) -> None:
    """Run a role until it is finished or stopped.

    Args:
        kind: Its flags; named after the role.
        arguments: The command line after the role.
    """
    role = kind.__name__.lower()
    own = parse(kind, arguments, f"rrl {role}")
    if own.experiment.one_process:
        raise UserError(
            f"a run in one process has no process of its own for the {role}: leave --one-process "
            "out for all roles, or use rrl train --one-process"
        )
    if isinstance(own, Importer) and not (own.teacher_address or own.experiment.teacher.address):
        raise UserError("the importer has no teacher to ask: give --teacher-address HOST:PORT")
    # Imported once the flags are valid, as it takes seconds.
    from services.launcher.resolution import resolve
    from services.launcher.roles import ROLES, Process
    from services.launcher.run_directory import open_run

    flags = vars(own)
    index = flags["shard"] if role == "replay" else resolve_index(flags.get("index", 0))
    run, name = flags.get("run"), Process(role, index).name
    stop = install_shutdown_event()
    with telemetry(role, own.telemetry, run=run, name=name) as registry:
        served, peers = own.experiment.teacher.address, flags.get("peers", Peers())
        experiment = resolve(own.experiment, teacher_peers=peers.security(served))
        if run is not None and role in _OWNERS:
            open_run(run, experiment)
        job = dataclasses.replace(_job(flags, experiment), index=index, registry=registry)
        ROLES[role](job)(stop)
        if job.lingers:
            stop.wait()


replay_main = functools.partial(_run, Replay)
importer_main = functools.partial(_run, Importer)
learner_main = functools.partial(_run, Learner)
actor_main = functools.partial(_run, Actor)
evaluator_main = functools.partial(_run, Evaluator)


def _job(flags: Mapping[str, Any], experiment: Experiment) -> Job:
    """Where a role listens, and the peers it calls; a role has flags only for what it needs.

    Raises:
        UserError: an address is invalid, or a file of the security settings cannot be used.
    """
    from services.launcher.jobs import Job

    learner, teacher = flags.get("learner_address"), flags.get("teacher_address")
    teacher = teacher or experiment.config.teacher.address
    with user_errors():
        learner = str(parse_address(learner)) if learner is not None else None
        teacher = ",".join(parse_addresses(teacher)) if teacher is not None else None
    replay = _shards(flags.get("replay_address"), flags.get("replay_control_address"))
    controls = [shard.control for shard in replay] if "replay_control_address" in flags else []
    peers = flags["peers"].security(learner, teacher, *controls) if "peers" in flags else None
    return Job(
        experiment=experiment,
        learner_address=learner or "",
        replay=replay,
        teacher_address=teacher,
        peers=peers,
        teacher_peers=peers,
        host=bare_host(flags.get("host", "127.0.0.1")),
        lingers=flags.get("when_finished") == "wait",
        on_ready=announce,
        **{name: flags[name] for name in _OF_A_JOB if name in flags},
    )


def _addresses(text: str | None) -> list[str]:
    return [str(parse_address(part)) for part in text.split(",")] if text else []


def _shards(data: str | None, control: str | None) -> tuple[ShardAddress, ...]:
    """The addresses of replay shards from the command line.

    Raises:
        UserError: the two lists differ in length, or an address is invalid.
    """
    tables = _addresses(data)
    controls = _addresses(control) or [
        format_address(parse_address(table)[0], _CONTROL_PORT) for table in tables
    ]
    if len(tables) != len(controls):
        raise UserError(
            f"{len(tables)} replay addresses and {len(controls)} control addresses: give one "
            "--replay-control-address per --replay-address, or none"
        )
    return tuple(
        ShardAddress(data=table, control=control)
        for table, control in zip(tables, controls, strict=True)
    )
