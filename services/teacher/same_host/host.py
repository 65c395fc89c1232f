"""Which host this is.

The identity is the kernel's boot: equal for all processes and containers of one running kernel.
Containers that share no files have it in common too; for them the socket's path does not exist,
and a client goes on over gRPC.
"""

from __future__ import annotations

import functools
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def host_id() -> str:
    """Identity of this host and boot; empty, which matches nothing, where it cannot be told."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def is_this_host(other: str) -> bool:
    """Whether the identity that a server announced is this host's."""
    return bool(other) and other == host_id()
