"""Looks at a running system all the time: clocks, checkpoints, memory; and what must never be seen.

Clocks are asked of the learner itself, past the links. They may fall back when learner or replay
lose what came after a checkpoint, but never below the newest checkpoint that is sound: that one is
the floor, from the moment it is seen on disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
import time
from pathlib import Path

import psutil

from rrl_agents.types import Progress
from services.learner.checkpoint_records import RunCheckpoint, checkpoints_folder, newest_checkpoint
from services.learner.client import LearnerClient, LearnerUnavailable
from services.learner.codec import progress_from_proto
from tests.faults.ports import LOOPBACK
from tests.faults.system import System

_PERIOD_SECONDS = 0.2
_ANSWER_SECONDS = 2.0
_CLOCKS = (
    "stage",
    "teacher_steps",
    "offline_updates",
    "online_updates",
    "actor_steps",
    "evaluations",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What the learner said at one moment.

    Attributes:
        at: `time.monotonic()` of the answer.
        progress: Its clocks.
    """

    at: float
    progress: Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process holds.

    Attributes:
        role: Whose.
        pid: Its process.
        at: `time.monotonic()` of the look.
        rss_mib: Resident memory.
        descriptors: Open files and sockets.
        threads: Threads.
    """

    role: str
    pid: int
    at: float
    rss_mib: float
    descriptors: int
    threads: int


def agent_steps(progress: Progress) -> int:
    """Steps of the teacher and of the students together."""
    return progress.teacher_steps + progress.actor_steps


class Watch:
    """Keeps looking, on a thread, until it is closed."""

    def __init__(self, system: System) -> None:
        """Scrape at nothing yet; enter to begin."""
        self._system = system
        self._client = LearnerClient(
            f"{LOOPBACK}:{system.ports.learner}", timeout_seconds=_ANSWER_SECONDS
        )
        self._lock = threading.Lock()
        self._samples: list[Sample] = []
        self._checkpoints: dict[int, Progress] = {}
        self._floor: RunCheckpoint | None = None
        self._names: list[str] = []
        self._spoilt: set[int] = set()
        self._violations: list[str] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_again, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""
        self._closed.set()
        self._thread.join()
        self._client.close()

    @property
    def newest_checkpoint(self) -> RunCheckpoint | None:
        """The floor."""
        with self._lock:
            return self._floor

    @property
    def checkpoints(self) -> dict[int, Progress]:
        """Clocks of every checkpoint that was ever seen, by number."""
        with self._lock:
            return dict(self._checkpoints)

    def samples_since(self, moment: float) -> list[Sample]:
        """All answers after a moment."""
        with self._lock:
            return [sample for sample in self._samples if sample.at > moment]

    @property
    def last(self) -> Sample | None:
        """The newest answer."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    def take_violations(self) -> list[str]:
        """What was seen since the last call and should not have been."""
        with self._lock:
            found, self._violations = self._violations, []
            return found

    def forget_samples_before(self, moment: float) -> None:
        """Drop answers that will not be asked for; a campaign is long."""
        with self._lock:
            self._samples = [sample for sample in self._samples if sample.at >= moment]

    @property
    def spoilt(self) -> set[int]:
        """Numbers of the checkpoints that were damaged."""
        with self._lock:
            return set(self._spoilt)

    def spoil(self, number: int) -> None:
        """Say that a checkpoint is damaged: the floor is the one before from now on."""
        with self._lock:
            self._spoilt.add(number)
            self._floor = None

    def usage(self) -> list[Usage]:
        """What the processes hold now."""
        return [
            found
            for role in self._system.supervisor.roles
            if (found := _usage(role, self._system.supervisor.pid(role))) is not None
        ]

    def _look_again(self) -> None:
        while not self._closed.wait(_PERIOD_SECONDS):
            self._look_at_checkpoints()
            floor = self.newest_checkpoint
            try:
                answer = self._client.progress()
            except LearnerUnavailable:
                continue
            self._take(progress_from_proto(answer.progress), dict(answer.losses), floor)

    def _look_at_checkpoints(self) -> None:
        # A folder may vanish while it is read: then there is a newer one the next time.
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(checkpoints_folder(self._system.config.run)))
            if names == self._names and self._floor is not None:
                return
            self._names = names
            checkpoint = newest_checkpoint(self._system.config.run, unusable=self._spoilt)
            if checkpoint is None:
                return
            with self._lock:
                if checkpoint.number in self._spoilt:
                    return
                self._floor = checkpoint
                self._checkpoints[checkpoint.number] = checkpoint.record.progress

    def _take(
        self, progress: Progress, losses: dict[str, float], floor: RunCheckpoint | None
    ) -> None:
        problems = [
            f"loss {name} is {value}" for name, value in losses.items() if not math.isfinite(value)
        ]
        with self._lock:
            if floor is not None and floor.number not in self._spoilt:
                problems += below(progress, floor)
            self._violations += problems
            self._samples.append(Sample(at=time.monotonic(), progress=progress))


def below(progress: Progress, floor: RunCheckpoint) -> list[str]:
    """Clocks that stand before those of a checkpoint."""
    saved = floor.record.progress
    return [
        f"{clock} is {getattr(progress, clock)}, checkpoint {floor.number} had "
        f"{getattr(saved, clock)}"
        for clock in _CLOCKS
        if getattr(progress, clock) < getattr(saved, clock)
    ]


def _usage(role: str, pid: int | None) -> Usage | None:
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Usage(
                role=role,
                pid=pid,
                at=time.monotonic(),
                rss_mib=process.memory_info().rss / 2**20,
                descriptors=process.num_fds(),
                threads=process.num_threads(),
            )
    except psutil.Error:
        return None


def disk_mib(folder: Path) -> float:
    """Size of all files below a folder, each inode once."""
    sizes = {}
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found = file.lstat()
            sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values()) / 2**20
