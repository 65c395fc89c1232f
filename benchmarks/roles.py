"""Roles of a run as separate processes, started by the `rrl` command as users start them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from services.launcher.roles import ReplayPorts, serving_replay
from services.learner.config import ShardAddress
from services.replay.config import ReplayConfig
from services.shared.addresses import free_port
from services.shared.health import wait_until_serving
from services.shared.security.server import SecurityConfig

ACTOR_ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
"""As the launcher starts actors: small batches, which threads only slow down."""

_STARTUP_SECONDS = 120.0
_STOP_SECONDS = 30.0


class Role(NamedTuple):
    """A role that runs.

    Attributes:
        process: Its process.
        ready: What it said when it was ready; empty where that was not waited for.
    """

    process: subprocess.Popen[str]
    ready: tuple[str, ...]


class Learner(NamedTuple):
    """A learner that serves.

    Attributes:
        process: Its process.
        address: "host:port".
    """

    process: subprocess.Popen[str]
    address: str


@contextlib.contextmanager
def running(
    *arguments: str, ready: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Role]:
    """`rrl` with these arguments, until the block ends.

    Args:
        *arguments: The role and its flags.
        ready: Pattern of its first line, whose groups are kept; None does not wait.
        environment: Variables beside those of this process.

    Raises:
        RuntimeError: It ended before it was ready.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *arguments],
        stdout=subprocess.DEVNULL if ready is None else subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            yield Role(process, () if ready is None else _first_line(process, arguments[0], ready))
        finally:
            process.terminate()
            # A paused process ends when it continues.
            process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            process.kill()


def _first_line(process: subprocess.Popen[str], role: str, ready: str) -> tuple[str, ...]:
    assert process.stdout is not None
    found = re.search(ready, process.stdout.readline())
    if found is None:
        raise RuntimeError(f"`rrl {role}` did not start; its log is above")
    return found.groups()


@contextlib.contextmanager
def replay_service(run: Path, *experiment: str) -> Iterator[tuple[Role, ShardAddress]]:
    """A replay server; gives its addresses, too.

    Args:
        run: Run directory, made when absent.
        experiment: Method and flags, as `rrl replay` takes them.
    """
    arguments = ("replay", *experiment, "--run", str(run), "--port", "0", "--control-port", "0")
    with running(*arguments, ready=r"ready at port (\d+), control at port (\d+)") as role:
        data, control = role.ready
        yield role, ShardAddress(data=f"127.0.0.1:{data}", control=f"127.0.0.1:{control}")


@contextlib.contextmanager
def learner_service(run: Path, replay: ShardAddress, *experiment: str) -> Iterator[Learner]:
    """A learner that serves weights.

    Args:
        run: Run directory, made when absent.
        replay: Where replay is; its data may be behind a relay.
        experiment: Method and flags, as `rrl learner` takes them.
    """
    port = free_port()
    addresses = ("--replay-address", replay.data, "--replay-control-address", replay.control)
    arguments = ("learner", *experiment, "--run", str(run), "--port", str(port), *addresses)
    with running(*arguments) as role:
        wait_until_serving(f"127.0.0.1:{port}", _STARTUP_SECONDS)
        yield Learner(role.process, f"127.0.0.1:{port}")


@contextlib.contextmanager
def unlimited_replay(config: ReplayConfig) -> Iterator[ShardAddress]:
    """A replay server with any settings, such as an `error_buffer` that never holds a side back.

    Args:
        config: Its settings.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve_replay, args=(config, theirs)
    )
    process.start()
    try:
        if not ours.poll(_STARTUP_SECONDS):
            raise RuntimeError("the replay server did not start; its log is above")
        ports: ReplayPorts = ours.recv()
        yield ShardAddress(data=f"127.0.0.1:{ports.data}", control=f"127.0.0.1:{ports.control}")
    finally:
        process.terminate()
        process.join()


def _serve_replay(config: ReplayConfig, launcher: Connection) -> None:
    with serving_replay(
        config,
        config.checkpoint_root,
        control_port=0,
        security=SecurityConfig(),
        registry=CollectorRegistry(),
    ) as ports:
        launcher.send(ports)
        signal.pause()
