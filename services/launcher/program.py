"""The topology of a run on one machine: which processes there are and how they are joined.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is built as in a container; Launchpad starts the processes and watches them.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from services.launcher.experiment import Experiment
from services.launcher.experiment_config import allow_named
from services.launcher.launchpad_without_courier import launchpad as lp
from services.launcher.roles import ROLES, SERVE_THEIR_OWN_PAGE, Process, processes_of
from services.launcher.run_addresses import RunAddresses
from services.launcher.telemetry import Telemetry, telemetry
from services.shared.addresses import parse_address

_PR_SET_PDEATHSIG = 1


def make_program(experiment: Experiment, run: Path, addresses: RunAddresses) -> lp.Program:
    """The program of a run whose processes listen at these addresses."""
    program = lp.Program("rrl")
    for process in processes_of(experiment):
        with program.group(process.role):
            program.add_node(lp.PyNode(_run_role, experiment, run, process, addresses))
    return program


@contextlib.contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """The event that ends a role; what every role's process does first and last."""
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
    try:
        yield stop
    finally:
        # The launcher repeats its SIGTERM until a role has ended. Python gives up handlers as it
        # ends: the signal would take the place of the exit code, which tells whether all is saved.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _run_role(experiment: Experiment, run: Path, process: Process, addresses: RunAddresses) -> None:
    # The launcher has resolved it: its user has named what it names.
    allow_named(experiment.config)
    with _stop_event() as stop:
        page = parse_address(addresses.pages[process.name]).port
        job = process.job(experiment, run, addresses, metrics_port=page)
        options = Telemetry(metrics_port=None if process.role in SERVE_THEIR_OWN_PAGE else page)
        with telemetry(process.role, options, run=run, name=process.name) as registry:
            ROLES[process.role](dataclasses.replace(job, registry=registry))(stop)
