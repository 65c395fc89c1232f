"""Which host this is, and where its same-host socket lies.

The identity is the kernel's boot: equal for all processes and containers of one running kernel.
Containers that share no files have it in common too; for them the socket's path does not exist,
and a client goes on over gRPC.
"""

from __future__ import annotations

import functools
import os
import tempfile
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


def make_socket_directory(parent: Path | None = None) -> Path:
    """A new directory that only this user may enter.

    Args:
        parent: Where; None for the user's runtime directory, else the one for temporary files.
    """
    if parent is None:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        parent = Path(runtime if os.access(runtime, os.W_OK) else tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="rrl-teacher-", dir=parent))
