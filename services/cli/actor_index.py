"""Derives an actor's index from its host name where the command line gives none."""

from __future__ import annotations

import hashlib
import socket
from typing import Literal

ActorIndex = int | Literal["auto"]
"""A number from 0, or "auto" to derive one from the host's name."""

_INDICES = 2**31


def resolve_index(given: ActorIndex, host_name: str | None = None) -> int:
    """The index of an actor.

    Containers of one service share a command line and differ only in their host names, which
    survive a restart. Among 1,000 names the chance that any two collide is about 1 in 4,000.

    Args:
        given: What the command line says.
        host_name: Replaces this host's name.

    Returns:
        `given`; for "auto" a number in [0, 2^31), always the same for the same name.
    """
    if given != "auto":
        return given
    name = socket.gethostname() if host_name is None else host_name
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _INDICES
