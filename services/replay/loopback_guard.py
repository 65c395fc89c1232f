"""Keeps other machines away from Reverb's port, which Reverb opens on all interfaces.

    connection to 127.0.0.0/8 or ::1 ──▶ Reverb
    connection to any other address ───▶ LoopbackGuard, which closes it

Reverb has no setting for its interface. Linux spreads connections over all sockets that listen on
one port with SO_REUSEPORT, as gRPC's and ours do, and lets one of them say how, by a program of the
classic packet filter (socket(7), SO_ATTACH_REUSEPORT_CBPF); that needs no privileges. A process
that got in during the milliseconds between Reverb's start and the guard's is cut off.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import socket
import struct
import threading
from pathlib import Path

from rrl_client.credentials import is_loopback
from services.shared.logging import Occasionally

_ATTACH_REUSEPORT_CBPF = 51  # Python's socket module does not name it.

# Operations of the classic packet filter (linux/filter.h).
_LOAD_BYTE, _LOAD_WORD = 0x30, 0x20
_SHIFT_RIGHT, _AND = 0x74, 0x54
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
_NETWORK_HEADER = 0x100000000 - 0x100000
"""Offset from which loads see the IP header."""

_REVERB, _GUARD = 0, 1
"""Places among the sockets of the port: the first listener is number 0."""

_EARLY_SECONDS = (0.0, 0.5)
"""When to look for connections that came before the guard: Reverb may take one up a little late."""

_LOG_PERIOD_SECONDS = 60.0

_MAPPED = "::ffff:"
"""What an IPv4 address begins with on a socket of both kinds."""

_PROGRAM = (
    (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
    (_SHIFT_RIGHT, 0, 0, 4),  # The IP version.
    (_JUMP_IF_EQUAL, 0, 3, 4),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 16),  # IPv4: the destination.
    (_AND, 0, 0, 0xFF000000),
    (_JUMP_IF_EQUAL, 9, 10, 0x7F000000),
    (_JUMP_IF_EQUAL, 0, 9, 6),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 24),  # IPv6: the destination, four words.
    (_JUMP_IF_EQUAL, 0, 7, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 28),
    (_JUMP_IF_EQUAL, 0, 5, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 32),
    (_JUMP_IF_EQUAL, 0, 3, 0),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 36),
    (_JUMP_IF_EQUAL, 0, 1, 1),
    (_RETURN, 0, 0, _REVERB),
    (_RETURN, 0, 0, _GUARD),
)
"""Operation, instructions skipped if true, if false, operand."""


class LoopbackGuard:
    """Shares a port with the Reverb server of this process.

    Args:
        port: TCP port that Reverb listens on.

    Raises:
        OSError: the system has no such filter.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._closed = threading.Event()
        self._listener = _listener(port)
        self._thread = threading.Thread(target=self._guard, name="loopback-guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port; to be called when Reverb has."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _guard(self) -> None:
        turned_away, should_log = 0, Occasionally(_LOG_PERIOD_SECONDS)
        for seconds in _EARLY_SECONDS:
            if self._closed.wait(seconds):
                return
            _cut_off(self._port)
        while True:
            try:
                connection, address = self._listener.accept()
            except ConnectionError:
                continue  # Gone before it was taken.
            except OSError:
                return  # Closed.
            connection.close()
            turned_away += 1
            # A peer that connects often must not fill the log.
            if should_log():
                logging.getLogger(__name__).warning(
                    "the replay port is for this machine alone: %d connections turned away so far, "
                    "the last from %s; --host 0.0.0.0 opens it",
                    turned_away,
                    address[0].removeprefix(_MAPPED),
                )


def _listener(port: int) -> socket.socket:
    """Raises: OSError."""
    family = socket.AF_INET6 if _has_ipv6() else socket.AF_INET
    listener = socket.socket(family)
    try:
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", port))
        # It is the first to listen that makes the group of sockets, and its program is the group's.
        listener.listen()
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _PROGRAM)
        memory = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(_PROGRAM), ctypes.addressof(memory))
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, program)
    except BaseException:
        listener.close()
        raise
    return listener


def _has_ipv6() -> bool:
    """Whether gRPC will listen on both kinds of IP by one socket; it asks in the same way."""
    try:
        with socket.socket(socket.AF_INET6) as asked:
            asked.bind(("::1", 0))
    except OSError:
        return False
    return True


def _cut_off(port: int) -> None:
    """End connections of this process's server on a port that came over the network."""
    for link in Path("/proc/self/fd").iterdir():
        # Files come and go while this looks.
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as found:
                    if _is_remote(found, port):
                        found.shutdown(socket.SHUT_RDWR)


def _is_remote(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, local_port = found.getsockname()[:2]
    if local_port != port or is_loopback(host.removeprefix(_MAPPED)):
        return False
    return not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
