"""The weights on offer: the newest to act with, and those due for evaluation.

The training loop puts host copies in; server threads take bytes out. Bytes are made when first
asked for, once per version, so publishing costs the loop one copy and nobody waits for another.
"""

from __future__ import annotations

import dataclasses
import threading

from rrl_agents.checkpoints.params_codec import params_to_bytes
from rrl_agents.types import Params, Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Weights at one moment of a run.

    Attributes:
        version: At least 1; grows with the run's updates.
        params: Host copy (numpy leaves).
        progress: Clocks at that moment.
        seconds: Wall-clock seconds of all sessions of the run at that moment.
        sessions: Of the learners that have offered these very weights, the present one last.
        final: No later weights will be evaluated.
    """

    version: int
    params: Params
    progress: Progress
    seconds: float = 0.0
    sessions: tuple[str, ...] = ()
    final: bool = False


class Offer:
    """The newest snapshot for one purpose; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._encoded: bytes = b""
        self._handed_out = 0

    @property
    def handed_out(self) -> int:
        """Version whose bytes were given last, 0 before the first."""
        return self._handed_out

    @property
    def version(self) -> int:
        """Version on offer, 0 for none."""
        with self._lock:
            return self._snapshot.version if self._snapshot is not None else 0

    def publish(self, snapshot: Snapshot | None) -> None:
        """Replace what is on offer; None offers nothing from now on."""
        with self._lock:
            self._snapshot, self._encoded = snapshot, b""

    def weights_unless(self, known_version: int) -> tuple[Snapshot | None, bytes]:
        """The snapshot on offer and its bytes, which are empty when the caller has them."""
        with self._lock:
            if self._snapshot is None or self._snapshot.version == known_version:
                return self._snapshot, b""
            if not self._encoded:
                self._encoded = params_to_bytes(self._snapshot.params)
            return self._snapshot, self._encoded

    def hand_out(self, version: int) -> None:
        """Note that the bytes of a version are being sent to somebody."""
        self._handed_out = version
