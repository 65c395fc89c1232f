"""Starts the processes of the roles, and restarts those that have ended.

As Docker's `restart: unless-stopped` does: after any end, at once the first time, then after a
pause that doubles with each end that follows closely. Roles that end by themselves when a run is
finished have `on-failure` there: what an exit code of 0 means is left to the caller.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_SOUND_LIFE_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_DYING_WITH_PARENT = [
    sys.executable,
    "-S",
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])",
]
"""Runs a command that is killed with the thread that started it (PR_SET_PDEATHSIG, SIGKILL).

A `preexec_fn` would do the same, but may deadlock where a library has threads.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exit:
    """The end of a process.

    Attributes:
        role: Whose.
        code: As of `subprocess`: negative for a signal.
        was_asked: Whether somebody had signalled it.
        at: `time.monotonic()` of the end.
        log: What it had printed.
    """

    role: str
    code: int
    was_asked: bool
    at: float
    log: Path


class _Role:
    """One role's process, again and again."""

    def __init__(self, name: str, command: list[str], logs: Path) -> None:
        self.name = name
        self._command = command
        self._logs = logs
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.started_at = 0.0
        self.is_held = False
        self.was_asked = False
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self.due_at = 0.0

    @property
    def log(self) -> Path:
        """Output of the newest process."""
        return self._logs / f"{self.name}-{self.starts:04d}.log"

    def start(self, environment: Mapping[str, str]) -> None:
        self.starts += 1
        self.was_asked = False
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*_DYING_WITH_PARENT, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
            )
        self.started_at = time.monotonic()

    def end(self) -> Exit | None:
        """The end of its process, reported once."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            return None
        now = time.monotonic()
        self.process = None
        if now - self.started_at >= _SOUND_LIFE_SECONDS:
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        self.due_at = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        return Exit(role=self.name, code=code, was_asked=self.was_asked, at=now, log=self.log)


class Supervisor:
    """Keeps the processes of all roles running.

    Args:
        commands: What to run, by role; started in this order.
        environment: Of the processes.
        logs: Folder for what they print, a file per start.
    """

    def __init__(
        self, commands: Mapping[str, list[str]], environment: Mapping[str, str], logs: Path
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._roles = {name: _Role(name, command, logs) for name, command in commands.items()}
        self._environment = environment
        self._lock = threading.RLock()
        self._ends: list[Exit] = []
        self._closed = threading.Event()
        # Processes die with the thread that started them: all are started by this one.
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        """Start everybody."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Kill the processes that are left."""
        for role in self._roles:
            self.hold(role)
            self.signal(role, signal.SIGKILL)
        self.wait_until_ended(self._roles, timeout_seconds=30.0)
        self._closed.set()
        self._thread.join()

    @property
    def roles(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._roles)

    @property
    def ends(self) -> list[Exit]:
        """Every end so far, in order."""
        with self._lock:
            return list(self._ends)

    def pid(self, role: str) -> int | None:
        """Process of a role, None while there is none."""
        with self._lock:
            process = self._roles[role].process
            return process.pid if process is not None else None

    def log(self, role: str) -> Path:
        """What the newest process of a role prints."""
        with self._lock:
            return self._roles[role].log

    def hold(self, role: str) -> None:
        """Start a role no more once it has ended."""
        with self._lock:
            self._roles[role].is_held = True

    def release(self, role: str) -> None:
        """Start a role that was held back, at once."""
        with self._lock:
            self._roles[role].is_held = False
            self._roles[role].due_at = 0.0

    def signal(self, role: str, number: signal.Signals) -> None:
        """Signal the process of a role, if there is one."""
        with self._lock:
            found = self._roles[role]
            if found.process is not None:
                found.was_asked |= number not in (signal.SIGSTOP, signal.SIGCONT)
                found.process.send_signal(number)

    def wait_until_ended(self, roles: Iterable[str], *, timeout_seconds: float) -> list[str]:
        """Wait for processes that are held back to end; returns whose have not."""
        end = time.monotonic() + timeout_seconds
        while left := [role for role in roles if self.pid(role) is not None]:
            if time.monotonic() > end:
                return left
            time.sleep(_LOOK_SECONDS)
        return []

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            with self._lock:
                for role in self._roles.values():
                    ended = role.end()
                    if ended is not None:
                        self._ends.append(ended)
                    is_due = time.monotonic() >= role.due_at
                    if role.process is None and is_due and not role.is_held:
                        role.start(self._environment)


def role_environment(bytecode: Path) -> dict[str, str]:
    """Environment of the roles' processes: one thread each, and compiled modules kept.

    Args:
        bytecode: Folder for compiled modules, which the installation may not have.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | {
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "OMP_NUM_THREADS": "1",
    }
