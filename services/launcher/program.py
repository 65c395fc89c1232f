"""The topology of a run on one machine: which processes there are and how they are joined.

    teacher ◀── actors ──▶ replay ◀── learner ◀── evaluator
       ▲           └─────── ▲ ─ weights, progress ───┘
       └───── importer ─────┘   (where recorded data is given)

Each role is started by the same constructor as in a container; Launchpad only hands out addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry

from services.launcher.experiment import Experiment
from services.launcher.launchpad_without_courier import launchpad as lp
from services.launcher.roles import ROLES, SERVE_THEIR_OWN_PAGE, Job
from services.launcher.telemetry import Telemetry, telemetry
from services.learner.config import ShardAddress

_PR_SET_PDEATHSIG = 1

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Peers:
    """Whom a role asks; Launchpad gives the addresses when its process starts.

    Attributes:
        learner: The learner.
        shards: The replay shards: tables and control of each.
        teacher: The teacher, where there is one.
    """

    learner: lp.Address | None = None
    shards: tuple[tuple[lp.Address, lp.Address], ...] = ()
    teacher: lp.Address | None = None


def make_program(experiment: Experiment, run: Path) -> tuple[lp.Program, ProgramAddresses]:
    """The program of a run, and the addresses that somebody outside may want."""
    program = lp.Program("rrl")
    learner = lp.Address("learner")
    addresses = ProgramAddresses(services={"learner": learner}, pages={})

    def add(role: str, peers: _Peers, *, index: int | None = None, own: _Owned = ()) -> None:
        name = role if index is None else f"{role}-{index}"
        page = addresses.pages[name] = _address(f"{name}-metrics")
        node = lp.PyNode(_run_role, experiment, run, role, index, page, own, peers)
        for address in (page, *own):
            node.allocate_address(address)
        with program.group(role):
            program.add_node(node)

    teacher = None
    if experiment.uses_teacher:
        teacher = addresses.services["teacher"] = lp.Address("teacher")
        add("teacher", _Peers(), own=(teacher,))
    shards = []
    for shard in range(experiment.config.replay_shards):
        own = _address(f"replay-{shard}"), _address(f"control-{shard}")
        addresses.services.update(zip((f"replay-{shard}", f"control-{shard}"), own, strict=True))
        add("replay", _Peers(), index=shard, own=own)
        shards.append(own)
    peers = _Peers(learner=learner, shards=tuple(shards), teacher=teacher)
    if experiment.data is not None:
        add("importer", peers)
    add("learner", peers, own=(learner,))
    add("evaluator", peers)
    for index in range(experiment.config.num_actors):
        add("actor", peers, index=index)
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


def _run_role(
    experiment: Experiment,
    run: Path,
    role: str,
    index: int | None,
    page: lp.Address,
    own: _Owned,
    peers: _Peers,
) -> None:
    # The one shard of most runs is called by no number.
    is_alone = role == "replay" and experiment.config.replay_shards == 1
    served_here = None if role in SERVE_THEIR_OWN_PAGE else page
    with _begun(role, run, served_here, None if is_alone else index) as (stop, registry):
        port, control_port = (*map(_port, own), 0, 0)[:2]
        job = Job(
            experiment=experiment,
            run=run,
            registry=registry,
            index=index or 0,
            learner=_resolved(peers.learner) or "",
            replay=tuple(
                ShardAddress(data=data.resolve(), control=control.resolve())
                for data, control in peers.shards
            ),
            teacher=_resolved(peers.teacher),
            port=port,
            control_port=control_port,
            metrics_port=_port(page),
        )
        ROLES[role](job, stop)


def _resolved(address: lp.Address | None) -> str | None:
    return None if address is None else str(address.resolve())
