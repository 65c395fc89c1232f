"""Memory that clients of this host offer on their streams, mapped into this process to read.

A client names its process and file descriptor. It can only make the server open an anonymous file
of the right name, sealed against resizing, whose last bytes it must know: its own file, or one it
can read anyway. Everything else is declined, and observations come in messages. The mapping lives
until the last array on it is gone, so a client that dies during a batch harms only itself.
"""

from __future__ import annotations

import hmac
import logging
import mmap
import os
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

from rrl_client.shared_memory import NAME, PROOF_BYTES, host_id, is_sealed
from rrl_client.v1 import teacher_pb2

_LOG = logging.getLogger(__name__)


class OfferedMemory:
    """Maps memory that clients offer, up to a total; for one event loop.

    Attributes:
        count: Number of mappings.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        """Start without mappings.

        Args:
            max_bytes: Most bytes of one client; 0 declines all.
            max_total_bytes: Most bytes of all clients together.
        """
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._total_bytes = 0
        self.count = 0
        # Any thread may drop the last array on a mapping.
        self._lock = threading.Lock()

    def map(self, offer: teacher_pb2.MemoryOffer) -> NDArray[np.uint8] | None:
        """Map the memory that a client offers.

        Returns:
            uint8 [bytes], read-only, without the proof; None if declined, which is logged.
        """
        try:
            return self._mapped(offer)
        except (OSError, ValueError) as error:
            # As text: a stored log record would keep the memory alive.
            _LOG.info("declined memory that a client offers: %s", str(error))
            return None

    def _mapped(self, offer: teacher_pb2.MemoryOffer) -> NDArray[np.uint8]:
        size = offer.size_bytes
        if not host_id() or offer.host_id != host_id():
            raise ValueError("it belongs to another host")
        if not PROOF_BYTES < size <= self._max_bytes:
            raise ValueError(f"{size} bytes, at most {self._max_bytes} are mapped")
        if self._total_bytes + size > self._max_total_bytes:
            raise ValueError(f"{self._max_total_bytes} bytes are mapped for others already")
        mapping = _map(offer.process_id, offer.descriptor, size)
        content = np.frombuffer(mapping, np.uint8)
        if not hmac.compare_digest(content[-PROOF_BYTES:].tobytes(), offer.proof):
            raise ValueError("it does not belong to the client")
        with self._lock:
            self._total_bytes += size
            self.count += 1
        weakref.finalize(mapping, self._released, size)
        return content[:-PROOF_BYTES]

    def _released(self, size: int) -> None:
        with self._lock:
            self._total_bytes -= size
            self.count -= 1


def _map(process_id: int, descriptor: int, size: int) -> mmap.mmap:
    path = f"/proc/{process_id}/fd/{descriptor}"
    # Checked before opening, because opening can have side effects, e.g. on a device.
    if not os.readlink(path).startswith(f"/memfd:{NAME}"):
        raise ValueError("it is not memory for observations")
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not is_sealed(opened) or os.fstat(opened).st_size != size:
            raise ValueError("its size is wrong, or not sealed")
        return mmap.mmap(opened, size, prot=mmap.PROT_READ)
    finally:
        os.close(opened)
