"""The topology of a run on one machine: its processes and how they connect.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is built as in a container. Launchpad monitors the processes, and starts those that cannot
be forks of the launcher (`forked_roles`).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.launcher.compiled_functions import keep_compiled_functions
from services.launcher.experiment import Experiment
from services.launcher.experiment_config import allow_named
from services.launcher.forked_roles import can_fork, start_forked
from services.launcher.launchpad_without_courier import (
    PROCESS_ENVIRONMENT,
    PythonProcess,
    WorkerManager,
)
from services.launcher.launchpad_without_courier import launchpad as lp
from services.launcher.roles import (
    COMPUTE,
    ROLES,
    SERVE_THEIR_OWN_PAGE,
    Process,
    process_environment,
    processes_of,
)
from services.launcher.run_addresses import RunAddresses
from services.launcher.telemetry import Telemetry, telemetry
from services.shared.addresses import parse_address
from services.shared.plugins import allow_variable

_PR_SET_PDEATHSIG = 1


def start_program(
    experiment: Experiment,
    run: Path,
    addresses: RunAddresses,
    logs: Path,
    on_start: Callable[[], None] = lambda: None,
) -> Any:
    """Start the processes of a run.

    Args:
        experiment: The experiment.
        run: Its folder.
        addresses: The addresses its processes listen on.
        logs: Folder for their output, ROLE/INDEX.
        on_start: Called before each start.

    Returns:
        Launchpad's `WorkerManager`, which monitors and stops them.
    """
    roles = {
        process: functools.partial(_run_role, experiment, run, process, addresses)
        for process in processes_of(experiment)
    }
    if not can_fork():
        return _launch(roles, logs)
    manager = WorkerManager(kill_main_thread=False)
    for process, run_role in roles.items():
        on_start()
        start_forked(manager, process, run_role, logs, **process_environment(process.role))
    return manager


def _launch(roles: Mapping[Process, Callable[[], None]], logs: Path) -> Any:
    """Have Launchpad start each role as a new process with its own imports."""
    program = lp.Program("rrl")
    for process, run_role in roles.items():
        with program.group(process.role):
            program.add_node(lp.PyNode(run_role))
    resources = {
        role: PythonProcess(
            # Roles end by themselves; the launcher enforces the timeout.
            args={"lp_termination_notice_secs": -1},
            env=PROCESS_ENVIRONMENT | process_environment(role),
        )
        for role in program.groups
    }
    manager = lp.launch(
        program, launch_type="local_mp", terminal="output_to_files", local_resources=resources
    )
    # Otherwise it would kill this process, too, if a role does not end in time.
    manager._kill_main_thread = False
    return manager


@contextlib.contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """The event that ends a role, with the setup and cleanup of every role's process."""
    # Ctrl-C reaches every process of the terminal; roles ignore it, as the launcher then sends them
    # SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked, stop = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    # Roles must not outlive a launcher that is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def pass_on() -> None:
        asked.wait()
        stop.set()

    # Signal handlers run in the main thread: a role waiting on the event there could be interrupted
    # while it holds the event's lock, and hang.
    threading.Thread(target=pass_on, name="stop", daemon=True).start()
    try:
        yield stop
    finally:
        # The launcher repeats its SIGTERM until a role has ended. Python drops its handlers at
        # exit: the signal would then replace the exit code, which says whether everything was
        # saved.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _run_role(experiment: Experiment, run: Path, process: Process, addresses: RunAddresses) -> None:
    # The launcher has resolved the experiment, so the user has chosen the packages it names.
    allow_named(experiment.config)
    allow_variable()
    if process.role in COMPUTE:
        keep_compiled_functions()
    with _stop_event() as stop:
        page = parse_address(addresses.pages[process.name]).port
        job = process.job(experiment, run, addresses, metrics_port=page)
        options = Telemetry(metrics_port=None if process.role in SERVE_THEIR_OWN_PAGE else page)
        with telemetry(process.role, options, run=run, name=process.name) as registry:
            ROLES[process.role](dataclasses.replace(job, registry=registry))(stop)
