"""The weights that the learner publishes: the newest to act with, and those to evaluate.

The training loop puts host copies in; server threads take bytes out. A version is encoded once, at
its first request, so that publishing costs the loop one copy and no wait.
"""

from __future__ import annotations

import dataclasses
import threading

from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.types import Params, Progress
from services.learner.checkpoint_records import DueWeights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Weights at one moment of a run.

    Attributes:
        version: Number of the version, at least 1; grows with the run's updates.
        params: Host copy of the parameters (NumPy leaves).
        progress: Clocks at that moment.
        seconds: Wall-clock seconds of all sessions of the run at that moment.
        sessions: Sessions of the learners that have published exactly these weights, the present
            one last.
        final: Whether their evaluation ends the run.
    """

    version: int
    params: Params
    progress: Progress
    seconds: float = 0.0
    sessions: tuple[str, ...] = ()
    final: bool = False

    @property
    def record(self) -> DueWeights:
        """All but the parameters."""
        fields = dataclasses.fields(DueWeights)
        return DueWeights(**{field.name: getattr(self, field.name) for field in fields})


class PublishedWeights:
    """The newest snapshot for one purpose; safe to use from any thread.

    Attributes:
        last_sent: Version that was sent last, 0 before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._encoded: bytes = b""
        self.last_sent = 0

    @property
    def version(self) -> int:
        """Version published now; 0 if there is none."""
        with self._lock:
            return self._snapshot.version if self._snapshot is not None else 0

    @property
    def newest(self) -> Snapshot | None:
        """The snapshot published now; None if there is none."""
        with self._lock:
            return self._snapshot

    def publish(self, snapshot: Snapshot | None) -> None:
        """Publish this snapshot instead of the last; None publishes nothing from now on."""
        with self._lock:
            self._snapshot, self._encoded = snapshot, b""

    def newer_than(self, known_version: int) -> tuple[Snapshot | None, bytes]:
        """The snapshot and its bytes, which are empty if the caller has this version.

        Any other version counts as newer, since a resumed learner may publish lower versions than
        before.
        """
        with self._lock:
            if self._snapshot is None or self._snapshot.version == known_version:
                return self._snapshot, b""
            if not self._encoded:
                self._encoded = params_to_bytes(self._snapshot.params)
            return self._snapshot, self._encoded
