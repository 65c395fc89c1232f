"""Does to a running system what a fault says, and undoes it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from services.learner.checkpoint_records import RECORD_FILE, STATE_FOLDER, checkpoints_folder
from tests.faults import strangers
from tests.faults.disk import slow_down
from tests.faults.faults import CUTS, Fault, Kind
from tests.faults.strangers import CHECK, METHODS, WATCH
from tests.faults.system import LEARNER, System
from tests.faults.watch import Watch
from tests.support.http2 import Http2Caller, prefix

_GRACE_SECONDS = 10.0
"""What Docker gives a container between SIGTERM and SIGKILL."""
_KILL_SECONDS = 10.0
_CHECKPOINT_SECONDS = 40.0
_CHECKPOINT_LOOK_SECONDS = 0.002
_REFILL_SECONDS = 0.25
_FLIPPED_BYTES = 64
_UNFINISHED = ".writing-*"
_FILLER = "filler"


class NotPossible(Exception):
    """The fault cannot be had now."""


class Injector:
    """Brings faults upon one system.

    Args:
        system: Which.
        watch: Is notified of damage that lowers what the system can come back to.
        disk: The run's own small file system; None where it has none.
    """

    def __init__(self, system: System, watch: Watch, disk: Path | None) -> None:
        self._system = system
        self._supervisor = system.supervisor
        self._watch = watch
        self._disk = disk
        self._garbage = random.Random(0)
        self._actions: dict[Kind, Callable[[Fault], None]] = {
            Kind.KILL: self._kill,
            Kind.TERMINATE: self._terminate,
            Kind.HANG: self._hang,
            **dict.fromkeys(CUTS, self._cut),
            Kind.DISK_FULL: self._fill_disk,
            Kind.DISK_SLOW: self._slow_disk,
            Kind.CORRUPT_STATE: self._corrupt,
            Kind.CORRUPT_TABLES: self._corrupt,
            Kind.TRUNCATE_RECORD: self._corrupt,
            Kind.KILL_IN_CHECKPOINT: self._kill_in_checkpoint,
            Kind.HALF_SENT: self._half_send,
            Kind.GARBAGE: self._send_garbage,
        }

    def inject(self, fault: Fault) -> float:
        """Bring a fault about, and take away what can be taken away.

        Returns:
            `time.monotonic()` from which on the system can recover.

        Raises:
            NotPossible: nothing was done.
        """
        self._actions[fault.kind](fault)
        return time.monotonic()

    def _kill(self, fault: Fault) -> None:
        with self._down(fault.roles, signal.SIGKILL):
            time.sleep(fault.seconds)

    def _terminate(self, fault: Fault) -> None:
        with self._down(fault.roles, signal.SIGTERM):
            pass

    def _hang(self, fault: Fault) -> None:
        for role in fault.roles:
            self._supervisor.signal(role, signal.SIGSTOP)
        time.sleep(fault.seconds)
        for role in fault.roles:
            self._supervisor.signal(role, signal.SIGCONT)

    def _cut(self, fault: Fault) -> None:
        self._system.links.cut(fault.roles, CUTS[fault.kind])
        time.sleep(fault.seconds)
        self._system.links.heal(fault.roles)

    def _half_send(self, fault: Fault) -> None:
        with contextlib.ExitStack() as stack:
            for role in fault.roles:
                for begun in (b"", b"\0\0", prefix(2**20) + bytes(1000)):
                    for method in (*METHODS[role], CHECK, WATCH):
                        caller = Http2Caller(strangers.address(self._system.ports, role))
                        stack.callback(caller.close)
                        strangers.half_send(caller, method, begun)
            time.sleep(fault.seconds)

    def _send_garbage(self, fault: Fault) -> None:
        with contextlib.ExitStack() as stack:
            for role in fault.roles:
                address = strangers.address(self._system.ports, role)
                for _ in range(strangers.CONNECTIONS):
                    stack.callback(strangers.send_garbage(address, self._garbage).close)
            time.sleep(fault.seconds)

    def _kill_in_checkpoint(self, fault: Fault) -> None:
        (role,) = fault.roles
        end = time.monotonic() + _CHECKPOINT_SECONDS
        while not self._is_in_checkpoint(role):
            if time.monotonic() > end:
                raise NotPossible("no checkpoint was seen half written")
            time.sleep(_CHECKPOINT_LOOK_SECONDS)
        with self._down(fault.roles, signal.SIGKILL):
            pass

    def _is_in_checkpoint(self, role: str) -> bool:
        run = self._system.config.run
        if role == LEARNER:
            return any(checkpoints_folder(run).glob(_UNFINISHED))
        # Reverb writes a folder of its own first, and says so when it is done.
        shards = run / "replay"
        return any(shards.glob(f"*/checkpoints/{_UNFINISHED}")) or any(
            not (folder / "DONE").exists() for folder in shards.glob("*/working/*")
        )

    def _corrupt(self, fault: Fault) -> None:
        """Damage the newest checkpoint while no role can write another."""
        with self._down(fault.roles, signal.SIGKILL):
            run = self._system.config.run
            numbers = sorted(_numbers(checkpoints_folder(run)))
            newest = self._watch.newest_checkpoint
            if newest is None or len(numbers) < 2 or newest.number != numbers[-1]:
                raise NotPossible("there are no two sound checkpoints")
            self._watch.spoil(newest.number)
            if fault.kind is Kind.CORRUPT_STATE:
                damage(max((newest.path / STATE_FOLDER).rglob("*"), key=_size))
            elif fault.kind is Kind.CORRUPT_TABLES:
                for tables in (run / "replay").glob(f"*/checkpoints/{newest.path.name}"):
                    damage(max(tables.iterdir(), key=_size))
            else:
                record = newest.path / RECORD_FILE
                os.truncate(record, record.stat().st_size // 2)

    def _fill_disk(self, fault: Fault) -> None:
        if self._disk is None:
            raise NotPossible("the run has no disk of its own")
        filler = self._disk / _FILLER
        end = time.monotonic() + fault.seconds
        try:
            _fill(filler)
            with self._down(fault.roles, signal.SIGKILL):
                pass
            while time.monotonic() < end:
                # Files deleted during the fault free no space.
                time.sleep(_REFILL_SECONDS)
                _fill(filler)
        finally:
            filler.unlink()

    def _slow_disk(self, fault: Fault) -> None:
        if self._disk is None:
            raise NotPossible("the run has no disk of its own")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(slow_down, self._disk, fault.seconds)
            # A role that waits for the disk ends late.
            with self._down(fault.roles, signal.SIGKILL):
                pass
            slow.result()

    @contextlib.contextmanager
    def _down(self, roles: Iterable[str], number: signal.Signals) -> Iterator[None]:
        """Have roles down for a while."""
        for role in roles:
            self._supervisor.hold(role)
        try:
            for role in roles:
                self._supervisor.signal(role, number)
            grace = _GRACE_SECONDS if number is signal.SIGTERM else _KILL_SECONDS
            for role in self._supervisor.wait_until_ended(roles, timeout_seconds=grace):
                self._supervisor.signal(role, signal.SIGKILL)
            self._supervisor.wait_until_ended(roles, timeout_seconds=_KILL_SECONDS)
            yield
        finally:
            for role in roles:
                self._supervisor.release(role)


def _numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def damage(file: Path) -> None:
    """Turn some bytes in the middle of a file over; its size stays."""
    with file.open("r+b") as content:
        content.seek(max(0, (_size(file) - _FLIPPED_BYTES) // 2))
        found = content.read(_FLIPPED_BYTES)
        content.seek(-len(found), os.SEEK_CUR)
        content.write(bytes(byte ^ 0xFF for byte in found))


def _fill(filler: Path) -> None:
    """Let a file take all the room that is left."""
    block = bytes(2**20)
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(block) == len(block):
            pass
