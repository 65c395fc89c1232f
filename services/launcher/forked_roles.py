"""Starts roles as forks of this process, so that shared imports happen once.

A separate process takes 2 to 3 s of CPU and 250 MB to import JAX, Reverb and the rest, and the
smallest run has six. A fork has them at once, and shares the memory.

Only a process with a single thread can fork safely: other threads vanish, and their locks stay
locked. So nothing here may start JAX's backend, connect to a service, or draw from a thread before
the last fork. If user code (a Python policy, an environment) has started threads, each role becomes
a separate process instead.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rrl_client import forks
from services.launcher.native_threads import NUMPYS_THREADS, native_threads
from services.launcher.roles import SHARED_MODULES, Process

_THREAD_ENDS_SECONDS = 1.0
_POLL_SECONDS = 0.01
_LONGEST_NAME = 15
_PR_SET_NAME = 15


def can_fork() -> bool:
    """Whether this process may fork: it has one thread and no connections."""
    if threading.active_count() > 1 or forks.is_connected():
        return False
    # A joined thread takes a moment to disappear.
    end = time.monotonic() + _THREAD_ENDS_SECONDS
    while native_threads() > NUMPYS_THREADS:
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def start_forked(
    manager: Any, process: Process, run: Callable[[], None], logs: Path, **environment: str
) -> None:
    """Start a role as a fork of this process.

    Args:
        manager: Launchpad's `WorkerManager`, which monitors and stops it.
        process: Role and index.
        run: Body of the process; its exit code is 0 if this returns, 1 if it raises, and as usual
            for a `SystemExit`.
        logs: Folder for the output, ROLE/INDEX.
        environment: Environment variables that differ from ours.
    """
    role, log = process.role, logs / process.role / str(process.index)
    for module in SHARED_MODULES.get(role, ()):
        importlib.import_module(module)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as output:
        manager.process_worker(
            f"{role}/{process.index}",
            # The command never runs: `preexec_fn` is called in the fork and does not return.
            [sys.executable],
            stdout=output,
            stderr=output,
            restore_signals=False,
            preexec_fn=functools.partial(_be_the_role, process.name, run, environment),
        )


def _be_the_role(name: str, run: Callable[[], None], environment: Mapping[str, str]) -> None:
    """The body of the fork."""
    code = 1
    try:
        _leave_the_launcher(name)
        _set_environment(environment)
        run()
        code = 0
    except SystemExit as error:
        code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # A normal exit would run the launcher's cleanup.
            os._exit(code)


def _leave_the_launcher(name: str) -> None:
    """Release the launcher's locks and other open files, handlers and output."""
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGALRM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # Among them is the pipe on which `subprocess` waits for the program to start.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )
    # `subprocess` turns garbage collection off; freeze what exists, so that its memory stays
    # shared.
    gc.freeze()
    gc.enable()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"rrl {name}".encode()[:_LONGEST_NAME])


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)
    platforms = variables.get("JAX_PLATFORMS")
    if platforms is not None and "jax" in sys.modules:
        # JAX read this variable on import; it reads all others when its backend starts.
        import jax

        jax.config.update("jax_platforms", platforms)  # type: ignore[no-untyped-call]
