"""Ports of loopback that stay the system's own while their processes are away.

Below the range that the kernel gives to outgoing connections: one of those would otherwise take the
port of a role that is down.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_FIRST, _BEHIND_LAST = 20_000, 32_000
_LISTEN = "0A"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    # Not of the campaign's seed: two campaigns may run side by side.
    candidates = random.SystemRandom().sample(range(_FIRST, _BEHIND_LAST), 4 * count)
    found = [port for port in candidates if _is_free(port)][:count]
    if len(found) < count:
        raise RuntimeError(f"only {len(found)} of {count} ports are free")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def listening_ports() -> set[int]:
    """All TCP ports of this machine that somebody listens on."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == _LISTEN:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports
