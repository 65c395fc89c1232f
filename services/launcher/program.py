"""The topology of a run on one machine: which processes there are and how they are joined.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is built as in a container; Launchpad only hands out addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.launcher.experiment import Experiment
from services.launcher.launchpad_without_courier import launchpad as lp
from services.launcher.roles import ROLES, SERVE_THEIR_OWN_PAGE, Process, processes_of
from services.launcher.run_addresses import RunAddresses
from services.launcher.telemetry import Telemetry, telemetry
from services.shared.addresses import parse_address

_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgramAddresses:
    """Where the roles of a program listen; Launchpad decides that when it starts them.

    Attributes:
        services: As in `RunAddresses`.
        pages: As in `RunAddresses`.
    """

    services: Mapping[str, lp.Address]
    pages: Mapping[str, lp.Address]

    def resolve(self) -> RunAddresses:
        """The addresses, once the program is started."""
        return RunAddresses(services=_resolved(self.services), pages=_resolved(self.pages))


def make_program(experiment: Experiment, run: Path) -> tuple[lp.Program, ProgramAddresses]:
    """The program of a run, and the addresses that somebody outside may want."""
    program, processes = lp.Program("rrl"), processes_of(experiment)
    addresses = ProgramAddresses(
        services={name: _address(name) for process in processes for name in process.services},
        pages={process.name: _address(f"{process.name}-metrics") for process in processes},
    )
    for process in processes:
        node = lp.PyNode(_run_role, experiment, run, process, addresses)
        for name in process.services:
            node.allocate_address(addresses.services[name])
        node.allocate_address(addresses.pages[process.name])
        with program.group(process.role):
            program.add_node(node)
    return program, addresses


def _address(name: str) -> lp.Address:
    # Launchpad's names are of small letters and digits.
    return lp.Address(name.replace("-", ""))


def _resolved(addresses: Mapping[str, lp.Address]) -> dict[str, str]:
    return {name: str(address.resolve()) for name, address in addresses.items()}


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


def _run_role(
    experiment: Experiment, run: Path, process: Process, addresses: ProgramAddresses
) -> None:
    with _stop_event() as stop:
        found = addresses.resolve()
        page = parse_address(found.pages[process.name]).port
        job = dataclasses.replace(process.job(experiment, run, found.services), metrics_port=page)
        options = Telemetry(metrics_port=None if process.role in SERVE_THEIR_OWN_PAGE else page)
        with telemetry(process.role, options, run=run, name=process.name) as registry:
            ROLES[process.role](dataclasses.replace(job, registry=registry))(stop)
