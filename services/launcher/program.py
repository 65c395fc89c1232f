"""The topology of a run on one machine: which processes there are and how they are joined.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is started by the same constructor as in a container; Launchpad only hands out addresses.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launchpad as lp

from services.launcher.experiment import Experiment
from services.shared.locks import LEARNER_COMMIT_SECONDS, LEARNER_LOCK, wait_until_free

_PR_SET_PDEATHSIG = 1


def make_program(experiment: Experiment, run: Path) -> tuple[lp.Program, dict[str, lp.Address]]:
    """The program of a run.

    Returns:
        The program, and by name the addresses that somebody outside may want: "learner", and with
        a teacher "teacher" and "metrics" (the teacher's Prometheus page).
    """
    program = lp.Program("rrl")
    replay, learner = lp.Address("replay"), lp.Address("learner")
    addresses = {"learner": learner}
    teacher = None
    if experiment.uses_teacher:
        teacher, metrics = lp.Address("teacher"), lp.Address("metrics")
        _add(
            program, "teacher", _run_teacher, experiment, teacher, metrics, owns=(teacher, metrics)
        )
        addresses |= {"teacher": teacher, "metrics": metrics}
    _add(program, "replay", _run_replay, experiment, run, replay, owns=(replay,))
    if experiment.data is not None:
        _add(program, "importer", _run_importer, experiment, run, replay, teacher)
    _add(program, "learner", _run_learner, experiment, run, replay, learner, owns=(learner,))
    _add(program, "evaluator", _run_evaluator, experiment, run, learner, teacher)
    for index in range(experiment.config.num_actors):
        _add(program, "actor", _run_actor, experiment, index, learner, replay, teacher)
    return program, addresses


def _add(
    program: lp.Program,
    role: str,
    function: Callable[..., None],
    *arguments: Any,
    owns: tuple[lp.Address, ...] = (),
) -> None:
    node = lp.PyNode(function, *arguments)
    for address in owns:
        node.allocate_address(address)
    with program.group(role):
        program.add_node(node)


def _begin(role: str) -> threading.Event:
    """What every role's process does first; returns the event that ends it."""
    # Ctrl-C reaches every process of the terminal, and the launcher answers it with SIGTERM to its
    # roles. Launchpad's handler of the one must not be interrupted by that of the other: both take
    # the same lock, in the same thread.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A launcher that is killed outright must not leave its roles behind.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    from services.shared.logging import setup_logging

    setup_logging(role)
    asked: threading.Event = lp.stop_event()
    stop = threading.Event()

    def pass_on() -> None:
        asked.wait()
        stop.set()

    # Launchpad sets its event in signal handlers, which run in the main thread: a role that waited
    # on that event there could be interrupted while it holds the event's lock, and never go on.
    threading.Thread(target=pass_on, name="stop", daemon=True).start()
    return stop


def _port(address: lp.Address) -> int:
    return int(address.resolve().rpartition(":")[2])


def _run_teacher(experiment: Experiment, address: lp.Address, metrics: lp.Address) -> None:
    stop = _begin("teacher")
    from services.teacher.server import build_teacher

    server = build_teacher(
        experiment.teacher_config(port=_port(address), metrics_port=_port(metrics))
    )
    server.start()
    stop.wait()
    server.stop()


def _run_replay(experiment: Experiment, run: Path, address: lp.Address) -> None:
    stop = _begin("replay")
    from services.replay.server import build_replay

    server = build_replay(experiment.replay_config(run, port=_port(address)))
    server.start()
    stop.wait()
    # The learner's last commit needs the tables: everybody is told to stop at the same moment.
    wait_until_free(run / LEARNER_LOCK, timeout_seconds=LEARNER_COMMIT_SECONDS)
    server.stop()


def _run_importer(
    experiment: Experiment, run: Path, replay: lp.Address, teacher: lp.Address
) -> None:
    stop = _begin("importer")
    from services.replay.preload import build_preloader

    config = experiment.importer_config(
        run, replay_address=replay.resolve(), teacher_address=teacher.resolve()
    )
    build_preloader(config).run(stop)


def _run_learner(
    experiment: Experiment, run: Path, replay: lp.Address, address: lp.Address
) -> None:
    stop = _begin("learner")
    from services.learner.loop import build_learner

    config = experiment.learner_config(run, replay_address=replay.resolve(), port=_port(address))
    build_learner(config).run(stop)


def _run_evaluator(
    experiment: Experiment, run: Path, learner: lp.Address, teacher: lp.Address | None
) -> None:
    stop = _begin("evaluator")
    from services.evaluator.loop import build_evaluator

    config = experiment.evaluator_config(
        run,
        learner_address=learner.resolve(),
        teacher_address=teacher.resolve() if teacher is not None else None,
    )
    build_evaluator(config).run(stop)


def _run_actor(
    experiment: Experiment,
    index: int,
    learner: lp.Address,
    replay: lp.Address,
    teacher: lp.Address | None,
) -> None:
    stop = _begin(f"actor-{index}")
    from services.actor.loop import build_actor

    config = experiment.actor_config(
        index,
        learner_address=learner.resolve(),
        replay_address=replay.resolve(),
        teacher_address=teacher.resolve() if teacher is not None else None,
    )
    build_actor(config).run(stop)
