"""The index of an actor that was started without one."""

from __future__ import annotations

import hashlib
import socket
from typing import Literal

ActorIndex = int | Literal["auto"]
"""A number from 0, or "auto": one that comes from the host's name."""

_INDICES = 2**31


def resolve_index(given: ActorIndex, host_name: str | None = None) -> int:
    """The number of an actor.

    Containers of one service are started alike and differ in their host names only, which stay when
    they are restarted. Of 1,000 names some two give the same number once in 4,000 times.

    Args:
        given: What the command line says.
        host_name: Instead of this host's.

    Returns:
        `given`, or where that is "auto" a number from 0 below 2^31, always the same of one name.
    """
    if given != "auto":
        return given
    name = socket.gethostname() if host_name is None else host_name
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _INDICES
