"""The topology of a run on one machine: which processes there are and how they are joined.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is started by the same constructor as in a container; Launchpad only hands out addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry

from services.launcher.experiment import Experiment, shard_folder
from services.launcher.launchpad_without_courier import launchpad as lp
from services.launcher.telemetry import Telemetry, telemetry
from services.shared.locks import LEARNER_CHECKPOINT_SECONDS, LEARNER_LOCK, wait_until_free

_PR_SET_PDEATHSIG = 1

_Run: TypeAlias = Callable[..., None]
"""Runs a role: takes the experiment, the run's folder, its metrics page's address, and its own."""

_Owned: TypeAlias = tuple[lp.Address, ...]


class ProgramAddresses(NamedTuple):
    """Where the roles of a program listen.

    Attributes:
        services: What roles ask each other at: "learner", "replay-0" and "control-0" for each
            shard, with a teacher "teacher".
        pages: Metrics pages: "learner", "evaluator", "replay-0", "actor-0" …
    """

    services: dict[str, lp.Address]
    pages: dict[str, lp.Address]


def make_program(experiment: Experiment, run: Path) -> tuple[lp.Program, ProgramAddresses]:
    """The program of a run, and the addresses that somebody outside may want."""
    program = lp.Program("rrl")
    learner = lp.Address("learner")
    addresses = ProgramAddresses(services={"learner": learner}, pages={})

    def add(role: str, name: str, function: _Run, *arguments: Any, owns: _Owned = ()) -> None:
        page = addresses.pages[name] = _address(f"{name}-metrics")
        node = lp.PyNode(function, experiment, run, page, *arguments)
        for address in (page, *owns):
            node.allocate_address(address)
        with program.group(role):
            program.add_node(node)

    teacher = None
    if experiment.uses_teacher:
        teacher = addresses.services["teacher"] = lp.Address("teacher")
        add("teacher", "teacher", _run_teacher, teacher, owns=(teacher,))
    shards = []
    for shard in range(experiment.config.replay_shards):
        owned = _address(f"replay-{shard}"), _address(f"control-{shard}")
        addresses.services.update(zip((f"replay-{shard}", f"control-{shard}"), owned, strict=True))
        add("replay", f"replay-{shard}", _run_replay, shard, *owned, owns=owned)
        shards.append(owned)
    if experiment.data is not None:
        add("importer", "importer", _run_importer, shards[0][0], teacher)
    add("learner", "learner", _run_learner, shards, learner, owns=(learner,))
    add("evaluator", "evaluator", _run_evaluator, learner, teacher)
    for index in range(experiment.config.num_actors):
        replay, _ = shards[index % len(shards)]
        add("actor", f"actor-{index}", _run_actor, index, learner, replay, teacher)
    return program, addresses


def _address(name: str) -> lp.Address:
    # Launchpad's names are of small letters and digits.
    return lp.Address(name.replace("-", ""))


@contextlib.contextmanager
def _begun(
    role: str, run: Path, page: lp.Address | None, index: int | None = None
) -> Iterator[tuple[threading.Event, CollectorRegistry]]:
    """What every role's process does first.

    Args:
        role: Kind of role.
        run: Folder of the run.
        page: Where its metrics page goes; None where the role serves its own.
        index: Which of several of its kind.

    Yields:
        The event that ends it, and what its page shows.
    """
    # Ctrl-C reaches every process of the terminal, and the launcher answers it with SIGTERM to its
    # roles. Launchpad's handler of the one must not be interrupted by that of the other: both take
    # the same lock, in the same thread.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A launcher that is killed outright must not leave its roles behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    asked: threading.Event = lp.stop_event()
    stop = threading.Event()

    def pass_on() -> None:
        asked.wait()
        stop.set()

    # Launchpad sets its event in signal handlers, which run in the main thread: a role that waited
    # on that event there could be interrupted while it holds the event's lock, and never go on.
    threading.Thread(target=pass_on, name="stop", daemon=True).start()
    options = Telemetry(metrics_port=_port(page) if page is not None else None)
    try:
        with telemetry(role, options, run=run, index=index) as registry:
            yield stop, registry
    finally:
        # The launcher repeats its SIGTERM until a role has ended. Python gives up handlers as it
        # ends: the signal would take the place of the exit code, which tells whether all is saved.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _port(address: lp.Address) -> int:
    return int(address.resolve().rpartition(":")[2])


def _run_teacher(experiment: Experiment, run: Path, page: lp.Address, address: lp.Address) -> None:
    with _begun("teacher", run, None) as (stop, _):
        from services.teacher.server import build_teacher

        server = build_teacher(
            experiment.teacher_config(port=_port(address), metrics_port=_port(page))
        )
        server.start()
        try:
            server.run(stop)
        finally:
            server.stop()


def _run_replay(
    experiment: Experiment,
    run: Path,
    page: lp.Address,
    shard: int,
    address: lp.Address,
    control: lp.Address,
) -> None:
    index = shard if experiment.config.replay_shards > 1 else None
    with _begun("replay", run, page, index) as (stop, registry):
        from services.launcher.replay_of_a_run import serving_replay
        from services.replay.metrics import ReplayMetrics

        metrics = ReplayMetrics(registry)
        config = experiment.replay_config(run, port=_port(address), shard=shard)
        checkpoints = shard_folder(run, shard) / "checkpoints"
        with serving_replay(config, checkpoints, control_port=_port(control), metrics=metrics):
            stop.wait()
            # The learner's last checkpoint needs the tables: everybody is told to stop at the same
            # moment.
            wait_until_free(run / LEARNER_LOCK, timeout_seconds=LEARNER_CHECKPOINT_SECONDS)


def _run_importer(
    experiment: Experiment,
    run: Path,
    page: lp.Address,
    replay: lp.Address,
    teacher: lp.Address,
) -> None:
    with _begun("importer", run, page) as (stop, registry):
        from services.recorded_data.importer import build_importer
        from services.recorded_data.metrics import ImporterMetrics

        metrics = ImporterMetrics(registry)
        config = experiment.importer_config(
            run, replay_address=replay.resolve(), teacher_address=teacher.resolve()
        )
        build_importer(config, metrics).run(stop)


def _run_learner(
    experiment: Experiment,
    run: Path,
    page: lp.Address,
    shards: Sequence[tuple[lp.Address, lp.Address]],
    address: lp.Address,
) -> None:
    with _begun("learner", run, page) as (stop, registry):
        from services.learner.config import ShardAddress
        from services.learner.loop import run_learner
        from services.learner.metrics import LearnerMetrics

        metrics = LearnerMetrics(registry)
        replay = tuple(
            ShardAddress(data=data.resolve(), control=control.resolve()) for data, control in shards
        )
        config = experiment.learner_config(run, replay=replay, port=_port(address))
        run_learner(config, stop, metrics)


def _run_evaluator(
    experiment: Experiment,
    run: Path,
    page: lp.Address,
    learner: lp.Address,
    teacher: lp.Address | None,
) -> None:
    with _begun("evaluator", run, page) as (stop, registry):
        from services.evaluator.loop import build_evaluator
        from services.evaluator.metrics import EvaluatorMetrics

        metrics = EvaluatorMetrics(registry)
        config = experiment.evaluator_config(
            run,
            learner_address=learner.resolve(),
            teacher_address=teacher.resolve() if teacher is not None else None,
        )
        build_evaluator(config, metrics).run(stop)


def _run_actor(
    experiment: Experiment,
    run: Path,
    page: lp.Address,
    index: int,
    learner: lp.Address,
    replay: lp.Address,
    teacher: lp.Address | None,
) -> None:
    with _begun("actor", run, page, index) as (stop, registry):
        from services.actor.loop import build_actor
        from services.actor.metrics import ActorMetrics

        metrics = ActorMetrics(registry)
        config = experiment.actor_config(
            index,
            learner_address=learner.resolve(),
            replay_address=replay.resolve(),
            teacher_address=teacher.resolve() if teacher is not None else None,
        )
        build_actor(config, metrics).run(stop)
