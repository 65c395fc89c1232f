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
        final: No later weights will be evaluated.
    """

    version: int
    params: Params
    progress: Progress
    final: bool = False


class Offer:
    """The newest snapshot for one purpose; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._encoded: bytes = b""

    def publish(self, snapshot: Snapshot) -> None:
        """Replace what is on offer."""
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
