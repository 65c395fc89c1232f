"""File locks, which the system releases when the holding process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from services.shared.errors import UserError

LEARNER_LOCK = ".learner.lock"
"""Held in a run's folder by its learner, so that no two learners write to one run."""

REPLAY_LOCK = ".replay.lock"
"""Held in a shard's folder by its replay server, so that no two write one shard's checkpoints."""

LAUNCHER_LOCK = ".launcher.lock"
"""Held in a run's folder by `rrl train`."""

LEARNER_CHECKPOINT_SECONDS = 50.0
"""How long replay waits for the learner's last checkpoint when both are stopped."""

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def locked(file: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a file's lock.

    Args:
        file: Created if missing, in an existing folder; its content does not matter.
        wait_seconds: How long to wait for another holder.

    Raises:
        UserError: another process holds it.
    """
    end = time.monotonic() + wait_seconds
    with file.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise UserError(
                        f"{file.parent} is in use by another process: wait for it, or stop it"
                    ) from error
            time.sleep(_POLL_SECONDS)
        yield


def wait_until_free(file: Path, *, timeout_seconds: float) -> bool:
    """Wait until a lock is free; returns whether it is."""
    end = time.monotonic() + timeout_seconds
    while is_locked(file):
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock now."""
    try:
        with locked(file):
            return False
    except FileNotFoundError:
        return False
    except UserError:
        return True
