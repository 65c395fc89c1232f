"""What callers can have a teacher take, by its settings: the formula of docs/operating.md."""

from __future__ import annotations

from services.shared.allocator import KEPT_BYTES
from services.shared.call_limits import MOST_WAITING
from services.teacher.config import BatchingConfig
from services.teacher.rpc.server import READING_BYTES
from services.teacher.server import LARGEST_MESSAGE_BYTES

REST_BYTES = 2**29
"""The bundled teacher on a CPU, with nothing to do."""

# HTTP/2's window of a call that is not read.
_WINDOW_BYTES = 2**16
_KINDS = 2
"""Calls and health checks have limits of their own, of one size."""


def most_memory_bytes(batching: BatchingConfig, *, streams: int) -> int:
    """The memory limit that a service needs, for observations of at most 4 MiB.

    Args:
        batching: Its settings.
        streams: Open at once: of each actor, evaluator, importer and other client one.
    """
    reading = _KINDS * (READING_BYTES + MOST_WAITING * _WINDOW_BYTES)
    # Of each a frame that is being received, and one that is taken in.
    frames = 2 * LARGEST_MESSAGE_BYTES * streams
    return REST_BYTES + batching.max_queue_bytes + reading + frames + KEPT_BYTES
